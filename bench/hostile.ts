/**
 * How long honest clients wait beside four that send, without a pause, what is meant to be dear to check.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { rsaKey, signByTheBook, type TestKey } from "../tests/support/dkim.ts";
import { startBind } from "../tests/support/peers/bind.ts";
import { Dialogue } from "../tests/support/peers/raw_smtp.ts";
import { runLoadClient } from "./load_client.ts";
import { RECIPIENT, startOurs } from "./server_under_load.ts";
import { ALL_CHECKS, zoneOf } from "./signed_mail.ts";
import { figure, markdownTable, percentile } from "./statistics.ts";

/** One kind of hostile mail. */
export interface HostileScenario {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  /** Messages of honest clients. */
  readonly messages: number;
  /** What each hostile client sends, one character a byte; `undefined`: there is none. */
  readonly text?: (key: TestKey) => string;
  /** The server refuses it for its size; whatever else is sent must be accepted, or its checks are not what is measured. */
  readonly refused?: boolean;
}

const MESSAGES = 2000;
const REST = "From: a@hostile.test\r\n\r\nx\r\n";
/** The SHA-256 of nothing: of each body, as far as `l=0` goes. */
const EMPTY_HASH = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
/** A signature without a matching key. */
const B = `${"A".repeat(342)}==`;

/** All of them, in the order of the table. */
export const HOSTILE_SCENARIOS: readonly HostileScenario[] = [
  { name: "hostile-none", title: "nothing", messages: MESSAGES },
  {
    name: "hostile-signatures",
    title: "1,000 signatures",
    messages: MESSAGES,
    text: () => numbered(1000, (i) => forgedSignature({ d: `h${i}.hostile.test`, l: i })) + REST,
  },
  {
    name: "hostile-tags",
    title: "10 signatures of 5,500 tags",
    messages: MESSAGES,
    text: () => `DKIM-Signature: v=1${numbered(5500, (i) => `; t${i}=1`)}\r\n`.repeat(10) + REST,
  },
  {
    name: "hostile-names",
    title: "10 signatures of 4,000 of 9,900 header fields",
    messages: MESSAGES,
    text: () =>
      forgedSignature({ h: `from${":x".repeat(4000)}`, l: 0 }).repeat(10) +
      `X: ${"y ".repeat(19)}\r\n`.repeat(9900) + REST,
  },
  {
    name: "hostile-authors",
    title: "3,200 authors",
    messages: MESSAGES,
    text: () => `From: ${"a@b,".repeat(3200)}\r\n\r\nx\r\n`,
  },
  {
    name: "hostile-fields",
    title: "500 KB of header fields",
    messages: MESSAGES,
    text: () => `${`X: ${"y ".repeat(22)}\r\n`.repeat(9990)}${REST}`,
  },
  {
    name: "hostile-small-fields",
    title: "230,000 header fields, refused",
    messages: MESSAGES,
    refused: true,
    text: () => `${"X: y\r\n".repeat(230_000)}${REST}`,
  },
  {
    name: "hostile-10mb",
    title: "10 MB of header fields, refused",
    messages: MESSAGES,
    refused: true,
    text: () => `${`X: ${"y".repeat(68)}\r\n`.repeat(140_000)}${REST}`,
  },
  {
    name: "hostile-signed-fields",
    title: "10 signatures of 500 KB of header fields",
    messages: MESSAGES,
    text: (key) => signed(`X: ${"y ".repeat(250_000)}\r\n${REST}`, { key, names: "from:x" }),
  },
  {
    name: "hostile-body",
    title: "10 signatures of a body of 20 MB",
    messages: MESSAGES,
    text: (key) => signed(`From: a@hostile.test\r\n\r\n${" \t x\r\n".repeat(3_400_000)}`, { key }),
  },
];

/** How much is measured. */
export interface HostileOptions {
  readonly scenarios: readonly HostileScenario[];
  /** Told what goes on. */
  readonly progress: (line: string) => void;
}

