/**
 * A delivery into Maildirs, set up for a test.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "@std/path";
import { SmtpError } from "../../smtp/reply.ts";
import type { Filing, Header, Origin, PendingMessage, TopForecast } from "../../smtp/delivery.ts";
import type { Envelope, Recipient } from "../../smtp/envelope.ts";
import type { FreeRoom } from "../../storage/free_space.ts";
import { StagingArea } from "../../storage/staging.ts";
import { MaildirDelivery, type MaildirDeliveryOptions } from "../../maildir/delivery.ts";
import { Mailboxes, type MailboxesOptions } from "../../maildir/mailboxes.ts";
import { FakeClock } from "./fake_clock.ts";
import { RecordingLog } from "./recording_log.ts";

const encoder = new TextEncoder();
/** A client's message, as the delivery hears of it. */
export const context: { readonly origin: Origin } = {
  origin: {
    id: "s1",
    remote: { address: "192.0.2.1", port: 4321 },
    local: { address: "192.0.2.2", port: 25 },
  },
};
/** What the protocol puts on top. */
export const prepend: readonly Header[] = [
  { name: "Return-Path", value: "<sender@client.test>" },
  { name: "Received", value: "from client.test ([192.0.2.1])\r\n\tby mx.example.com" },
];
/** A small one. */
export const MESSAGE = "Subject: hello\r\n\r\nA line\r\n.\r\n";

/** A delivery into a directory that goes when the test does. */
export interface Setting {
  readonly directory: string;
  readonly delivery: MaildirDelivery;
  readonly log: RecordingLog;
  readonly clock: FakeClock;
  /** The paths in a folder of a mailbox; none where it is not there. */
  files(user: string, folder?: string): string[];
}

/** What differs from an ordinary one. */
export interface SettingOptions extends Partial<Omit<MaildirDeliveryOptions, "mailboxes">> {
  readonly mailboxes?: Partial<MailboxesOptions>;
}

/** File systems with this many octets free, and any number of files. */
export function roomy(octets: number): () => Promise<FreeRoom> {
  return () => Promise.resolve({ octets });
}

/** Runs a test in a setting. */
export async function inSetting(
  options: SettingOptions,
  run: (setting: Setting) => Promise<void>,
): Promise<void> {
  const directory = await Deno.realPath(await Deno.makeTempDir({ prefix: "mailapp-maildir-" }));
  const log = new RecordingLog();
  const { mailboxes, ...others } = options;
  const clock = new FakeClock();
  const delivery = new MaildirDelivery({
    mailboxes: new Mailboxes({
      domains: ["example.com"],
      path: join(directory, "mail", "{domain}", "{user}"),
      users: ["alice", "bob", "carol"],
      aliases: { postmaster: "alice", both: ["alice", "bob"] },
      subaddressSeparator: "+",
      ...mailboxes,
    }),
    hostname: "mx.example.com",
    staging: new StagingArea({ directory: join(directory, "staging") }),
    minFreeSpace: 1000,
    room: roomy(1_000_000_000),
    logger: log,
    clock,
    ...others,
  });
  const files = (user: string, folder = "new") => {
    const path = join(directory, "mail", "example.com", user, folder);
    try {
      return Array.from(Deno.readDirSync(path), ({ name }) => join(path, name));
    } catch {
      return [];
    }
  };
  try {
    await run({ directory, delivery, log, clock, files });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** A recipient as RCPT names it. */
export function recipient(address: string): Recipient {
  const at = address.lastIndexOf("@");
  return { forwardPath: { localPart: address.slice(0, at), domain: address.slice(at + 1), text: address } };
}

/** An envelope for these addresses. */
export function envelope(...recipients: string[]): Envelope {
  const reversePath = { localPart: "sender", domain: "client.test", text: "sender@client.test" };
  return { reversePath, recipients: recipients.map(recipient), body: "7BIT", smtputf8: false };
}

/** Delivers one message, in pieces of this many octets. */
export async function deliver(
  delivery: MaildirDelivery,
  { to, message = MESSAGE, cut = Infinity, ...options }: {
    readonly to: readonly string[];
    readonly message?: string | Uint8Array;
    readonly cut?: number;
    readonly forecast?: TopForecast;
    readonly top?: readonly Header[];
    readonly filing?: Filing;
  },
): Promise<void> {
  const pending: PendingMessage = await delivery.begin(envelope(...to), {
    ...context,
    ...(options.forecast && { forecast: options.forecast }),
  });
  try {
    const bytes = typeof message === "string" ? encoder.encode(message) : message;
    for (let at = 0; at < bytes.length; at += cut) await pending.write(bytes.slice(at, at + cut));
    await pending.commit(options.top ?? prepend, options.filing);
  } finally {
    await pending[Symbol.asyncDispose]();
  }
}

/** Whether a delivery was refused with this code and enhanced status. */
export function refusal(code: number, enhanced: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof SmtpError, String(error));
    assert.deepEqual([error.reply.code, error.reply.enhanced], [code, enhanced]);
    return true;
  };
}
