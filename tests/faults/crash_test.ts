// serve-in killed with SIGKILL: at each step of a delivery, and at random under load. Whatever was answered 250 is
// there, nothing torn is ever in new/, and the next start needs no repair.
import assert from "node:assert/strict";
import { chance } from "../support/chance.ts";
import { ONE_AND_SEVERAL, type RunningMailapp, THREADS, withThreads, Workspace } from "../support/mailapp.ts";
import { until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { freezeBehind, freezeOnceThere, Strace, STRACE_NEEDS } from "../support/strace.ts";
import { checkAgainst, killUnderLoad } from "./load.ts";
import {
  acquainted,
  deliverOne,
  LONG_ROUNDS,
  Mail,
  report,
  sendOne,
  serveIn,
  type Serving,
} from "./setting.ts";

/** How often the server is killed at random. */
const ROUNDS = LONG_ROUNDS || 15;
const random = chance("crash_test");
const OLD = 37 * 60 * 60 * 1000;

interface Victim {
  readonly server: RunningMailapp;
  readonly mail: Mail;
  readonly users: readonly string[];
}

/** A step after which the server is killed. */
interface Step {
  readonly name: string;
  /** Called before the dot: sees to it that the server dies. */
  readonly kill: (victim: Victim) => Promise<void>;
  /** Where the message is then. */
  readonly where: "tmp" | "new";
  /** Octets of it, where only one size shows the step. */
  readonly octets?: number;
}

/** The server dies as it is about to do this. */
async function atCall({ server }: Victim, call: string, path?: string): Promise<void> {
  await Strace.attach(server.pid, {
    inject: [`${call}:signal=KILL`],
    ...(path !== undefined && { paths: [path] }),
  });
}

/** Runs this with the server standing still, right after it has created all files. */
async function onceCreated({ server, mail, users }: Victim, run: () => Promise<void> | void): Promise<void> {
  const { frozen } = await freezeOnceThere(server, () => users.every((user) => mail.tmp(user).length > 0));
  frozen.then(run);
}

const STEPS: readonly Step[] = [
  {
    name: "the file has been created in tmp/",
    where: "tmp",
    kill: (victim) => onceCreated(victim, () => victim.server.signal("SIGKILL")),
  },
  {
    name: "half of it has been written",
    where: "tmp",
    octets: 600_000,
    kill: ({ server, mail, users }) =>
      onceCreated({ server, mail, users }, async () => {
        const [user = ""] = users;
        const path = mail.path(user, "tmp", mail.tmp(user)[0] ?? "");
        // What is put on top, and the first part of the message.
        for (let write = 0; write < 2; write++) {
          const { frozen } = await freezeBehind(server.pid, "write", { path });
          server.signal("SIGCONT");
          await frozen;
        }
        const { size } = await Deno.stat(path);
        assert.ok(size > 100_000 && size < 500_000, `${size} octets`);
        server.signal("SIGKILL");
      }),
  },
  { name: "it has been written", where: "tmp", kill: (victim) => atCall(victim, "fsync") },
  { name: "it has been synced", where: "tmp", kill: (victim) => atCall(victim, "rename") },
  {
    name: "it has been renamed",
    where: "new",
    kill: (victim) => atCall(victim, "openat", victim.mail.path("alice", "new")),
  },
  { name: "the directory has been synced", where: "new", kill: (victim) => atCall(victim, "sendto") },
];

/** Those of a large message for one mailbox, whose file is there before the dot. */
const GROWING: readonly Step[] = [
  {
    name: "half of it has come",
    where: "tmp",
    async kill({ server, mail, users: [user = ""] }) {
      await until(() => mail.tmp(user).length > 0, { what: "the file in tmp/" });
      server.signal("SIGKILL");
    },
  },
  ...STEPS.slice(2),
];

interface Kind {
  readonly name: string;
  readonly users: readonly string[];
  readonly octets: number;
  readonly steps?: readonly Step[];
  /** Those of the server. */
  readonly threads?: number;
}

const KINDS: readonly Kind[] = [
  ...ONE_AND_SEVERAL.map((threads) => ({
    name: `a small message${withThreads(threads)}`,
    users: ["alice"],
    octets: 3_000,
    threads,
  })),
  { name: "a large message", users: ["alice"], octets: 700_000, steps: GROWING },
  { name: "a large message for two", users: ["alice", "bob"], octets: 600_000 },
];

for (const { name, users, octets, steps = STEPS, threads = THREADS } of KINDS) {
  testWith(
    STRACE_NEEDS,
    `serve-in killed at each step of ${name} has nothing torn, and starts again`,
    async (t) => {
      await using workspace = await Workspace.create();
      await using running = new AsyncDisposableStack();
      const config = await workspace.configure({ "serve-in": { threads } });
      const mail = new Mail(workspace);
      const to = users.map((user) => `${user}@example.com`);
      let { server, port } = await serveIn(config);
      running.use(server);
      await deliverOne(port, { mail, users, octets: 2_000 });
      for (const step of steps) {
        if ((step.octets ?? octets) !== octets) continue;
        await t.step(step.name, async () => {
          using dialogue = await acquainted(port, { mail, users });
          for (const user of users) mail.clear(user);
          const beforeDot = () => step.kill({ server, mail, users });
          const { reply, id, digest } = await sendOne(port, { to, octets, beforeDot, dialogue });
          assert.equal(reply, "", "it was answered");
          assert.equal(await server.ended(), 128 + 9);
          for (const user of users) {
            const stored = mail.stored(user).map((file) => [file.id, file.digest]);
            assert.deepEqual(stored, step.where === "new" ? [[id, digest]] : []);
            assert.equal(mail.tmp(user).length, step.where === "tmp" ? 1 : 0);
          }
          ({ server, port } = await startBehind({ config, mail, users }));
          running.use(server);
        });
      }
      await t.step("it has been answered", async () => {
        const { reply, id } = await sendOne(port, { to, octets });
        server.signal("SIGKILL");
        assert.match(reply, /^250 2\.0\.0 /);
        await server.ended();
        for (const user of users) assert.equal(mail.stored(user).filter((file) => file.id === id).length, 1);
      });
    },
  );
}

/** Starts the server on what a killed one left: what lies in tmp/ is never delivered, and cleaned when it is old. */
async function startBehind(
  { config, mail, users }: {
    readonly config: string;
    readonly mail: Mail;
    readonly users: readonly string[];
  },
): Promise<Serving> {
  const leftOvers = () => users.flatMap((user) => mail.tmp(user).map((name) => mail.path(user, "tmp", name)));
  const [young, ...others] = leftOvers();
  const before = users.map((user) => mail.stored(user).length);
  const old = new Date(Date.now() - OLD);
  for (const path of others) await Deno.utime(path, old, old);
  const serving = await serveIn(config);
  for (const index of others.keys()) await serving.server.event("maildir.cleaned", { after: index });
  await deliverOne(serving.port, { mail, users, octets: 2_000 });
  assert.deepEqual(users.map((user) => mail.stored(user).length - 1), before);
  assert.deepEqual(leftOvers(), young === undefined ? [] : [young]);
  if (young !== undefined) await Deno.remove(young);
  return serving;
}

Deno.test(`serve-in killed ${ROUNDS} times under load has what it answered for, and nothing torn`, async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure();
  const mail = new Mail(workspace);
  const total = { accepted: 0, unanswered: 0, storedUnanswered: 0, left: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    const { server, port } = await serveIn(config);
    await using _ = server;
    const seen = await killUnderLoad({ server, port }, { prefix: `r${round}`, random });

    const stored = { alice: mail.stored("alice"), bob: mail.stored("bob") };
    checkAgainst(seen, stored);
    total.accepted += seen.accepted.size;
    total.unanswered += seen.sent.size - seen.accepted.size;
    total.storedUnanswered += stored.alice.filter(({ id }) => !seen.accepted.has(id)).length;
    for (const user of ["alice", "bob"]) {
      mail.clear(user);
      total.left += mail.tmp(user).length;
      for (const name of mail.tmp(user)) await Deno.remove(mail.path(user, "tmp", name));
    }
  }
  report(
    `${ROUNDS} kills: ${total.accepted} messages answered for, all there; ${total.unanswered} not answered, ` +
      `${total.storedUnanswered} of them stored whole, ${total.left} files left in tmp/`,
  );
  assert.ok(total.accepted > 0 && total.unanswered > 0, JSON.stringify(total));
});
