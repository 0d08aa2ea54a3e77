// serve-submit and serve-out killed with SIGKILL while people send: at random under load, and at each step of a
// submission. Whatever was answered 250 arrives whole, and nothing arrives that was cut off in mid-data.
import assert from "node:assert/strict";
import { anyMoment, chance } from "../support/chance.ts";
import { Dialogue } from "../support/dialogue.ts";
import { type RunningMailapp, signalUntilEnded } from "../support/mailapp.ts";
import { PASSWORD, SubmissionMachine } from "../support/submission.ts";
import { checkedMessage, submit } from "./checked_message.ts";
import { checkArrivals, Receiver, SpoolFiles, unanswered, untilEmpty } from "./serve_out_setting.ts";
import { LONG_ROUNDS, report } from "./setting.ts";
import { until } from "../support/until.ts";

const ROUNDS = LONG_ROUNDS || 4;
const CLIENTS = 4;
const FROM = "alice@example.com";

const random = chance("submission_crash_test");

async function createMachine(receiver: Receiver): Promise<SubmissionMachine> {
  return await SubmissionMachine.create({
    changes: {
      "serve-out": { retry: ["1s"] },
      "serve-out.routes": { "*": `127.0.0.1:${receiver.port}` },
      "serve-submit": {
        messages_an_hour: 0,
        messages_a_day: 0,
        recipients_an_hour: 0,
        recipients_a_day: 0,
        new_recipients_a_day: 0,
      },
    },
  });
}

/** A client that has logged in. */
async function login(machine: SubmissionMachine): Promise<Dialogue> {
  const conn = await Deno.connectTls({
    hostname: "127.0.0.1",
    port: machine.tlsPort,
    caCerts: [machine.authority.cert],
  });
  // The server may be killed in the midst of it.
  using opened = new DisposableStack();
  const dialogue = opened.use(Dialogue.over(conn));
  await dialogue.hear();
  await dialogue.say("EHLO client.test");
  const reply = await dialogue.say(`AUTH PLAIN ${btoa(`\0${FROM}\0${PASSWORD}`)}`);
  if (reply !== "") assert.match(reply, /^235 /);
  opened.move();
  return dialogue;
}

/** What clients saw. */
interface Seen {
  /** The checksums of all that was sent, by id. */
  readonly sent: Map<string, string>;
  /** Ids of what was answered 250. */
  readonly accepted: Set<string>;
}

const GONE = [
  ...[Deno.errors.ConnectionReset, Deno.errors.ConnectionRefused, Deno.errors.BrokenPipe],
  ...[Deno.errors.UnexpectedEof, Deno.errors.ConnectionAborted],
];

