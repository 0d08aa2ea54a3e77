// serve-in killed while its checks take, refuse and file mail: what was answered 250 is there, in the folder where it
// belongs, and what was refused at the end of its data is nowhere.
import assert from "node:assert/strict";
import { anyMoment, chance } from "../support/chance.ts";
import { FakeDns } from "../support/fake_dns.ts";
import { Dialogue } from "../support/dialogue.ts";
import { Workspace } from "../support/mailapp.ts";
import { Strace, STRACE_NEEDS } from "../support/strace.ts";
import { testWith } from "../support/requires.ts";
import { type CheckedMessage, checkedMessage, names, readMaildir, submit } from "./checked_message.ts";
import { LONG_ROUNDS, report, serveIn, type Serving } from "./setting.ts";

/** How often the server is killed at random. */
const ROUNDS = LONG_ROUNDS || 8;
const random = chance("checks_crash_test");
const CLIENTS = 6;

/** What happens to mail of these authors. */
const AUTHORS = {
  "a@none.test": "inbox",
  "a@junk.test": "junk",
  "a@strict.test": "refused",
} as const;
type Author = keyof typeof AUTHORS;

const CHECKS = { spf: true, dkim: true, arc: true, dmarc: "enforce" };

function policy(domain: string, text: string): FakeDns["zone"] {
  const name = `_dmarc.${domain}`;
  return { [`${name} TXT`]: { answers: [{ name, type: "TXT", ttl: 60, data: [text] }] } };
}

const ZONE = {
  ...policy("junk.test", "v=DMARC1; p=quarantine"),
  ...policy("strict.test", "v=DMARC1; p=reject"),
};

interface Sent {
  readonly message: CheckedMessage;
  readonly author: Author;
  readonly users: readonly string[];
  reply: string;
}

async function configure(workspace: Workspace, dns: FakeDns): Promise<string> {
  return await workspace.configure({ dns: { servers: [dns.server] }, "serve-in.checks": CHECKS });
}

