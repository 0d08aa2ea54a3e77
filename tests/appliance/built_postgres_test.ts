// The program as one file, with its queue in PostgreSQL: over TLS, and over a Unix socket.
import assert from "node:assert/strict";
import { silentLogger } from "../../base/log.ts";
import { loadConfig } from "../../config/load.ts";
import { openSpool } from "../../server/spool_parts.ts";
import { configureServeOut, Receiver, relayOne, serveOut } from "../faults/serve_out_setting.ts";
import { builtMailapp } from "../support/built.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { type PostgresServer, testsWithPostgres } from "../support/postgres_server.ts";
import { newEntry } from "../support/queue_entry.ts";
import { createTestAuthority } from "../support/test_authority.ts";

const MESSAGE = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");

const authority = await createTestAuthority();
const { cert: certificate, key } = await authority.issue({ names: ["localhost"] });

/** A message that waits for an hour in the spool; its id. */
async function fillSpool(config: string): Promise<string> {
  await using spool = await openSpool(await loadConfig(config, { env: Deno.env }), { logger: silentLogger });
  const id = spool.newId();
  const nextAttemptAt = Date.now() + 3_600_000;
  const recipient = { address: "later@there.test", nextAttemptAt };
  await spool.add(newEntry([recipient], { id, size: MESSAGE.length }), MESSAGE);
  return id;
}

async function tryQueue(url: string, settings: readonly string[]): Promise<void> {
  const file = await builtMailapp();
  await using workspace = await Workspace.create();
  await using receiver = new Receiver();
  const config = await configureServeOut(workspace, receiver.port);
  const waiting = await fillSpool(config);
  const urlFile = workspace.file("queue.url");
  await Deno.writeTextFile(urlFile, `${url}\n`, { mode: 0o600 });
  const queue = [
    "[queue]",
    'store = "postgres"',
    `url_file = "${urlFile}"`,
    'durability = "primary"',
    ...settings,
  ];
  await Deno.writeTextFile(config, `${await Deno.readTextFile(config)}\n${queue.join("\n")}\n`);
  const options = { program: [file] };
  const type = async (command: string) => {
    const args = [...command.split(" "), "--config", config];
    const { code, stdout, stderr } = await runMailapp(args, options);
    assert.equal(code, 0, `${command}: ${stderr}`);
    return stdout;
  };
  const listed = async () =>
    (JSON.parse(await type("queue list --json")) as { id: string }[]).map(({ id }) => id);

  assert.match(await type("queue migrate"), /has version \d+ now/);
  assert.match(await type("queue copy --from spool --to postgres"), /^moved: 1 message$/m);
  assert.deepEqual(await listed(), [waiting]);
  {
    const { server, port } = await serveOut(config, options);
    await using _server = server;
    await relayOne(port, receiver);
    assert.match(await type("queue hosts"), /^mx\.example\.com /m);
    assert.deepEqual(await listed(), [waiting]);
  }
  assert.match(await type("queue copy --from postgres --to spool"), /^moved: 1 message$/m);
  assert.deepEqual(await listed(), []);
}

testsWithPostgres("the built file with its queue in PostgreSQL", {
  "migrates, copies, sends and lists over TLS": async (server: PostgresServer) => {
    await using folder = await Workspace.create();
    await Deno.writeTextFile(folder.file("ca.pem"), authority.cert);
    const name = new URL(await server.newDatabase({ migrated: false })).pathname;
    await tryQueue(`postgres://mailapp:x@localhost:${server.port}${name}`, [
      `ca_file = "${folder.file("ca.pem")}"`,
    ]);
  },
  "does so over a Unix socket": async (server: PostgresServer) => {
    const name = new URL(await server.newDatabase({ migrated: false })).pathname;
    await tryQueue(`postgres://mailapp@${name}?host=${server.directory}&port=${server.port}`, []);
  },
}, { outside: { address: "127.0.0.1", certificate, key } });