/** Runs the scenarios and returns the table. */
export async function benchHostile({ scenarios, progress }: HostileOptions): Promise<string> {
  const key = rsaKey(2048);
  const zones = { "bench.test": zoneOf(key), "hostile.test": zoneOf(key), ".": "" };
  await using bind = await startBind(zones);
  const rows = [[
    "4 hostile clients send, without a pause,",
    "hostile messages a second",
    "4 honest clients: p50 ms",
    "p99 ms",
    "the longest ms",
  ]];
  for (const scenario of scenarios) {
    const row = await measureScenario(scenario, { key, dnsPort: bind.port });
    progress(row.join(" | "));
    rows.push(row);
  }
  return markdownTable(rows);
}

async function measureScenario(
  { title, messages, text, refused = false }: HostileScenario,
  { key, dnsPort }: { readonly key: TestKey; readonly dnsPort: number },
): Promise<string[]> {
  await using server = await startOurs({ checks: ALL_CHECKS, dnsPort });
  const { port } = server;
  const send = (messages: number) =>
    runLoadClient({
      host: "127.0.0.1",
      port,
      sessions: 4,
      messages,
      size: 4096,
      recipient: RECIPIENT,
      keep: true,
    });
  await send(500);
  const stop = new AbortController();
  const data = text && Buffer.from(`${text(key)}.\r\n`, "latin1");
  if (data !== undefined) await assertAnswered(port, { data, code: refused ? 552 : 250 });
  const begin = performance.now();
  const hostile = data === undefined
    ? []
    : Array.from({ length: 4 }, () => sendForEver(port, { data, signal: stop.signal }));
  const { latencies } = await send(messages).finally(() => stop.abort());
  const sent = (await Promise.all(hostile)).reduce((sum, count) => sum + count, 0);
  const seconds = (performance.now() - begin) / 1000;
  return [
    title,
    figure(data === undefined ? undefined : sent / seconds),
    ...[percentile(latencies, 50), percentile(latencies, 99), latencies.at(-1)].map(figure),
  ];
}

/** Sends messages until it is to stop; how many. */
async function sendForEver(
  port: number,
  { data, signal }: { readonly data: Uint8Array; readonly signal: AbortSignal },
): Promise<number> {
  let sent = 0;
  for (; !signal.aborted; sent++) {
    try {
      await assertAnswered(port, { data, code: 250 });
    } catch {
      // Refused, or broken off.
    }
  }
  return sent;
}

/** Sends a message. @throws {Error} when the reply to it has another code */
async function assertAnswered(
  port: number,
  { data, code }: { readonly data: Uint8Array; readonly code: number },
): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const dialogue = new Dialogue(connection);
  await dialogue.expect(220);
  await dialogue.say("EHLO hostile.test", 250);
  await dialogue.say("MAIL FROM:<a@hostile.test>", 250);
  await dialogue.say(`RCPT TO:<${RECIPIENT}>`, 250);
  await dialogue.say("DATA", 354);
  await dialogue.send(data);
  await dialogue.expect(code, "the message");
}

function numbered(count: number, text: (number: number) => string): string {
  return Array.from({ length: count }, (_, number) => text(number)).join("");
}

/** A field with a signature that is right but for its `b=`. */
function forgedSignature(
  { d = "hostile.test", h = "from", l }: { readonly d?: string; readonly h?: string; readonly l: number },
): string {
  return `DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=${d}; s=s; h=${h}; l=${l}; ` +
    `bh=${EMPTY_HASH}; b=${B}\r\n`;
}

/** The message with ten signatures on top, in both canonical forms and of as many lengths of the body. */
function signed(message: string, { key, names = "from" }: { key: TestKey; names?: string }): string {
  return Array.from({ length: 10 }, (_, i) => ({
    d: "hostile.test",
    h: names,
    c: i % 2 ? "relaxed/relaxed" : "simple/simple",
    l: String(i * 1000),
  })).reduce((text, tags) => signByTheBook({ message: text, key, tags }), message);
}
