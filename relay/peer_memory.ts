/**
 * What has been learnt about the dialogue with addresses, so that the next connection does without what went wrong.
 * Kept in memory only.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";

const MAX_PEERS = 1000;
// Milliseconds; less than the shortest time between two attempts.
const PASSING = 30_000;
// Groups of commands spare time and no more, so who once lost one is asked again the next day.
const WITHOUT_PIPELINING_FOR = 86_400_000;
// Without EHLO there is no TLS and no 8-bit text: the first time one connection goes without it, then those of an hour.
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

/** Remembers the troubles of up to 1,000 addresses; the one that is known longest is forgotten first. */
export class PeerMemory {
  readonly #peers = new Map<string, Peer>();
  readonly #clock: Clock;

  /** `clock` measures how long something is remembered. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes that TLS was refused, and tells whether it was the first time so long ago that this is a later attempt. */
  refusesTlsStill(where: PeerAddress): boolean {
    const now = this.#clock.monotonic();
    const peer = this.#peer(where);
    peer.tlsRefusedSince ??= now;
    return now - peer.tlsRefusedSince >= PASSING;
  }

  /** TLS, or what else was asked for, worked. */
  noteTls(where: PeerAddress): void {
    const peer = this.#known(where);
    if (peer !== undefined) delete peer.tlsRefusedSince;
  }

  /** A group of commands was not answered as it should be. */
  noteGroupLost(where: PeerAddress): void {
    this.#peer(where).noPipeliningUntil = this.#clock.monotonic() + WITHOUT_PIPELINING_FOR;
  }

  /** It hung up at EHLO. */
  noteEhloLost(where: PeerAddress): void {
    const peer = this.#peer(where);
    peer.ehlosLost = (peer.ehlosLost ?? 0) + 1;
    peer.noEhloUntil = this.#clock.monotonic() + WITHOUT_EHLO_FOR;
  }

  /** What HELO offers is not enough: EHLO is to be said again. */
  forgetEhlo(where: PeerAddress): void {
    const peer = this.#known(where);
    if (peer === undefined) return;
    delete peer.noEhloUntil;
    delete peer.ehlosLost;
  }

  /** Whether commands may be sent in groups. */
  bearsGroups(where: PeerAddress): boolean {
    return this.#clock.monotonic() >= (this.#known(where)?.noPipeliningUntil ?? 0);
  }

  /** Whether EHLO is to be said on a connection that begins; not on the one behind the first that was hung up on. */
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
