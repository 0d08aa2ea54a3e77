// smtp-sink as a peer that fails at one point of the dialogue, and what serve-out makes of it (behaviour.md, 49).
import assert from "node:assert/strict";
import { type LogEvent, type ServeOut, startServeOut } from "../support/peers/mailapp.ts";
import { sendRaw } from "../support/peers/raw_smtp.ts";
import { startSmtpSink } from "../support/peers/smtp_tools.ts";
import { testWith } from "../support/requires.ts";

interface Fault {
  readonly title: string;
  /** smtp-sink's flags. */
  readonly flags: readonly string[];
  readonly outcome: "relayed" | "deferred" | "failed";
  /** Holds more of the event. */
  readonly check?: (event: LogEvent) => void;
}

const replied = (pattern: RegExp) => (event: LogEvent) => assert.match(String(event["reply"]), pattern);

const FAULTS: readonly Fault[] = [
  ...["connect", "helo", "mail", "rcpt", "data"].map((command): Fault => ({
    title: `hangs up at ${command}`,
    flags: ["-q", command === "helo" ? "ehlo" : command],
    outcome: "deferred",
    check: (event) => assert.equal(event["dot_sent_no_reply"] ?? false, false),
  })),
  {
    title: "hangs up at the dot",
    flags: ["-q", "."],
    outcome: "deferred",
    check: (event) => assert.equal(event["dot_sent_no_reply"], true),
  },
  { title: "hangs up at QUIT", flags: ["-q", "quit"], outcome: "relayed" },
  ...["mail", "rcpt", "data", "."].flatMap((command): Fault[] => [
    {
      title: `answers 421 to ${command} and hangs up`,
      flags: ["-Q", command],
      outcome: "deferred",
      check: replied(/^421/),
    },
    { title: `answers 4xx to ${command}`, flags: ["-r", command], outcome: "deferred", check: replied(/^4/) },
    { title: `answers 5xx to ${command}`, flags: ["-f", command], outcome: "failed", check: replied(/^5/) },
  ]),
  { title: "answers 5xx to EHLO, and takes HELO", flags: ["-f", "ehlo"], outcome: "relayed" },
  { title: "answers 5xx to the connection", flags: ["-f", "connect"], outcome: "deferred" },
  {
    title: "aborts in the mail data with 550",
    flags: ["-A", "1"],
    outcome: "failed",
    check: replied(/^550/),
  },
  { title: "answers the dot late", flags: ["-W", ".:1"], outcome: "relayed" },
  { title: "announces neither 8BITMIME nor PIPELINING", flags: ["-8", "-p"], outcome: "relayed" },
];

testWith(["smtp-sink"], "serve-out and an smtp-sink that", async (t) => {
  await using stack = new AsyncDisposableStack();
  const sinks = await Promise.all(FAULTS.map(({ flags }) => startSmtpSink(flags)));
  for (const sink of sinks) stack.use(sink);
  const server = stack.use(
    await startServeOut({
      routes: Object.fromEntries(
        sinks.map(({ port }, index) => [`sink${index}.test`, { host: "127.0.0.1", port }]),
      ),
    }),
  );
  for (const [index, { title, outcome, check }] of FAULTS.entries()) {
    await t.step(`${title}: ${outcome}`, async () => {
      const recipient = `joe@sink${index}.test`;
      const event = await outcomeOf(server, recipient);
      assert.equal(event.event, `attempt.${outcome}`, JSON.stringify(event));
      check?.(event);
    });
  }
});

/** Sends to the recipient, without a sender to be told, and waits for what the first attempt comes to. */
async function outcomeOf(server: ServeOut, recipient: string): Promise<LogEvent> {
  await sendRaw({
    port: server.port,
    from: "",
    to: [recipient],
    data: new TextEncoder().encode(`Subject: x\r\n\r\n${"x".repeat(70)}\r\n`.repeat(100)),
  });
  return await server.anyEvent(["attempt.relayed", "attempt.deferred", "attempt.failed", "dsn.held"], {
    recipient,
  });
}
