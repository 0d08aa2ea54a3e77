/**
 * Counts connections, in all and by client, against the limits.
 *
 * @module
 */

/** The limits on connections at the same time. */
export interface ConnectionCaps {
  /** Of all clients together. */
  readonly maxConnections: number;
  /** Of one client, which is a group of addresses. */
  readonly maxConnectionsPerIp: number;
}

/** Which limit a further connection would exceed: that of all clients, or that of one. */
export type ExceededCap = "all" | "client";

/** Connections at this moment. */
export interface ConnectionCounts {
  /** How many there are, those of other threads included. */
  readonly total: number;
  /** Whether this thread has clearly more of them than others have; absent where there is one thread. */
  readonly isAhead?: boolean;
  /**
   * Counts a connection, unless that would exceed a limit; the result says which.
   * @param group as `addressGroup()` of `net/ip_address.ts` returns it
   */
  admit(group: string, caps: ConnectionCaps): ExceededCap | undefined;
  /** A connection that was admitted is closed. */
  release(group: string): void;
}

/** Counts the connections of one thread. */
export class OwnConnectionCounts implements ConnectionCounts {
  readonly #perGroup = new Map<string, number>();
  #total = 0;

  get total(): number {
    return this.#total;
  }

  admit(group: string, { maxConnections, maxConnectionsPerIp }: ConnectionCaps): ExceededCap | undefined {
    if (this.#total >= maxConnections) return "all";
    const already = this.#perGroup.get(group) ?? 0;
    if (already >= maxConnectionsPerIp) return "client";
    this.#perGroup.set(group, already + 1);
    this.#total++;
    return undefined;
  }

  release(group: string): void {
    this.#total--;
    const left = (this.#perGroup.get(group) ?? 1) - 1;
    if (left > 0) this.#perGroup.set(group, left);
    else this.#perGroup.delete(group);
  }
}