async function sendUntilItDies(port: number, prefix: string, sent: Sent[]): Promise<void> {
  try {
    using dialogue = await Dialogue.connect(port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    for (let number = 0;; number++) {
      const author = (Object.keys(AUTHORS) as Author[])[number % 3] ?? "a@none.test";
      // Small ones, ones that are written as they come, and ones for two that wait elsewhere.
      const octets = number % 4 === 3 ? 400_000 : 500 + 997 * (number % 13);
      const users = number % 5 === 1 ? ["alice", "bob"] : ["alice"];
      const message = checkedMessage(`${prefix}n${number}`, octets, { author });
      const entry: Sent = { message, author, users, reply: "" };
      sent.push(entry);
      entry.reply = await submit(dialogue, message, { to: users.map((user) => `${user}@example.com`) });
      if (entry.reply === "") return;
      assert.match(entry.reply, AUTHORS[author] === "refused" ? /^550 5\.7\.1 DMARC / : /^250 2\.0\.0 /);
    }
  } catch (error) {
    const gone = [Deno.errors.ConnectionReset, Deno.errors.ConnectionRefused, Deno.errors.BrokenPipe];
    if (!gone.some((kind) => error instanceof kind)) throw error;
  }
}

/** Holds what is in the Maildirs against what clients were told. Returns how many files are left in `tmp/`. */
function check(workspace: Workspace, sent: readonly Sent[]): number {
  let left = 0;
  const byId = new Map(sent.map((entry) => [entry.message.id, entry]));
  for (const user of ["alice", "bob"]) {
    const maildir = workspace.file("mail", "example.com", user);
    const found = new Map<string, string>();
    for (const [place, path] of [["inbox", maildir], ["junk", `${maildir}/.Junk`]] as const) {
      for (const { id, digest, path: file } of readMaildir(path)) {
        const entry = byId.get(id);
        assert.equal(digest, entry?.message.digest, `${file} is not what was sent`);
        assert.equal(AUTHORS[entry?.author ?? "a@none.test"], place, `${file} is in the wrong place`);
        assert.ok(!found.has(id), `${id} is there twice`);
        found.set(id, place);
      }
    }
    for (const { message, author, users, reply } of sent) {
      if (reply.startsWith("250") && users.includes(user)) {
        assert.equal(found.get(message.id), AUTHORS[author]);
      }
      if (reply.startsWith("550")) {
        assert.ok(!found.has(message.id), `${message.id} was refused, and is there`);
      }
    }
    // What lies in tmp/ was on its way when the server died, and is not a message that was answered in any way.
    for (const name of names(`${maildir}/tmp`)) {
      const text = Deno.readTextFileSync(`${maildir}/tmp/${name}`);
      const [, id = ""] = /^X-Check: (\S+) /m.exec(text) ?? [];
      assert.ok(id === "" || byId.get(id)?.reply === "", `${id} lies in tmp/`);
      left++;
    }
  }
  return left;
}

async function clear(workspace: Workspace): Promise<void> {
  await Deno.remove(workspace.file("mail"), { recursive: true }).catch(() => {});
}

Deno.test(`serve-in with checks, killed ${ROUNDS} times under load, has what it answered for where it belongs`, async () => {
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start(ZONE);
  const config = await configure(workspace, dns);
  const total = { inbox: 0, junk: 0, refused: 0, unanswered: 0, left: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    const { server, port } = await serveIn(config);
    await using _ = server;
    const sent: Sent[] = [];
    const clients = Array.from(
      { length: CLIENTS },
      (_, client) => sendUntilItDies(port, `r${round}c${client}`, sent),
    );
    await server.event("message.accepted", { after: 4 + Math.floor(random() * 20) });
    await anyMoment(random, 30);
    server.signal("SIGKILL");
    await server.ended();
    await Promise.all(clients);
    total.left += check(workspace, sent);
    for (const { reply, author } of sent) total[reply === "" ? "unanswered" : AUTHORS[author]]++;
    await clear(workspace);
  }
  report(`${ROUNDS} kills with checks: ${JSON.stringify(total)}`);
  assert.ok(
    total.inbox > 0 && total.junk > 0 && total.refused > 0 && total.unanswered > 0,
    JSON.stringify(total),
  );
});

/** The last steps of a message that is filed as junk, and what they leave. */
const STEPS = [
  { call: "fsync", path: undefined, where: "tmp" },
  { call: "rename", path: undefined, where: "tmp" },
  { call: "openat", path: ".Junk/new", where: "junk" },
  { call: "sendto", path: undefined, where: "junk" },
] as const;

for (const [size, octets] of [["small", 3_000], ["large", 700_000]] as const) {
  testWith(
    STRACE_NEEDS,
    `serve-in killed at each step of filing a ${size} message as junk has nothing torn`,
    async (t) => {
      await using workspace = await Workspace.create();
      await using dns = await FakeDns.start(ZONE);
      await using running = new AsyncDisposableStack();
      const config = await configure(workspace, dns);
      const maildir = workspace.file("mail", "example.com", "alice");
      const start = async (): Promise<Serving> => {
        const serving = await serveIn(config);
        running.use(serving.server);
        return serving;
      };
      let { server, port } = await start();
      const send = async (dialogue: Dialogue, id: string, beforeDot?: () => Promise<void>) => {
        const message = checkedMessage(id, octets, { author: "a@junk.test" });
        const to = ["alice@example.com"];
        return { message, reply: await submit(dialogue, message, { to, ...(beforeDot && { beforeDot }) }) };
      };
      /** A connection that has delivered, so that its thread has made all directories durable. */
      const connect = async (id: string): Promise<Dialogue> => {
        const dialogue = await Dialogue.connect(port);
        await dialogue.hear();
        await dialogue.say("EHLO client.test");
        assert.match((await send(dialogue, id)).reply, /^250 /);
        return dialogue;
      };
      (await connect("first"))[Symbol.dispose]();
      for (const { call, path, where } of STEPS) {
        await t.step(`killed at ${call} ${path ?? ""}`, async () => {
          using dialogue = await connect(`before-${call}`);
          for (const { path } of readMaildir(`${maildir}/.Junk`)) await Deno.remove(path);
          const { message, reply } = await send(dialogue, `at-${call}`, async () => {
            await Strace.attach(server.pid, {
              inject: [`${call}:signal=KILL`],
              ...(path !== undefined && { paths: [`${maildir}/${path}`] }),
            });
          });
          assert.equal(reply, "", "it was answered");
          assert.equal(await server.ended(), 128 + 9);
          const stored = readMaildir(`${maildir}/.Junk`).map(({ id, digest }) => [id, digest]);
          assert.deepEqual(stored, where === "junk" ? [[message.id, message.digest]] : []);
          assert.deepEqual(readMaildir(maildir), []);
          assert.equal(names(`${maildir}/tmp`).length, where === "tmp" ? 1 : 0);
          for (const name of names(`${maildir}/tmp`)) await Deno.remove(`${maildir}/tmp/${name}`);
          ({ server, port } = await start());
          (await connect(`behind-${call}`))[Symbol.dispose]();
        });
      }
    },
  );
}
