import assert from "node:assert/strict";
import { join } from "@std/path";
import { type LogFields, type Logger, silentLogger } from "../observe/log.ts";
import type { Header, PendingMessage } from "../smtp/delivery.ts";
import type { Envelope, Recipient } from "../smtp/envelope.ts";
import type { Session } from "../smtp/session.ts";
import { StagingArea } from "../storage/staging.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { MaildirDelivery, type MaildirDeliveryOptions } from "./delivery.ts";
import { Mailboxes, type MailboxesOptions } from "./mailboxes.ts";

const encoder = new TextEncoder();
const session: Session = {
  id: "s1",
  remote: { address: "192.0.2.1", port: 4321 },
  local: { address: "192.0.2.2", port: 25 },
  errorCount: 0,
  messageCount: 0,
  refusedRecipientCount: 0,
};
const prepend: readonly Header[] = [
  { name: "Return-Path", value: "<sender@client.test>" },
  { name: "Received", value: "from client.test ([192.0.2.1])\r\n\tby mx.example.com" },
];
const MESSAGE = "Subject: hello\r\n\r\nA line\r\n.\r\n";

interface Setting {
  readonly directory: string;
  readonly delivery: MaildirDelivery;
  readonly events: [string, LogFields | undefined][];
  readonly clock: FakeClock;
  files(user: string, folder?: string): string[];
}

interface SettingOptions extends Partial<Omit<MaildirDeliveryOptions, "mailboxes">> {
  readonly mailboxes?: Partial<MailboxesOptions>;
}

async function inSetting(options: SettingOptions, run: (setting: Setting) => Promise<void>): Promise<void> {
  const directory = await Deno.realPath(await Deno.makeTempDir({ prefix: "mailapp-maildir-" }));
  const events: [string, LogFields | undefined][] = [];
  const note = (event: string, fields?: LogFields) => void events.push([event, fields]);
  const log: Logger = { ...silentLogger, info: note, warn: note, error: note, with: () => log };
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
    freeSpace: () => Promise.resolve(1_000_000_000),
    log,
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
    await run({ directory, delivery, events, clock, files });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function recipient(address: string): Recipient {
  const at = address.lastIndexOf("@");
  return { forwardPath: { localPart: address.slice(0, at), domain: address.slice(at + 1), text: address } };
}

function envelope(...recipients: string[]): Envelope {
  const reversePath = { localPart: "sender", domain: "client.test", text: "sender@client.test" };
  return { reversePath, recipients: recipients.map(recipient), body: "7BIT", smtputf8: false };
}

async function deliver(
  delivery: MaildirDelivery,
  { to, message = MESSAGE, cut = Infinity }: { to: string[]; message?: string | Uint8Array; cut?: number },
): Promise<void> {
  const pending: PendingMessage = await delivery.begin(envelope(...to), session);
  try {
    const bytes = typeof message === "string" ? encoder.encode(message) : message;
    for (let at = 0; at < bytes.length; at += cut) await pending.write(bytes.slice(at, at + cut));
    await pending.commit(prepend);
  } finally {
    await pending[Symbol.asyncDispose]();
  }
}

Deno.test("MaildirDelivery stores a message with LF lines, trace fields on top and its sizes in the name", async () => {
  await inSetting({}, async ({ delivery, files, events }) => {
    await deliver(delivery, { to: ["alice@example.com"] });
    const [path = "", ...others] = files("alice");
    assert.deepEqual(others, []);
    const text = await Deno.readTextFile(path);
    assert.equal(
      text,
      "Return-Path: <sender@client.test>\nDelivered-To: alice@example.com\n" +
        "Received: from client.test ([192.0.2.1])\n\tby mx.example.com\nSubject: hello\n\nA line\n.\n",
    );
    const wire = text.length + text.split("\n").length - 1;
    assert.match(path, new RegExp(`\\.mx\\.example\\.com,S=${text.length},W=${wire}$`));
    assert.deepEqual(files("alice", "tmp"), []);
    assert.deepEqual(files("alice", "cur"), []);
    assert.deepEqual(events, [["message.delivered", {
      mailbox: "alice@example.com",
      file: path,
      bytes: text.length,
    }]]);
  });
});
