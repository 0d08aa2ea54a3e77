// docs/guide/several-hosts.md: its commands, typed at a real PostgreSQL; a queue is copied there and back.
import assert from "node:assert/strict";
import { silentLogger } from "../../base/log.ts";
import { loadConfig } from "../../config/load.ts";
import { openSpool } from "../../server/spool_parts.ts";
import { configureServeOut, serveOut } from "../faults/serve_out_setting.ts";
import { Guide } from "../support/guide.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { run, runOk } from "../support/peers/process.ts";
import { testsWithPostgres } from "../support/postgres_server.ts";
import { newEntry } from "../support/queue_entry.ts";

const MESSAGE = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");

/** Messages that wait in the spool; their ids. */
async function fillSpool(config: string): Promise<string[]> {
  await using spool = await openSpool(await loadConfig(config, { env: Deno.env }), { logger: silentLogger });
  const ids: string[] = [];
  for (const name of ["one", "two", "three"]) {
    const id = spool.newId();
    ids.push(id);
    const nextAttemptAt = Date.now() + 3_600_000;
    await spool.add(
      newEntry([{ address: `${name}@there.test`, nextAttemptAt }], { id, size: MESSAGE.length }),
      MESSAGE,
    );
  }
  return ids.sort();
}

testsWithPostgres("several-hosts.md, followed on one host", {
  "from the database to a copied queue, and back": async (server) => {
    await using workspace = await Workspace.create();
    const guide = await Guide.read("several-hosts");
    // The server's own account is called mailapp already.
    const making = guide.take("createuser ").replaceAll(/\bmailapp\b/g, "guest");
    const env = { PGHOST: server.directory, PGPORT: String(server.port), PGUSER: "mailapp" };
    const made = await run("setsid", { args: ["sh", "-euc", making], env, stdin: "secret\nsecret\n" });
    assert.equal(made.code, 0, made.stderr);

    const urlFile = workspace.file("queue.url");
    const filing = guide.take("install -m 640 ").replaceAll("/etc/mailapp/queue.url", urlFile)
      .replace("-g mailapp ", "").replace(/^editor .*$/m, "");
    await runOk("sh", { args: ["-euc", filing] });
    await Deno.writeTextFile(
      urlFile,
      `postgres://guest:secret@127.0.0.1:${server.port}/guest?sslmode=disable\n`,
    );
    const config = await configureServeOut(workspace, 1);
    const ids = await fillSpool(config);
    const before = await Deno.readTextFile(config);
    const settings = guide.take("[queue]\n").replace("/etc/mailapp/queue.url", urlFile)
      .replace(/^ca_file = .*$/m, 'durability = "primary"');
    await Deno.writeTextFile(config, `${before}\n${settings}`);

    const type = async (block: string) => {
      const [program, ...args] = block.trim().split(" ").map((word) => word.replaceAll(/^'|'$/g, ""));
      assert.equal(program, "mailapp");
      const { code, stdout, stderr } = await runMailapp([...args, "--config", config]);
      assert.equal(code, 0, `${block}${stderr}`);
      return stdout;
    };
    const waiting = async () =>
      (JSON.parse(await type("mailapp queue list --json")) as { id: string }[]).map(({ id }) => id).sort();
    assert.match(await type(guide.take("mailapp queue migrate\n")), /the queue has version \d+ now/);
    assert.match(await type(guide.take("mailapp queue hosts\n")), /no host has the queue open/);
    const copying = guide.take("mailapp queue copy ");
    assert.match(await type(`${copying.trim()} --dry-run`), /^would be moved: 3 messages$/m);
    assert.deepEqual(await waiting(), []);
    assert.match(await type(copying), /^moved: 3 messages$/m);
    assert.deepEqual(await waiting(), ids);
    assert.match(await type(copying), /^moved: 0 messages$/m);

    {
      const { server: running } = await serveOut(config);
      await using _running = running;
      assert.match(await type("mailapp queue hosts"), /^mx\.example\.com {2}/m);
      // The host is called so in the page.
      const draining = guide.take("mailapp queue drain mx1.example.com\n").replace("mx1", "mx");
      assert.match(await type(draining), /mx\.example\.com no longer claims messages/);
      assert.match(await type("mailapp queue drain mx.example.com --undo"), /claims messages again/);
      assert.match(
        await type(guide.take("mailapp queue hold --all\n")),
        /^held: 3 recipients of 3 messages$/m,
      );
      // One that is killed keeps what it has claimed until its lease is over.
      assert.equal(await running.stop(), 0, running.transcript());
    }
    assert.match(await type("mailapp queue copy --from postgres --to spool"), /^moved: 3 messages$/m);
    await Deno.writeTextFile(config, before);
    assert.deepEqual(await waiting(), ids);
    assert.match(await type("mailapp queue show " + ids[0]), /: held/);
    guide.end();
  },
});
