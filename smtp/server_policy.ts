/**
 * How a server treats what clients say and send: what holds for all its messages, whatever becomes of them.
 *
 * @module
 */
import { claimsToBeOurs } from "../message/authentication_results.ts";
import type { UnwantedField } from "../message/header_filter.ts";
import type { Session } from "./session.ts";

/** Extensions that only some servers honour; all have the others. */
export type ServerExtension = "DSN";

/** An account of this machine, as a client on it names it. */
export interface LocalAccount {
  /** Its numeric id. */
  readonly uid: number;
  /** Whether Received says so; if not, it has no `from`. */
  readonly isShown: boolean;
}

/** The rules of one server. */
export interface ServerPolicy {
  /** Announced in EHLO beside those that every server has; the delivery must honour them. */
  readonly extensions: readonly ServerExtension[];
  /**
   * What a bare CR or LF in the mail data does: `refuse` the message (RFC 5321 §2.3.8), or `repair` it as one does
   * for local programs: bare LF becomes CRLF, bare CR a space, both before dot-unstuffing ends the data.
   */
  readonly bareLineEndings: "refuse" | "repair";
  /** Whether MAIL and RCPT may name a bare local-part, which the delivery completes (RFC 6409 §8). */
  readonly completesAddresses: boolean;
  /** Where and how mail is submitted, one line of reply each: the reply to AUTH (502) where no login is possible. */
  readonly submissionAdvice: readonly string[];
  /** Whether mail leaves SMTP here, which is where Return-Path is written (RFC 5321 §4.4). */
  readonly addsReturnPath: boolean;
  /** Whether Received has the client's address and the name that it gave. */
  readonly namesClient: boolean;
  /** For whom on this machine the client says to act; absent where clients come from elsewhere. */
  readonly localAccount?: (session: Session) => LocalAccount | undefined;
  /**
   * Where REQUIRETLS (RFC 8689) is a parameter of MAIL: `over-tls`, where it is announced; `taken`, without TLS and
   * without a word of it too, as between servers of one machine.
   */
  readonly requireTls: "over-tls" | "taken";
  /** Header fields that are removed from each message; absent: none. */
  readonly unwantedField?: UnwantedField;
}

/** The rules to start from, which are those of the Internet: strict, and without Return-Path. */
export const defaultPolicy: ServerPolicy = {
  extensions: [],
  bareLineEndings: "refuse",
  completesAddresses: false,
  submissionAdvice: [
    "AUTH is not available: this port accepts mail for its own recipients without it.",
    "Submit outgoing mail to your provider's submission server (port 465 or 587).",
  ],
  addsReturnPath: false,
  namesClient: true,
  requireTls: "over-tls",
};

/** Fields by which mail programs tell junk. */
const JUNK_FIELDS: ReadonlySet<string> = new Set(["x-spam", "x-spam-flag", "x-spam-score", "x-spam-status"]);

/**
 * The rules of a server where mail from the Internet leaves SMTP for mailboxes. Return-Path is ours to write (RFC 5321
 * §4.4), and Authentication-Results in our name would be believed (RFC 8601 §5): those that arrive are removed.
 * @param options `hostname`: this server's name; `marksJunk`: whether the fields that tell junk are ours to write, too
 */
export function finalDeliveryPolicy(
  { hostname, marksJunk = false }: { readonly hostname: string; readonly marksJunk?: boolean },
): ServerPolicy {
  const ours = hostname.toLowerCase();
  return {
    ...defaultPolicy,
    addsReturnPath: true,
    unwantedField: (field) => {
      if (field.name === "return-path" || (marksJunk && JUNK_FIELDS.has(field.name))) return true;
      if (field.name !== "authentication-results") return false;
      return claimsToBeOurs(field.value(), { hostname: ours, whole: field.whole });
    },
  };
}

/** What `mailapp sendmail` says for its name in EHLO, and serve-out for that of a message in the maildrop. */
const ACCOUNT_NAME = /^uid(\d{1,10})\.(?:sendmail|maildrop)\.localhost$/;

/**
 * The account that a client on this machine acts for, by the name that it gave in EHLO, if that has such a form. Any
 * program on the machine can say so.
 */
export function uidOfClient({ hello }: Session): number | undefined {
  const [, uid] = ACCOUNT_NAME.exec(hello?.domain ?? "") ?? [];
  return uid === undefined ? undefined : Number(uid);
}

/** The rules of a server that relays mail of local programs, which write bare LF and bare names. */
export const localSubmissionPolicy: ServerPolicy = {
  ...defaultPolicy,
  extensions: ["DSN"],
  bareLineEndings: "repair",
  completesAddresses: true,
  requireTls: "taken",
  submissionAdvice: [
    "AUTH is not available: programs on this machine submit mail without it; go on with MAIL FROM:<address>",
  ],
};

/**
 * The rules of a server that takes mail of people's programs (RFC 6409), which must name whole addresses. Received
 * does not show the client's address, for privacy.
 */
export function submissionPolicy({ namesClient }: Pick<ServerPolicy, "namesClient">): ServerPolicy {
  return { ...defaultPolicy, extensions: ["DSN"], bareLineEndings: "repair", namesClient };
}
