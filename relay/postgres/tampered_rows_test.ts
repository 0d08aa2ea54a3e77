// Rows of the queue's tables that someone has changed past the program.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { systemClock } from "../../base/clock.ts";
import { parseConfig } from "../../config/load.ts";
import { detailsOf, jsonOf } from "../../cli/command_line/queue_text.ts";
import type { PostgresConfig } from "../../server/queue_parts.ts";
import { sharedQueueAccess } from "../../server/shared_queue_access.ts";
import { testsWithPostgres } from "../../tests/support/postgres_server.ts";
import { newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
import { RelayNetwork } from "../../tests/support/relay_network.ts";
import { SCHEDULE } from "../../tests/support/retry_schedule.ts";
import { until } from "../../tests/support/until.ts";
import { Scheduler } from "../scheduler.ts";
import { PostgresQueue } from "./postgres_queue.ts";
import { parseDatabaseUrl } from "./url.ts";

const MESSAGE = new TextEncoder().encode("Subject: x\r\n\r\nHello\r\n");

/** A change of the head or state that someone makes who takes out its check, as docs/queue.md says. */
function edited(column: "head" | "state", from: string, to: string): string {
  return `UPDATE mailapp.entry SET ${column} = regexp_replace(replace(${column}, '${from}', '${to}'),
    ',\\s*"check":\\s*"[0-9a-f]{8}"', '') WHERE id = '$id'`;
}

const entry = (set: string) => `UPDATE mailapp.entry SET ${set} WHERE id = '$id'`;
const recipients = (set: string) => `UPDATE mailapp.recipient SET ${set} WHERE entry = '$id'`;
const dot = (values: string) =>
  `INSERT INTO mailapp.dot (entry, recipient, owner, host, address, at, until, relayed) VALUES ('$id', ${values})`;

/**
 * `leaves`: sent all the same; `aside`: not sent, and logged with its id; `waits`: sent later, or when an operator says
 * so, and listed until then.
 */
const TAMPERED: readonly (readonly [sql: string, outcome: "leaves" | "aside" | "waits"])[] = [
  [entry("head = ''"), "aside"],
  [entry("head = '{}'"), "aside"],
  [entry("head = '[1]'"), "aside"],
  [entry("head = (SELECT head FROM mailapp.entry WHERE id = '$other')"), "aside"],
  [entry("head = replace(head, 'b@one.test', 'c@one.test')"), "aside"],
  [edited("head", '"acceptedAt":', '"acceptedAt":99'), "aside"],
  [edited("head", '"domain":"one.test"', '"domain":""'), "aside"],
  [edited("head", '"address":"b@one.test"', '"address":""'), "aside"],
  [edited("head", '"body":"7BIT"', '"body":"9BIT"'), "aside"],
  [entry("state = ''"), "aside"],
  [entry("state = 'null'"), "aside"],
  [entry("reverse_path = ''"), "leaves"],
  [entry("reverse_path = repeat('x', 1000000)"), "leaves"],
  [entry("size = -1"), "leaves"],
  [entry("size = 9223372036854775807"), "leaves"],
  [entry("owner = 999999"), "leaves"],
  [entry("owner = -1"), "leaves"],
  [entry("due_at = '-infinity'"), "leaves"],
  [entry("due_at = 'infinity'"), "waits"],
  [entry("dot_until = 'infinity'"), "waits"],
  [entry("dot_until = '-infinity'"), "leaves"],
  [entry("wanted = true"), "leaves"],
  [entry("added_at = 'infinity'"), "leaves"],
  ["DELETE FROM mailapp.recipient WHERE entry = '$id'", "leaves"],
  [recipients("address = ''"), "leaves"],
  [recipients("domain = 'other.test'"), "leaves"],
  [recipients("domain = ''"), "leaves"],
  [recipients("status = 'x'"), "leaves"],
  [recipients("status = 'relayed', settled = true"), "leaves"],
  [recipients("next_at = -1"), "leaves"],
  [recipients("next_at = 9223372036854775807"), "leaves"],
  [recipients("settled = true"), "leaves"],
  [recipients("notice = 'not an id'"), "leaves"],
  [recipients("number = 77"), "leaves"],
  [
    "INSERT INTO mailapp.recipient SELECT entry, 2147483647, address, domain, status, next_at, settled, notice " +
    "FROM mailapp.recipient WHERE entry = '$id'",
    "leaves",
  ],
  [dot("99, 1, 'h', 'a', 0, now(), false"), "leaves"],
  [dot("-1, 1, 'h', 'a', 0, now(), true"), "leaves"],
  [dot("0, 1, '', '', -9223372036854775808, '-infinity', false"), "leaves"],
  // The message may have arrived, at the latest when its owner gave up: it is sent again a minute after that.
  [dot("0, 1, 'h', 'a', 9223372036854775807, now(), false"), "waits"],
  [dot("0, 1, 'h', 'a', 9223372036854775807, '-infinity', false"), "leaves"],
  [dot("0, 1, 'h', 'a', 0, 'infinity', true"), "leaves"],
  ["INSERT INTO mailapp.notice (id) VALUES ('$id')", "leaves"],
  ["INSERT INTO mailapp.notice (id) VALUES ('')", "leaves"],
];

testsWithPostgres("a queue whose rows were tampered with", {
  "is listed, started and sent all the same, and what cannot be sent is named": async (server) => {
    const directory = await Deno.makeTempDir({ prefix: "mailapp-tampered-" });
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    const log = new RecordingLog();
    const open = () =>
      PostgresQueue.open({
        url: parseDatabaseUrl(url),
        directory: join(directory, "receiving"),
        ...{ hostname: "host.test", program: "test", logger: log, lease: 3_000, needsStandby: false },
      });
    const ids: string[] = [];
    {
      await using queue = await open();
      for (let count = 0; count < TAMPERED.length + 2; count++) {
        const id = queue.newId();
        const options = { id, acceptedAt: Date.now(), reversePath: "s@one.test" };
        await queue.add(newEntry([recipient("b@one.test")], options), MESSAGE);
        ids.push(id);
      }
    }
    const idOf = (index: number) => ids[index] ?? "";
    for (const [index, [sql]] of TAMPERED.entries()) {
      await server.query(name, sql.replaceAll("$id", idOf(index)).replaceAll("$other", ids.at(-1) ?? ""));
    }
    const listed = await list(url, { directory, log });
    for (const [index, [sql, outcome]] of TAMPERED.entries()) {
      const isNamed = log.named("queue.unreadable").some(({ fields }) => fields["id"] === idOf(index));
      assert.equal(isNamed, outcome === "aside", sql);
      assert.equal(listed.has(idOf(index)), !isNamed, sql);
    }
    log.events.length = 0;
    const queue = await open();
    const network = new RelayNetwork(systemClock);
    network.host("mx.one.test");
    network.domain("one.test", ["mx.one.test"]);
    const scheduler = new Scheduler({
      ...{ queue, clock: systemClock, random: () => 0, logger: log, schedule: SCHEDULE },
      route: network.route,
      connect: network.connect,
      compose: () => Promise.reject(new Error("none is due")),
    });
    await scheduler.start();
    const named = (event: string) => new Set(log.named(event).map(({ fields }) => String(fields["id"])));
    const left = () => named("queue.done");
    const expected = ids.filter((_, index) => (TAMPERED[index]?.[1] ?? "leaves") === "leaves");
    await until(() => expected.every((id) => left().has(id)), "all leave that can").catch((error) => {
      const missing = TAMPERED.filter(([, outcome], index) =>
        outcome === "leaves" && !left().has(idOf(index))
      );
      throw new Error(`still there: ${missing.map(([sql]) => sql).join("; ")}`, { cause: error });
    });
    await scheduler.stop(0);
    await queue.close();
    for (const [index, [sql, outcome]] of TAMPERED.entries()) {
      assert.equal(left().has(idOf(index)), outcome === "leaves", sql);
      assert.equal(named("queue.unreadable").has(idOf(index)), outcome === "aside", sql);
    }
    await Deno.remove(directory, { recursive: true });
  },
});

/** The ids that `queue list` and `queue show` show. */
async function list(
  url: string,
  { directory, log }: { readonly directory: string; readonly log: RecordingLog },
): Promise<Set<string>> {
  const urlFile = join(directory, "url");
  await Deno.writeTextFile(urlFile, url, { mode: 0o600 });
  const config = parseConfig(
    `hostname = "mx.example.com"\ndata_dir = "${directory}"\n[queue]\nstore = "postgres"\n` +
      `url_file = "${urlFile}"\ndurability = "primary"\n`,
  );
  const access = sharedQueueAccess(config, { queue: config.queue as PostgresConfig, logger: log });
  const ids = new Set<string>();
  for await (const view of access.list({})) {
    assert.ok(detailsOf(view).includes(view.entry.id));
    JSON.stringify(jsonOf(view));
    ids.add(view.entry.id);
  }
  return ids;
}
