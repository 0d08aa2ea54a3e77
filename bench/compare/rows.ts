/**
 * What is compared.
 *
 * @module
 */
import type { Work } from "./peer.ts";

/** One kind of load. */
export interface Row {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  readonly work: Work;
  /** Connections at the same time. */
  readonly sessions: number;
  /** Messages over a connection; a session then opens another. */
  readonly perConnection: number;
  /** Octets a message. */
  readonly size: number;
  /** With STARTTLS, for what is stored. */
  readonly startTls?: boolean;
  /** Domains that the recipients have in turn; 1 if absent. Beyond 1,000, no domain comes twice in a run. */
  readonly domains?: number;
  /** The most messages of one measurement, if not {@linkcode MOST}. */
  readonly most?: number;
}

/** The most messages of one measurement. */
export const MOST = 10_000;

const KB4 = 4096;
const MB25 = 25 * 1024 * 1024;
/** OpenSMTPD refuses the 101st message of a connection, and some others a later one. */
const KEPT = 100;
const NEW = { perConnection: 1, size: KB4 };
const KEPT_4KB = { perConnection: KEPT, size: KB4 };

/** All of them, in the order of the table; one kind of work after the other. */
export const ROWS: readonly Row[] = [
  { name: "store-1", title: "1 session, a connection for each", work: "store", sessions: 1, ...NEW },
  { name: "store-20", title: "20 sessions, a connection for each", work: "store", sessions: 20, ...NEW },
  { name: "store-100", title: "100 sessions, a connection for each", work: "store", sessions: 100, ...NEW },
  { name: "kept-1", title: "1 kept connection", work: "store", sessions: 1, ...KEPT_4KB },
  { name: "kept-20", title: "20 kept connections", work: "store", sessions: 20, ...KEPT_4KB },
  { name: "kept-100", title: "100 kept connections", work: "store", sessions: 100, ...KEPT_4KB },
  {
    name: "tls-20",
    title: "20 sessions, STARTTLS for each",
    work: "store",
    sessions: 20,
    startTls: true,
    ...NEW,
  },
  {
    name: "25mb-1",
    title: "25 MB, one at a time",
    work: "store",
    sessions: 1,
    perConnection: 1,
    size: MB25,
    most: 20,
  },
  {
    name: "25mb-20",
    title: "25 MB, 20 at once",
    work: "store",
    sessions: 20,
    perConnection: 1,
    size: MB25,
    most: 20,
  },
  { name: "relay-1", title: "to 1 domain", work: "relay", sessions: 20, ...KEPT_4KB },
  { name: "relay-100", title: "to 100 domains", work: "relay", sessions: 20, domains: 100, ...KEPT_4KB },
  {
    name: "relay-10k",
    title: "to 10,000 domains",
    work: "relay",
    sessions: 20,
    domains: 10_000,
    ...KEPT_4KB,
  },
  { name: "sign", title: "to 1 domain, signed with RSA-2048", work: "sign", sessions: 20, ...KEPT_4KB },
  {
    name: "check",
    title: "SPF, DKIM, DMARC; 20 sessions",
    work: "check",
    sessions: 20,
    ...NEW,
  },
  { name: "submit", title: "20 sessions, a login for each", work: "submit", sessions: 20, ...NEW },
  { name: "submit-kept", title: "20 kept connections", work: "submit", sessions: 20, ...KEPT_4KB },
];

/** How many messages take about so many seconds: no fewer than {@linkcode fewest}, and no more than the row allows. */
export function messagesFor(
  row: Row,
  { rate, seconds }: { readonly rate: number; readonly seconds: number },
): number {
  return Math.max(fewest(row), Math.min(row.most ?? MOST, Math.ceil(rate * seconds)));
}

/** One message for each session; five over a kept connection, which one would not show, nor what a login costs it. */
export function fewest({ sessions, perConnection }: Row): number {
  return sessions * Math.min(perConnection, 5);
}
