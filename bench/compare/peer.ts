/**
 * What a server must know to take part in the comparison.
 *
 * @module
 */
import type { CertificateFiles } from "../../tests/support/peers/certificates.ts";
import type { Folder } from "../../tests/support/peers/folder.ts";
import type { SignedMail } from "../signed_mail.ts";

/** Kinds of work, in the order of the table. */
export const WORKS = ["store", "relay", "sign", "check", "submit"] as const;

/**
 * `store`: mail for {@linkcode RECIPIENT} goes into a Maildir. `relay`: mail for anyone goes where DNS says, to port 25.
 * `sign`: the same with a DKIM signature by RSA-2048. `check`: `store` with SPF, DKIM and DMARC checked. `submit`:
 * `relay` after TLS and a login.
 */
export type Work = typeof WORKS[number];

/** Whose mail is stored. */
export const RECIPIENT = "alice@bench.test";
/** Who sends what is relayed; what is signed is signed for the domain. */
export const SENDER = "sender@bench.test";
/** The domain of the sender and of the recipients. */
export const DOMAIN = "bench.test";
/** The selector of its DKIM key. */
export const SELECTOR = "s";
/** Connections to one host at the same time: Postfix's default, and what the others are set to where they can be. */
export const CONNECTIONS_PER_HOST = 20;

/** What all servers share. */
export interface World {
  /** Goes when the comparison is over. */
  readonly folder: Folder;
  readonly certificate: CertificateFiles;
  /** The address of the DNS server, port 53. */
  readonly dns: string;
  /** A private key of RSA-2048 in PEM. */
  readonly dkimKey: string;
  /** Mail that passes all checks. */
  readonly mail: SignedMail;
}

/** A server that is ready for one kind of work, on 127.0.0.1. */
export interface Target extends AsyncDisposable {
  readonly port: number;
  /** Of the server and of the programs that do a part of its work; those they start are counted, too. */
  readonly pids: readonly number[];
  /** For `store` and `check`. */
  readonly maildir?: string;
  /** What a client must do first. */
  readonly tls?: "starttls" | "implicit";
  /** For AUTH PLAIN. */
  readonly login?: { readonly user: string; readonly password: string };
  /** The programs beside it, as in `OpenDKIM`. */
  readonly with?: string;
  /** Whether STARTTLS works; absent: yes. */
  readonly startTls?: false;
  /** The most connections at the same time with which it can be measured; absent: any number. */
  readonly mostSessions?: number;
}

/** A server that takes part. */
export interface Peer {
  /** As people call it. */
  readonly name: string;
  /** Messages before those that count, where its code gets faster by use. */
  readonly warmUp: number;
  version(): Promise<string>;
  /** How it is started for each kind of work that it does. */
  readonly start: Readonly<Partial<Record<Work, (world: World) => Promise<Target>>>>;
  /** Why it does not do the others. */
  readonly lacks: Readonly<Partial<Record<Work, string>>>;
}

/** A target that stops with a stack of things. */
export function targetOf(target: Omit<Target, keyof AsyncDisposable>, stack: AsyncDisposableStack): Target {
  const all = stack.move();
  return { ...target, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
