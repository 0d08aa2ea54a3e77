/**
 * An {@linkcode SmtpClient} that talks to a server of the test, and what it makes of messages.
 *
 * @module
 */
import { FakeClock } from "./fake_clock.ts";
import { FakeServer, type Script } from "./fake_server.ts";
import type { RecipientResult } from "../../smtp/send_result.ts";
import type { OutgoingMessage } from "../../smtp/outgoing_message.ts";
import { SmtpClient, type SmtpClientOptions } from "../../smtp/client.ts";

/** Those of the client. */
export const TIMEOUTS = { command: 300_000, data: 180_000, dataEnd: 600_000 };

/** A client that has connected to a server with this script. */
export function setUp(
  script: Script = {},
  capabilities?: readonly string[],
  more: Partial<SmtpClientOptions> = {},
) {
  const clock = new FakeClock();
  const server = new FakeServer({ clock, script, ...(capabilities && { capabilities }) });
  const client = new SmtpClient(server.connect(), {
    hostname: "client.test",
    clock,
    timeouts: TIMEOUTS,
    ...more,
  });
  return { clock, server, client };
}

/** Past greeting and EHLO. */
export async function ready(script: Script = {}, capabilities?: readonly string[]) {
  const all = setUp(script, capabilities);
  await all.client.greeting();
  await all.client.hello();
  return all;
}

/** The parts as bytes. */
export async function* chunks(...parts: string[]): AsyncIterable<Uint8Array> {
  for (const part of parts) yield await Promise.resolve(new TextEncoder().encode(part));
}

/** A small message to one recipient. */
export function message(more: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    reversePath: "a@client.test",
    recipients: [{ address: "x@fake.test" }],
    size: 13,
    eightBit: false,
    smtputf8: false,
    chunks: () => chunks("Subject: x\r\n", "\r\n", ".hid", "den\r\n"),
    ...more,
  };
}

/** `relayed 250`, `refused rcpt 550`, `lost dot timeout after the dot`. */
export function brief(result: RecipientResult): string {
  if (result.kind === "relayed") return `relayed ${result.reply.code}`;
  if (result.kind === "refused") return `refused ${result.stage} ${result.reply.code}`;
  return `lost ${result.stage} ${result.fault}${result.afterDot ? " after the dot" : ""}`;
}

/** Sends a message: each recipient {@linkcode brief}, and whether the connection can be used again. */
export async function outcome(client: SmtpClient, more: Partial<OutgoingMessage> = {}): Promise<string[]> {
  const { recipients, usable } = await client.send(message(more));
  return [...recipients.map(brief), usable ? "usable" : "closed"];
}

/** The capabilities of a server without any. */
export const PLAIN: readonly string[] = [];

/** The capabilities of a server with PIPELINING alone. */
export const PIPELINING = ["PIPELINING"];
