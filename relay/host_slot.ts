/**
 * What is said between those that open connections and the table of hosts.
 *
 * @module
 */

/** Where a connection goes. */
export interface HostAddress {
  /** The host's name in lower case, or its address. */
  readonly host: string;
  /** The IP address. */
  readonly address: string;
  /** The TCP port. */
  readonly port: number;
  /** How it was found, as in a `Target`. */
  readonly via?: string;
}

/** Why a host is paused; recorded as the attempt of messages that did not try it themselves. */
export interface HostFailure {
  /** What happened, such as `connection refused`. */
  readonly error?: string;
  /** What it said. */
  readonly reply?: string;
  /** The enhanced status, such as `4.4.1`. */
  readonly status: string;
}

/** Whether a connection may be opened. */
export type Admission =
  | { readonly kind: "admitted"; readonly slot: HostSlot }
  /** The address did not answer lately, and is not tried again yet. */
  | { readonly kind: "dead"; readonly failure: HostFailure; readonly learntAt: number }
  /** The host is at its limit or paused. {@linkcode HostTable.wait} on the key says when to ask again. */
  | {
    readonly kind: "wait";
    readonly key: string;
    readonly failure?: HostFailure;
    readonly learntAt?: number;
  };

/** The slot of a connection, by which its results are reported. */
export interface HostSlot {
  /** Whether the host is paused, even for open connections. */
  resting(): boolean;
  /** Whether others wait for a slot at this host. */
  wanted(): boolean;
  /** Whether another process waits for a slot that this one has beyond its share. */
  contested(): boolean;
  /** The address answered. */
  connected(): void;
  /** The address did not answer; `refused` where the connection was refused. */
  unreachable(failure: HostFailure, refused: boolean): void;
  /** The host asked us to slow down: `busy` (421) counts for it alone, `rate` (4.7.28) for all hosts of its domain. */
  slowDown(failure: HostFailure, kind: "busy" | "rate"): void;
  /** A message was accepted. */
  relayed(): void;
  /** The connection is over. Safe to call twice. */
  release(): void;
}
