/**
 * What the cases of the self-test work with, and what they tell.
 *
 * @module
 */
import { join } from "@std/path";
import { formatDate } from "../base/date.ts";
import { latin1 } from "../base/latin1.ts";
import type { Config } from "../config/config.ts";
import type { Finding } from "../doctor/finding.ts";
import type { TestAuthority } from "./authority.ts";
import type { Copy, CopyPlaces } from "./copies.ts";
import type { FakeDns } from "./dns_server.ts";
import type { Peers } from "./peers.ts";
import { Wire } from "./wire.ts";

/** Takes each finding as it is made. */
export type Tell = (finding: Finding) => void;

/** Everything around the copies. */
export interface Stage {
  /** The configuration under test, as its file says. */
  readonly config: Config;
  readonly places: CopyPlaces;
  readonly dns: FakeDns;
  readonly peers: Peers;
  /** Issued the certificates of the receiving servers; the copies trust it and no other. */
  readonly authority: TestAuthority;
  /** An address of a mailbox here; `undefined` where serve-in is not configured. */
  readonly own: string | undefined;
}

/** A group of cases. */
export type Cases = (stage: Stage, tell: Tell) => Promise<void>;

let clients = 0;
let tokens = 0;

/** An address of loopback that no other client has used. */
export function freshClient(): string {
  clients++;
  return `127.0.${60 + Math.floor(clients / 250)}.${1 + clients % 250}`;
}

/** A word that occurs in no other message. */
export function freshToken(): string {
  return `selftest-${++tokens}-${crypto.randomUUID().slice(0, 8)}`;
}

/** Header fields and body of a message, lines ending in CRLF. */
export function messageText(
  { from, to, token, extra = [], body = "A message of mailapp selftest." }: {
    readonly from: string;
    readonly to: string;
    readonly token: string;
    /** Fields on top. */
    readonly extra?: readonly string[];
    readonly body?: string;
  },
): string {
  return [
    ...extra,
    `From: <${from}>`,
    `To: <${to}>`,
    `Subject: ${token}`,
    `Date: ${formatDate(Date.now())}`,
    `Message-ID: <${token}@selftest.test>`,
    "",
    body,
    "",
  ].join("\r\n");
}

/** What a client gets for a whole message. */
export interface Handed {
  /** The first reply that was not good, or the one to the message. */
  readonly reply: string;
  /** Where it came: `connect`, `MAIL`, `RCPT`, `DATA` or `dot`. */
  readonly at: string;
  /** Whether the message was taken. */
  readonly taken: boolean;
}

/** Hands a message to a server, as a well-behaved client. */
export async function handIn(
  { port, from: client = freshClient(), sender, recipients, data, helo }: {
    readonly port: number;
    readonly from?: string;
    readonly sender: string;
    readonly recipients: readonly string[];
    /** Whole, without the final dot; no line begins with a dot. */
    readonly data: string;
    readonly helo?: string;
  },
): Promise<Handed> {
  const { wire: opened, ehlo } = await Wire.open({ port, from: client, ...(helo !== undefined && { helo }) });
  using wire = opened;
  if (!ehlo.startsWith("250")) return { reply: ehlo, at: "connect", taken: false };
  const lines = [
    ["MAIL", `MAIL FROM:<${sender}>`],
    ...recipients.map((recipient) => ["RCPT", `RCPT TO:<${recipient}>`]),
    ["DATA", "DATA"],
  ] as const;
  for (const [at, line] of lines) {
    const reply = await wire.say(line ?? "");
    if (!/^[23]/.test(reply)) return { reply, at: at ?? "", taken: false };
  }
  await wire.send(`${data}.\r\n`);
  const reply = await wire.hear();
  await wire.send("QUIT\r\n");
  return { reply, at: "dot", taken: reply.startsWith("250") };
}

/** A message that a copy of serve-in has stored. */
export interface StoredMessage {
  /** Whether it is in the folder for junk. */
  readonly junk: boolean;
  /** The folder, without the dot before it; empty: the inbox. */
  readonly folder: string;
  /** One character an octet, lines ending in LF. */
  readonly text: string;
}

/** The messages with this word that a copy of serve-in has stored. */
export async function storedBy({ config: { dataDir } }: Copy, token: string): Promise<StoredMessage[]> {
  const found: StoredMessage[] = [];
  const visit = async (directory: string) => {
    for await (const { name, isDirectory } of Deno.readDir(directory)) {
      const path = join(directory, name);
      if (isDirectory) await visit(path);
      else if (/\/(?:new|cur)$/.test(directory)) {
        const text = latin1(await Deno.readFile(path));
        const [, folder = ""] = /\/\.([^/]+)\/(?:new|cur)$/.exec(directory) ?? [];
        if (text.includes(token)) found.push({ junk: folder !== "", folder, text });
      }
    }
  };
  await visit(join(dataDir, "mail"));
  return found;
}

/** A reply in one line, for people. */
export function brief(reply: string): string {
  return reply.replaceAll(/\r\n\d{3}[- ]/g, " ").slice(0, 200);
}
