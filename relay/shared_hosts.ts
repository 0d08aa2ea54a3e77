/**
 * Limits and pauses of hosts that several processes share: what a `HostTable` asks before it lets a
 * connection be opened, where the queue has several owners.
 *
 * @module
 */
import type { HostFailure } from "./host_slot.ts";

/** A pause of a host or of a receiver's domain. */
export interface HostPause {
  /** What led to it. */
  readonly failure: HostFailure;
  /** Its length from now, in milliseconds. */
  readonly pause: number;
}

/** What a process uses and needs. Keys are those of the `HostTable`. */
export interface SharedHostsFollower {
  /** Slots in use. */
  active(key: string): number;
  /** How many wait for one. */
  waiting(key: string): number;
  /** The keys for which some wait, as this process has too few slots. */
  lacking(): Iterable<string>;
  /** This process has more slots than before. */
  granted(key: string): void;
  /** Another process was asked to slow down. */
  paused(key: string, pause: HostPause): void;
  /** Pauses no longer hold, by order of an operator. */
  cleared(): void;
}

/** Slots, of which all processes together have no more than the limit, and pauses. */
export interface SharedHosts {
  /** Tells this one from now on. */
  follow(follower: SharedHostsFollower): void;
  /** Slots that this process has, in use or not. */
  held(key: string): number;
  /** Whether another process waits for a slot, and this one has more than its share. */
  contested(key: string): boolean;
  /**
   * Gets one more slot for each key, where one of `most` is free; where not, it is granted later. Never rejects.
   */
  take(keys: readonly string[], most: number): Promise<void>;
  /** A slot is no longer in use. */
  freed(key: string): void;
  /** Tells the others of a pause. */
  pause(key: string, pause: HostPause): void;
  /** Ends all pauses, for the others too. */
  clear(): void;
}
