// Names of files where only the name keeps two messages apart: several processes on one Maildir, one pid for
// all of them, a clock that stands still, a clock set back.
import assert from "node:assert/strict";
import { basename } from "@std/path";
import { Dialogue } from "../support/dialogue.ts";
import { Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { checkedMessage, submit } from "./checked_message.ts";
import { asRoot, clockOf, deliverOne, Mail, serveIn, type Serving } from "./setting.ts";

const CLIENTS = 6;
const EACH = 8;

/** Sends messages to alice over several connections at once; their ids. */
async function load({ port }: Serving, prefix: string): Promise<string[]> {
  const sent = await Promise.all(Array.from({ length: CLIENTS }, async (_, client) => {
    using dialogue = await Dialogue.connect(port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    const ids: string[] = [];
    for (let number = 0; number < EACH; number++) {
      const message = checkedMessage(`${prefix}c${client}n${number}`, 1_000);
      assert.match(await submit(dialogue, message, { to: ["alice@example.com"] }), /^250 2\.0\.0 /);
      ids.push(message.id);
    }
    return ids;
  }));
  return sent.flat();
}

/** Starts servers with a common Maildir, loads all of them at once, and finds every message of each. */
async function loadSeveral(
  workspace: Workspace,
  starts: readonly {
    readonly through?: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
  }[],
): Promise<string[]> {
  await using servers = new AsyncDisposableStack();
  const running: Serving[] = [];
  for (const [index, start] of starts.entries()) {
    const config = await workspace.configure({ "": { data_dir: workspace.file(`state${index}`) } });
    const serving = await serveIn(config, start);
    servers.use(serving.server);
    running.push(serving);
  }
  const sent = await Promise.all(running.map((serving, index) => load(serving, `s${index}`)));
  const stored = new Mail(workspace).stored("alice");
  assert.deepEqual(stored.map(({ id }) => id).sort(), sent.flat().sort());
  return stored.map(({ path }) => basename(path));
}

Deno.test("serve-in three times on one Maildir loses no message to another's name", async () => {
  await using workspace = await Workspace.create();
  const names = await loadSeveral(workspace, [{}, {}, {}]);
  assert.equal(new Set(names.map((name) => /P(\d+)Q/.exec(name)?.[1])).size, 3);
});

testWith(
  asRoot("unshare", "faketime"),
  "serve-in with another's pid, at the same instant, names no file as the other does",
  async () => {
    await using workspace = await Workspace.create();
    const clock = workspace.file("clock");
    // It stands still.
    await Deno.writeTextFile(clock, "2026-11-24 12:00:00");
    const start = { through: ["unshare", "--pid", "--fork", "--kill-child"], env: clockOf(clock) };
    const names = await loadSeveral(workspace, [start, start]);
    const withoutRandom = names.map((name) => name.replace(/R[0-9a-f]+/, "R"));
    // But for the random part, many are the same; or else nothing was shown.
    assert.ok(
      new Set(withoutRandom.map((name) => name.split(",")[0])).size < names.length,
      withoutRandom.join("\n"),
    );
    assert.equal(new Set(names.map((name) => name.split(".M")[0])).size, 1);
  },
);

testWith(["faketime"], "serve-in whose clock is set back a year, and forth, overwrites nothing", async () => {
  await using workspace = await Workspace.create();
  const clock = workspace.file("clock");
  const mail = new Mail(workspace);
  await Deno.writeTextFile(clock, "2026-11-24 12:00:00");
  const { server, port } = await serveIn(await workspace.configure(), { env: clockOf(clock) });
  await using _ = server;
  const years = ["2026", "2025", "2026", "1999", "2026"];
  for (const year of years) {
    await Deno.writeTextFile(clock, `${year}-11-24 12:00:00`);
    for (let again = 0; again < 3; again++) await deliverOne(port, { mail, users: ["alice"], octets: 1_000 });
  }
  const stored = mail.stored("alice").map(({ path }) => basename(path));
  assert.equal(stored.length, years.length * 3);
  const seen = stored.map((name) => new Date(Number(name.split(".")[0]) * 1000).getUTCFullYear());
  assert.deepEqual([...new Set(seen)].sort(), [1999, 2025, 2026]);
  assert.equal(await server.stop(), 0);
});
