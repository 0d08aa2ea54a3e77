/**
 * What a receiving server may do to us at each step of sending, and what happens to the message.
 *
 * @module
 */

/** A step of the dialogue; `dot` is the end of the mail data. */
export type FaultMoment =
  | "greeting"
  | "EHLO"
  | "STARTTLS"
  | "MAIL"
  | "RCPT"
  | "DATA"
  | "dot"
  | "QUIT";

/** What the server does there: refuses for now, for good, says that it closes, hangs up, or falls silent. */
export type Fault = "4xx" | "5xx" | "421" | "drop" | "stall";

/** What the server says, or does, for each fault. */
export const REACTIONS: Readonly<Record<Fault, string>> = {
  "4xx": "450 4.2.9 later",
  "5xx": "550 5.2.9 never",
  "421": "421 4.2.9 closing",
  drop: "drop",
  stall: "stall",
};

/**
 * What one attempt at the host comes to: `relayed`, `deferred` or `failed`, or `no host` (deferred, since the host
 * could not be used), then the status; `next host` where another one may be tried at once.
 */
export type FaultRow = Readonly<Record<Fault, string>>;

const transaction: FaultRow = {
  "4xx": "deferred, 4.2.9, next host",
  "5xx": "failed, 5.2.9",
  "421": "deferred, 4.2.9, next host",
  drop: "deferred, 4.4.2, next host",
  stall: "deferred, 4.4.2, next host",
};
const noHost: FaultRow = {
  "4xx": "no host, 4.2.9",
  "5xx": "no host, 4.2.9",
  "421": "no host, 4.2.9",
  drop: "no host, 4.4.2",
  stall: "no host, 4.4.2",
};

/** By step and fault. */
export const SENDING_FAULTS: Readonly<Record<FaultMoment, FaultRow>> = {
  // 5xx is for us, not for the message: another host, then later.
  greeting: noHost,
  // HELO does it.
  EHLO: { ...noHost, "5xx": "relayed, 2.0.0" },
  // 5xx: the policy is to prefer TLS, so plaintext does it, on another connection.
  STARTTLS: { ...noHost, "5xx": "relayed, 2.0.0" },
  MAIL: transaction,
  RCPT: transaction,
  DATA: transaction,
  // From here on the message may have arrived: no other host.
  dot: {
    "4xx": "deferred, 4.2.9",
    "5xx": "failed, 5.2.9",
    "421": "deferred, 4.2.9",
    drop: "deferred, 4.4.2, dot sent, no reply",
    stall: "deferred, 4.4.2, dot sent, no reply",
  },
  QUIT: {
    "4xx": "relayed, 2.0.0",
    "5xx": "relayed, 2.0.0",
    "421": "relayed, 2.0.0",
    drop: "relayed, 2.0.0",
    stall: "relayed, 2.0.0",
  },
};
