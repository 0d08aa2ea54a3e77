// serve-out killed with SIGKILL: at random under load, and at each step of a message's way. Whatever was answered 250
// arrives whole, and what arrives twice has a record of the dot without a reply.
import assert from "node:assert/strict";
import { anyMoment, chance } from "../support/chance.ts";
import { Dialogue } from "../support/dialogue.ts";
import { ONE_AND_SEVERAL, withThreads, Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { Strace, STRACE_NEEDS } from "../support/strace.ts";
import { checkedMessage, submit } from "./checked_message.ts";
import {
  type AtDot,
  checkArrivals,
  configureServeOut,
  handOver,
  queueIdOf,
  Receiver,
  relayOne,
  serveOut,
  SpoolFiles,
  unanswered,
  untilEmpty,
} from "./serve_out_setting.ts";
import { LONG_ROUNDS, report, type Serving } from "./setting.ts";

/** How often the server is killed at random: twice as often as serve-in, whose long form has more kinds. */
const ROUNDS = 2 * LONG_ROUNDS || 6;
const CLIENTS = 6;

/** What clients saw. */
interface Seen {
  /** The checksums of all that was sent, by id. */
  readonly sent: Map<string, string>;
  /** Ids of what was answered 250. */
  readonly accepted: Set<string>;
}

/** Hands messages over until the server dies. */
async function handOverUntilItDies(port: number, prefix: string, { sent, accepted }: Seen): Promise<void> {
  try {
    using dialogue = await Dialogue.connect(port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    for (let number = 0;; number++) {
      const octets = number % 7 === 3 ? 300_000 : 500 + 997 * (number % 13);
      const message = checkedMessage(`${prefix}n${number}`, octets);
      sent.set(message.id, message.digest);
      const reply = await submit(dialogue, message, { to: [`x@d${number % 4}.test`] });
      if (reply === "") return;
      assert.notEqual(queueIdOf(reply), "", reply);
      accepted.add(message.id);
    }
  } catch (error) {
    const gone = [Deno.errors.ConnectionReset, Deno.errors.ConnectionRefused, Deno.errors.BrokenPipe];
    if (!gone.some((kind) => error instanceof kind)) throw error;
  }
}

const random = chance("serve_out_crash_test");

async function killUnderLoad({ server, port }: Serving, prefix: string, seen: Seen): Promise<void> {
  const clients = Array.from(
    { length: CLIENTS },
    (_, client) => handOverUntilItDies(port, `${prefix}c${client}`, seen),
  );
  await server.event("message.accepted", { after: 4 + Math.floor(random() * 20) });
  await anyMoment(random, 60);
  server.signal("SIGKILL");
  await server.ended();
  await Promise.all(clients);
}

for (const threads of ONE_AND_SEVERAL) {
  Deno.test(
    `serve-out killed ${ROUNDS} times under load loses nothing, and doubles nothing without a record${
      withThreads(threads)
    }`,
    () => killAtRandom(threads),
  );
}

async function killAtRandom(threads: number): Promise<void> {
  await using workspace = await Workspace.create();
  await using receiver = new Receiver();
  receiver.atDot = async () => {
    await anyMoment(random, 20);
    const draw = random();
    return draw < 0.8 ? "take" : draw < 0.9 ? "refuse" : "lose";
  };
  const config = await configureServeOut(workspace, receiver.port, { threads });
  const files = new SpoolFiles(workspace);
  const seen: Seen = { sent: new Map(), accepted: new Set() };
  const recorded = new Set<string>();
  for (let round = 0; round < ROUNDS; round++) {
    const serving = await serveOut(config);
    await using server = serving.server;
    await killUnderLoad(serving, `r${round}`, seen);
    for (const id of unanswered(server, files)) recorded.add(id);
  }
  receiver.atDot = () => Promise.resolve("take");
  const { server } = await serveOut(config);
  await using _ = server;
  await untilEmpty(server, files);
  assert.equal(await server.stop(), 0);
  for (const id of unanswered(server, files)) recorded.add(id);
  assert.deepEqual(files.ids(), []);
  assert.deepEqual(server.events.filter(({ event }) => event === "queue.damaged"), []);

  const { arrived, doubled } = checkArrivals(receiver, { ...seen, recorded });
  report(
    `${ROUNDS} kills${withThreads(threads)}: ${seen.accepted.size} messages answered for, all arrived; ${
      seen.sent.size - seen.accepted.size
    } ` +
      `not answered, ${
        arrived.size - seen.accepted.size
      } of them arrived too; ${doubled.length} arrived more than ` +
      `once, all with a record`,
  );
  assert.ok(seen.accepted.size > ROUNDS && doubled.length > 0, `${seen.accepted.size}, ${doubled.length}`);
}

/** A step at which the server is killed. */
interface Step {
  readonly name: string;
  /** When the kill is made sure of. */
  readonly when: "before the dot of the client" | "before the data" | "at the dot";
  /** What the receiver says the first time. */
  readonly says?: AtDot;
  /** The system call at which it dies, and on which path; absent: at once. */
  readonly call?: (files: SpoolFiles, shard: string) => readonly [call: string, path?: string];
  /** Copies that arrive in the end, and whether there is a record of a dot without an answer. */
  readonly copies: number;
  readonly record: boolean;
}

const STEPS: readonly Step[] = [
  {
    name: "the message has been written",
    when: "before the dot of the client",
    call: () => ["fsync"],
    copies: 0,
    record: false,
  },
  {
    name: "it has been renamed",
    when: "before the dot of the client",
    call: (files, shard) => ["openat", files.at("messages", shard)],
    copies: 1,
    record: false,
  },
  {
    name: "the dot is about to be written down",
    when: "before the data",
    call: (files) => ["write", files.at("journal")],
    copies: 1,
    record: false,
  },
  {
    name: "the dot has been written down, and not been sent",
    when: "before the data",
    call: (files) => ["fsync", files.at("journal")],
    copies: 1,
    record: true,
  },
  { name: "the dot has been sent", when: "at the dot", copies: 2, record: true },
  {
    name: "its answer is about to be written down",
    when: "at the dot",
    call: (files) => ["write", files.at("journal")],
    copies: 2,
    record: true,
  },
  {
    name: "its answer has been written down",
    when: "at the dot",
    call: (files) => ["fsync", files.at("journal")],
    copies: 1,
    record: false,
  },
  {
    name: "the entry is about to be removed",
    when: "at the dot",
    call: () => ["rename"],
    copies: 1,
    record: false,
  },
  {
    name: "its file has been put with the spare ones",
    when: "at the dot",
    call: (files, shard) => ["openat", files.at("messages", shard)],
    copies: 1,
    record: false,
  },
  {
    name: "a new state is about to get its place",
    when: "at the dot",
    says: "refuse",
    call: () => ["rename"],
    copies: 1,
    record: false,
  },
];

testWith(
  STRACE_NEEDS,
  "serve-out killed at each step of a message loses nothing, and doubles nothing without a record",
  async (t) => {
    await using workspace = await Workspace.create();
    await using receiver = new Receiver();
    const config = await configureServeOut(workspace, receiver.port);
    const files = new SpoolFiles(workspace);
    await using running = new AsyncDisposableStack();
    let { server, port } = await serveOut(config);
    running.use(server);
    let shard = await relayAndRemove({ server, port }, receiver);
    for (const { name, when, says = "take", call, copies, record } of STEPS) {
      await t.step(name, async () => {
        let armed = false;
        const arm = async () => {
          if (armed) return;
          armed = true;
          const [at, path] = call?.(files, shard) ?? [];
          if (at === undefined) return server.signal("SIGKILL");
          await Strace.attach(server.pid, { inject: [`${at}:signal=KILL`], ...(path && { paths: [path] }) });
        };
        if (when === "before the data") receiver.beforeData = arm;
        receiver.atDot = async () => {
          if (when !== "at the dot" || armed) return "take";
          await arm();
          return says;
        };
        const atClient = when === "before the dot of the client";
        const handed = await handOver(port, atClient ? { beforeDot: arm } : {});
        assert.equal(handed.reply === "", atClient, handed.reply);
        assert.equal(await server.ended(), 128 + 9);
        const left = files.ids();
        ({ server, port } = await serveOut(config));
        running.use(server);
        await untilEmpty(server, files);
        const arrived = receiver.copies(handed.id).map(({ digest }) => digest);
        assert.deepEqual(arrived, Array(copies).fill(handed.digest));
        const told = server.events.filter((event) => event["dot_sent_no_reply"] === true);
        assert.deepEqual(told.map((event) => event["id"]), record ? left : []);
        shard = await relayAndRemove({ server, port }, receiver);
      });
    }
    assert.equal(await server.stop(), 0);
  },
);

/** Relays a message, and waits until it is gone; the folder it was in, which the next ones get too. */
async function relayAndRemove({ server, port }: Serving, receiver: Receiver): Promise<string> {
  const { queueId } = await relayOne(port, receiver);
  await server.event("queue.done", { where: { id: queueId } });
  return queueId.slice(-2);
}