/** Sends until the round is over, logging in again when the server has gone. */
async function keepSending(
  machine: SubmissionMachine,
  { prefix, seen, over }: { readonly prefix: string; readonly seen: Seen; readonly over: () => boolean },
): Promise<void> {
  let number = 0;
  while (!over()) {
    try {
      using dialogue = await login(machine);
      for (; !over(); number++) {
        const octets = number % 7 === 3 ? 300_000 : 500 + 997 * (number % 13);
        const message = checkedMessage(`${prefix}n${number}`, octets, { author: FROM });
        seen.sent.set(message.id, message.digest);
        const reply = await submit(dialogue, message, { from: FROM, to: [`x@d${number % 4}.test`] });
        if (reply === "") break;
        if (reply.startsWith("250 ")) {
          seen.accepted.add(message.id);
        } else {
          // serve-out was away, or is; nothing else is ever said to such mail.
          assert.match(reply, /^451 4\.3\.2 /);
          if (await dialogue.say("RSET") === "") break;
        }
      }
    } catch (error) {
      if (!GONE.some((kind) => error instanceof kind)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test(`serve-submit and serve-out killed ${ROUNDS} times in turn under load lose nothing, and double nothing without a record`, async () => {
  await using receiver = new Receiver();
  await using machine = await createMachine(receiver);
  const files = new SpoolFiles(machine.workspace);
  await using running = new AsyncDisposableStack();
  const start = async (name: "serve-out" | "serve-submit") => running.use(await machine.start(name));
  const servers = { "serve-out": await start("serve-out"), "serve-submit": await start("serve-submit") };
  const seen: Seen = { sent: new Map(), accepted: new Set() };
  const recorded = new Set<string>();
  let over = false;
  const clients = Array.from(
    { length: CLIENTS },
    (_, client) => keepSending(machine, { prefix: `c${client}`, seen, over: () => over }),
  );
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const name = round % 2 === 0 ? "serve-submit" : "serve-out";
      const before = seen.accepted.size;
      await until(() => seen.accepted.size >= before + 3, "three messages", () => anyMoment(random, 50));
      await anyMoment(random, 100);
      servers[name].signal("SIGKILL");
      await servers[name].ended();
      for (const id of unanswered(servers["serve-out"], files)) recorded.add(id);
      servers[name] = await start(name);
    }
  } finally {
    over = true;
    await Promise.all(clients);
  }
  assert.equal(await servers["serve-submit"].stop(), 0);
  assert.equal(await servers["serve-out"].stop(), 0);
  // It has told of what the last kill left without an answer.
  for (const id of unanswered(servers["serve-out"], files)) recorded.add(id);
  const last = await start("serve-out");
  await untilEmpty(last, files);
  for (const id of unanswered(last, files)) recorded.add(id);
  assert.equal(await last.stop(), 0);
  const { arrived, doubled } = checkArrivals(receiver, { ...seen, recorded });
  report(
    `${ROUNDS} kills: ${seen.accepted.size} submissions answered 250, all arrived; ${
      seen.sent.size - seen.accepted.size
    } not answered 250, ${
      arrived.size - seen.accepted.size
    } of them arrived too; ${doubled.length} arrived ` +
      "more than once, all with a record",
  );
  assert.ok(seen.accepted.size >= 3 * ROUNDS);
});

/** How far a client goes before someone dies. */
const STEPS: readonly { readonly name: string; go(dialogue: Dialogue): Promise<void> }[] = [
  { name: "after the login", go: () => Promise.resolve() },
  { name: "after MAIL", go: async (client) => said(await client.say(`MAIL FROM:<${FROM}>`), /^250 /) },
  {
    name: "after RCPT",
    async go(client) {
      await STEPS[1]?.go(client);
      said(await client.say("RCPT TO:<x@there.test>"), /^250 /);
    },
  },
  {
    name: "after DATA",
    async go(client) {
      await STEPS[2]?.go(client);
      said(await client.say("DATA"), /^354 /);
    },
  },
  {
    name: "in mid-data",
    async go(client) {
      await STEPS[3]?.go(client);
      await client.send(`From: ${FROM}\r\nSubject: half\r\n\r\n${"x".repeat(70)}\r\n`);
    },
  },
  {
    name: "in mid-data, when serve-out has some of it",
    async go(client) {
      await STEPS[4]?.go(client);
      await client.send(`${"x".repeat(70)}\r\n`.repeat(3000));
    },
  },
];

function said(reply: string, expected: RegExp): void {
  assert.match(reply, expected);
}

/** What the client does from there on; its last reply. */
async function goOn(client: Dialogue, step: number): Promise<string> {
  const lines = [`MAIL FROM:<${FROM}>`, "RCPT TO:<x@there.test>", "DATA"].slice(Math.min(step, 3));
  for (const line of lines) {
    const reply = await client.say(line);
    if (!/^[23]/.test(reply)) return reply;
  }
  return await client.say("\r\nrest\r\n.");
}

/** Sends a whole message over the same connection. */
async function sendsOn(client: Dialogue, receiver: Receiver, id: string): Promise<void> {
  const message = checkedMessage(id, 2000, { author: FROM });
  await client.say("RSET");
  assert.match(await submit(client, message, { from: FROM, to: ["x@there.test"] }), /^250 /);
  await receiver.has(id);
}

Deno.test("serve-out killed at each step of a submission: the client is told 451, and sends over the same connection when it is back", async (t) => {
  await using receiver = new Receiver();
  await using machine = await createMachine(receiver);
  await using running = new AsyncDisposableStack();
  const start = async (name: "serve-out" | "serve-submit") => running.use(await machine.start(name));
  let serveOut = await start("serve-out");
  await start("serve-submit");
  for (const [index, { name, go }] of STEPS.entries()) {
    await t.step(name, async () => {
      using client = await login(machine);
      await go(client);
      serveOut.signal("SIGKILL");
      await serveOut.ended();
      assert.match(await goOn(client, index), /^451 4\.3\.2 /);
      serveOut = await start("serve-out");
      await sendsOn(client, receiver, `out${index}`);
    });
  }
  await t.step("before its reply to the dot", async () => {
    using client = await login(machine);
    await STEPS[4]?.go(client);
    serveOut.signal("SIGSTOP");
    await client.send("rest\r\n.\r\n");
    // The data and the dot are on their way, without a reply.
    await anyMoment(() => 1, 300);
    serveOut.signal("SIGKILL");
    await serveOut.ended();
    assert.match(await client.hear(), /^451 4\.3\.2 /);
    serveOut = await start("serve-out");
    await sendsOn(client, receiver, "dot");
  });
  assert.deepEqual(
    receiver.arrivals.map(({ id }) => id),
    [...STEPS.keys()].map((i) => `out${i}`).concat("dot"),
  );
});

Deno.test("serve-submit killed, or its client gone, at each step of a submission leaves no message at serve-out", async (t) => {
  await using receiver = new Receiver();
  await using machine = await createMachine(receiver);
  await using running = new AsyncDisposableStack();
  const serveOut = running.use(await machine.start("serve-out"));
  const kill = async (server: RunningMailapp) => {
    server.signal("SIGKILL");
    await server.ended();
  };
  for (const { name, go } of STEPS) {
    await t.step(name, async () => {
      const serveSubmit = running.use(await machine.start("serve-submit"));
      {
        using client = await login(machine);
        await go(client);
      }
      await serveSubmit.event("session.closed");
      using client = await login(machine);
      await go(client);
      await kill(serveSubmit);
      assert.equal(await client.hear(), "");
    });
  }
  const serveSubmit = running.use(await machine.start("serve-submit"));
  using client = await login(machine);
  await sendsOn(client, receiver, "whole");
  assert.equal(serveOut.events.filter(({ event }) => event === "message.accepted").length, 1);
  assert.deepEqual(receiver.arrivals.map(({ id }) => id), ["whole"]);
  await serveOut.event("queue.done");
  await kill(serveSubmit);
});

Deno.test("serve-submit ends on a second SIGTERM though serve-out is silent, and its client is told 451", async () => {
  await using receiver = new Receiver();
  await using machine = await createMachine(receiver);
  await using serveOut = await machine.start("serve-out");
  await using serveSubmit = await machine.start("serve-submit");
  using client = await login(machine);
  await STEPS[4]?.go(client);
  serveOut.signal("SIGSTOP");
  await client.send("rest\r\n.\r\n");
  await anyMoment(() => 1, 300);
  const ended = signalUntilEnded(serveSubmit);
  assert.match(await client.hear(), /^451 4\.3\.2 /);
  await ended;
});
