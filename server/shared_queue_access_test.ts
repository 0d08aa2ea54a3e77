import assert from "node:assert/strict";
import { join } from "@std/path";
import { parseConfig } from "../config/load.ts";
import { parseDatabaseUrl } from "../relay/postgres/url.ts";
import { PostgresQueue } from "../relay/postgres/postgres_queue.ts";
import { testsWithPostgres } from "../tests/support/postgres_server.ts";
import { newEntry, recipient } from "../tests/support/queue_entry.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import type { PostgresConfig } from "./queue_parts.ts";
import { sharedQueueAccess } from "./shared_queue_access.ts";

testsWithPostgres("sharedQueueAccess()", {
  "shows and changes all entries but those that cannot be read or are locked, with no time beyond the longest wait":
    async (server) => {
      const directory = await Deno.makeTempDir({ prefix: "mailapp-shared-" });
      const url = await server.newDatabase();
      const urlFile = join(directory, "url");
      await Deno.writeTextFile(urlFile, url, { mode: 0o600 });
      const config = parseConfig(
        `hostname = "mx.example.com"\ndata_dir = "${directory}"\n[queue]\nstore = "postgres"\n` +
          `url_file = "${urlFile}"\ndurability = "primary"\n`,
      );
      const log = new RecordingLog();
      const ids: string[] = [];
      {
        await using queue = await PostgresQueue.open({
          url: parseDatabaseUrl(url),
          directory: join(directory, "receiving"),
          ...{ hostname: "mx.example.com", program: "test", logger: log, needsStandby: false },
        });
        for (let count = 0; count < 3; count++) {
          const id = queue.newId();
          const far = recipient("b@one.test", { nextAttemptAt: Date.now() + 399 * 86_400_000 });
          await queue.add(
            newEntry([far], { id, acceptedAt: Date.now() }),
            new TextEncoder().encode("A: b\r\n\r\n"),
          );
          ids.push(id);
        }
      }
      const [first, spoilt, last] = ids.sort();
      const name = new URL(url).pathname.slice(1);
      await server.query(name, `UPDATE mailapp.entry SET state = 'x' WHERE id = '${spoilt}'`);
      const access = sharedQueueAccess(config, { queue: config.queue as PostgresConfig, logger: log });
      const views = await Array.fromAsync(access.list({}));
      assert.deepEqual(views.map(({ entry }) => entry.id), [first, last]);
      for (const { entry } of views) {
        assert.ok((entry.recipients[0]?.nextAttemptAt ?? Infinity) < Date.now() + 86_400_000);
      }
      assert.deepEqual(log.named("queue.unreadable").map(({ fields }) => fields["id"]), [spoilt]);
      const held = await Array.fromAsync(access.apply("hold", {}));
      assert.deepEqual(held.map(({ id, changed }) => [id, changed.length]), [[first, 1], [last, 1]]);
      await using _lock = await server.lock(
        name,
        `SELECT FROM mailapp.entry WHERE id = '${first}' FOR UPDATE`,
      );
      const released = await Array.fromAsync(access.apply("release", {}));
      assert.deepEqual(released, [
        {
          ...{ id: first, changed: [], inFlight: [], leftAlone: ["b@one.test"] },
          note: "its row is locked in the database; try again later",
        },
        { id: last, changed: ["b@one.test"], inFlight: [] },
      ]);
      await Deno.remove(directory, { recursive: true });
    },
});
