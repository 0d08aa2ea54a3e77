/**
 * The client of the comparison: load.c, with TLS.
 *
 * @module
 */
import type { Folder } from "../../tests/support/peers/folder.ts";
import { runOk } from "../../tests/support/peers/process.ts";
import { buildC } from "../build_c.ts";
import type { SignedMail } from "../signed_mail.ts";
import { RECIPIENT, SENDER, type Target } from "./peer.ts";
import type { Row } from "./rows.ts";

/** What the client saw. */
export interface Sent {
  /** From the first connection to the last reply. */
  readonly seconds: number;
  /** Of the milliseconds to the 250, the median, from connecting, or from MAIL on a kept connection. */
  readonly p50: number;
  /** What 99 of 100 did not exceed. */
  readonly p99: number;
  /** How often a message was refused with 4yz and sent again, or a connection without a greeting given up. */
  readonly deferred: number;
  /** Of one message alone, in seconds since 1970: when its final dot was sent. */
  readonly dot: number;
  /** The same: when the reply to it was there. */
  readonly replied: number;
}

/** What one run of the client sends. */
export interface Load {
  readonly row: Row;
  readonly messages: number;
  /** The number of the first domain, from 1; 1 if absent. */
  readonly firstDomain?: number;
  /** For what is not stored; absent: someone in the domains of the row. */
  readonly recipient?: string;
}

/** Sends messages; resolves when the last one has been answered. */
export type Client = (target: Target, load: Load) => Promise<Sent>;

/** Domains in the zone: so many messages can go to a domain each. */
export const DOMAINS = 60_000;
/** From so many domains of a row on, none comes twice. */
const FEW = 1000;

/** Builds the client; what is checked is `mail`. */
export async function buildClient(folder: Folder, mail: SignedMail): Promise<Client> {
  const program = await buildC("load", folder, ["-DTLS", "-lssl", "-lcrypto"]);
  return async ({ port, tls, login }, { row, messages, firstDomain = 1, recipient }) => {
    const { work, sessions, perConnection, size, startTls, domains = 1 } = row;
    const checked = work === "check";
    const stored = checked || work === "store";
    const secure = startTls ? "starttls" : tls;
    const sender = checked ? mail.sender : login?.user ?? SENDER;
    const args = [
      ...["-k", String(perConnection), "-f", sender, "-o", String(firstDomain)],
      ...secure === undefined ? [] : [secure === "starttls" ? "-t" : "-T"],
      ...login === undefined ? [] : ["-l", btoa(`\0${login.user}\0${login.password}`)],
      ...checked ? ["-F", mail.file] : [],
      ...["127.0.0.1", ...[port, sessions, messages, size].map(String)],
      ...[
        stored ? RECIPIENT : recipient ?? "alice@d{n}.bench.test",
        String(domains < FEW ? domains : DOMAINS),
      ],
    ];
    return JSON.parse(await runOk(program, { args, within: 300_000 }));
  };
}
