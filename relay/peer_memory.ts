/**
 * Remembers what went wrong in dialogues with an address, so that the next connection avoids it.
 * Kept in memory only.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";

const MAX_PEERS = 1000;
// Milliseconds; less than the shortest time between two attempts.
const PASSING = 30_000;
// Pipelining only saves time, so a server that once failed with it is tried again the next day.
const WITHOUT_PIPELINING_FOR = 86_400_000;
// Without EHLO there is no TLS and no 8-bit text: at first one connection does without it, then those of an hour.
const WITHOUT_EHLO_FOR = 3_600_000;

interface Peer {
  /** Since when it has refused TLS though it offers it. */
  tlsRefusedSince?: number;
  noPipeliningUntil?: number;
  ehlosLost?: number;
  noEhloUntil?: number;
}

/** Where a connection leads. */
export interface PeerAddress {
  /** The IP address. */
  readonly address: string;
  /** The TCP port. */
  readonly port: number;
}

/** Remembers up to 1,000 addresses; the oldest is dropped first. */
export class PeerMemory {
  readonly #peers = new Map<string, Peer>();
  readonly #clock: Clock;

  /** `clock` measures how long something is remembered. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Notes that TLS was refused, and tells whether the first refusal was long enough ago that this is a later attempt.
   */
  refusesTlsStill(where: PeerAddress): boolean {
    const now = this.#clock.monotonic();
    const peer = this.#peer(where);
    peer.tlsRefusedSince ??= now;
    return now - peer.tlsRefusedSince >= PASSING;
  }

  /** TLS, or whatever else was required, worked. */
  noteTls(where: PeerAddress): void {
    const peer = this.#known(where);
    if (peer !== undefined) delete peer.tlsRefusedSince;
  }

  /** A group of pipelined commands was not answered properly. */
  noteGroupLost(where: PeerAddress): void {
    this.#peer(where).noPipeliningUntil = this.#clock.monotonic() + WITHOUT_PIPELINING_FOR;
  }

  /** The server closed the connection at EHLO. */
  noteEhloLost(where: PeerAddress): void {
    const peer = this.#peer(where);
    peer.ehlosLost = (peer.ehlosLost ?? 0) + 1;
    peer.noEhloUntil = this.#clock.monotonic() + WITHOUT_EHLO_FOR;
  }

  /** HELO does not suffice: EHLO is to be tried again. */
  forgetEhlo(where: PeerAddress): void {
    const peer = this.#known(where);
    if (peer === undefined) return;
    delete peer.noEhloUntil;
    delete peer.ehlosLost;
  }

  /** Whether commands may be sent in groups. */
  takesPipelining(where: PeerAddress): boolean {
    return this.#clock.monotonic() >= (this.#known(where)?.noPipeliningUntil ?? 0);
  }

  /** Whether to send EHLO on a new connection; not on the one after the first that was closed at EHLO. */
  takeEhlo(where: PeerAddress): boolean {
    const peer = this.#known(where);
    if (this.#clock.monotonic() >= (peer?.noEhloUntil ?? 0)) return true;
    if (peer?.ehlosLost === 1) delete peer.noEhloUntil;
    return false;
  }

  #known({ address, port }: PeerAddress): Peer | undefined {
    return this.#peers.size === 0 ? undefined : this.#peers.get(`${address} ${port}`);
  }

  #peer(where: PeerAddress): Peer {
    const known = this.#known(where);
    if (known !== undefined) return known;
    const [oldest] = this.#peers.keys();
    if (oldest !== undefined && this.#peers.size >= MAX_PEERS) this.#peers.delete(oldest);
    const peer: Peer = {};
    this.#peers.set(`${where.address} ${where.port}`, peer);
    return peer;
  }
}
