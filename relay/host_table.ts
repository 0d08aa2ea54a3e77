/**
 * The state of hosts, shared by all messages: open connections, addresses that do not
 * answer, hosts that asked us to slow down. Kept in memory only; a new process learns it again.
 *
 * Three things guard a connection: its address and port, its host's name, and the domain of that name, by which large
 * receivers count (RFC 5321 §4.5.4.1 asks for a list of hosts that cannot be reached).
 *
 * @module
 */
import { isIP } from "node:net";
import type { Logger } from "../base/log.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { ownText } from "../base/own_text.ts";

/** Where a connection goes. */
export interface HostAddress {
  /** The host's name in lower case, or its address. */
  readonly host: string;
  /** The IP address. */
  readonly address: string;
  /** The TCP port. */
  readonly port: number;
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

/** How long hosts are paused, in milliseconds. */
export interface HostPauses {
  /** After a refused connection at first; doubles up to `deadMax`. */
  readonly refused: number;
  /** After the first connection without an answer; doubles up to `deadMax`. */
  readonly silent: number;
  /** The longest time for which a dead address is not tried. */
  readonly deadMax: number;
  /** After 421; doubles up to `rate`. */
  readonly busy: number;
  /** After 4.7.28. */
  readonly rate: number;
}

/** Short pauses for dead addresses, a minute for busy hosts, ten minutes for rate limits. */
export const DEFAULT_HOST_PAUSES: HostPauses = {
  refused: 5_000,
  silent: 30_000,
  deadMax: 60_000,
  busy: 60_000,
  rate: 600_000,
};

/** The default pauses, each capped at `longest` milliseconds, except that for rate limits (`rate`). */
export function hostPausesUpTo(longest: number): HostPauses {
  const { refused, silent, deadMax, busy, rate } = DEFAULT_HOST_PAUSES;
  return {
    refused: Math.min(refused, longest),
    silent: Math.min(silent, longest),
    deadMax: Math.min(deadMax, longest),
    busy: Math.min(busy, longest),
    rate,
  };
}

/** What a {@linkcode HostTable} needs. */
export interface HostTableOptions {
  /** Times the pauses. */
  readonly clock: Clock;
  /** Takes `host.dead`, `host.alive`, `host.slowed`. */
  readonly logger: Logger;
  /** Connections to one host name, and to one address. */
  readonly maxConnectionsPerHost: number;
  /** Default: {@linkcode DEFAULT_HOST_PAUSES}. */
  readonly pauses?: HostPauses;
}

interface Gate {
  readonly key: string;
  /** The most concurrent connections without problems. */
  max: number;
  active: number;
  /** The most concurrent connections now; grows by one with each connection that relays. */
  limit: number;
  /** Nothing goes before then (monotonic). */
  closedUntil: number;
  /** Failures in a row. */
  failures: number;
  /** Present from the failure until a success. */
  failure?: HostFailure;
  learntAt: number;
  /** Whether the failure means no answer, so that waiting messages record it as their own. */
  dead: boolean;
  readonly waiters: Set<() => void>;
  timer?: Timer;
}

const MAX_GATES = 10_000;
// Characters of a reply that are kept for other messages; there may be 10,000 hosts.
const MAX_WORDS = 512;
// A receiver that takes this many concurrent connections is no longer slowed down.
const GROUP_RECOVERED = 20;

/** Which hosts may be connected to now. */
export class HostTable {
  readonly #options: HostTableOptions;
  #pauses: HostPauses;
  #maxConnectionsPerHost: number;
  readonly #gates = new Map<string, Gate>();

  /** Starts without any host. */
  constructor(options: HostTableOptions) {
    this.#options = options;
    this.#pauses = options.pauses ?? DEFAULT_HOST_PAUSES;
    this.#maxConnectionsPerHost = options.maxConnectionsPerHost;
  }

  /** Asks for a connection. An admitted slot must be released. */
  admit(target: HostAddress): Admission {
    const maxConnectionsPerHost = this.#maxConnectionsPerHost;
    const [address, host, group] = [
      this.#gate(`address ${target.address} ${target.port}`, maxConnectionsPerHost),
      this.#gate(`host ${target.host} ${target.port}`, maxConnectionsPerHost),
      this.#gate(`domain ${hostDomain(target.host)} ${target.port}`, Infinity),
    ];
    const now = this.#now();
    if (address.dead && address.closedUntil > now && address.failure !== undefined) {
      return { kind: "dead", failure: address.failure, learntAt: address.learntAt };
    }
    for (const gate of [group, host, address]) {
      if (room(gate, now) > 0) continue;
      const { key, failure, learntAt } = gate;
      const resting = gate.closedUntil > now && failure !== undefined;
      return { kind: "wait", key, ...(resting && { failure, learntAt }) };
    }
    for (const gate of [address, host, group]) gate.active++;
    return { kind: "admitted", slot: this.#slot(target, { address, host, group }) };
  }

  /** Calls back once, when a slot may be free. The callback must lead to {@linkcode HostTable.wakeNext}. */
  wait(key: string, callback: () => void): void {
    const gate = this.#gates.get(key);
    if (gate === undefined) return callback();
    gate.waiters.add(callback);
    this.#pump(gate);
  }

  /** Tells that the callback's work is done, so that an unused slot goes to the next waiter. */
  wakeNext(key: string): void {
    const gate = this.#gates.get(key);
    if (gate !== undefined) this.#pump(gate);
  }

  /** Clears the back-off of all hosts, not their counts of connections: an operator asked for a retry. */
  clearBackoff(): void {
    for (const gate of [...this.#gates.values()]) {
      recover(gate);
      gate.closedUntil = 0;
      this.#pump(gate);
    }
  }

  /** Changes the limits. Pauses that have begun keep their length. */
  reconfigure(
    { maxConnectionsPerHost, pauses }: Required<Pick<HostTableOptions, "maxConnectionsPerHost" | "pauses">>,
  ): void {
    this.#pauses = pauses;
    this.#maxConnectionsPerHost = maxConnectionsPerHost;
    for (const gate of [...this.#gates.values()]) {
      if (gate.max === Infinity) continue;
      gate.max = maxConnectionsPerHost;
      this.#pump(gate);
    }
  }

  /** Why and for how long (milliseconds from now) this target is paused, if it is. */
  inspect(target: HostAddress): { readonly failure: HostFailure; readonly forMs: number } | undefined {
    const { host, address, port } = target;
    for (const key of [`address ${address}`, `host ${host}`, `domain ${hostDomain(host)}`]) {
      const gate = this.#gates.get(`${key} ${port}`);
      const forMs = (gate?.closedUntil ?? 0) - this.#now();
      if (gate?.failure !== undefined && forMs > 0) return { failure: gate.failure, forMs };
    }
    return undefined;
  }

  /** Drops all timers and waiters. */
  stop(): void {
    for (const gate of this.#gates.values()) {
      gate.timer?.cancel();
      gate.waiters.clear();
    }
  }

  #now(): number {
    return this.#options.clock.monotonic();
  }

  #gate(key: string, max: number): Gate {
    const known = this.#gates.get(key);
    if (known !== undefined) return known;
    if (this.#gates.size >= MAX_GATES) this.#makeRoom();
    const gate: Gate = {
      key,
      max,
      active: 0,
      limit: Infinity,
      closedUntil: 0,
      failures: 0,
      learntAt: 0,
      dead: false,
      waiters: new Set(),
    };
    this.#gates.set(key, gate);
    return gate;
  }

  /** Drops the oldest unused entry; a map keeps the order of insertion. */
  #makeRoom(): void {
    let surplus = this.#gates.size - MAX_GATES + MAX_GATES / 10;
    for (const gate of this.#gates.values()) {
      if (surplus <= 0) break;
      if (gate.active > 0 || gate.waiters.size > 0) continue;
      gate.timer?.cancel();
      this.#gates.delete(gate.key);
      surplus--;
    }
  }

  #slot(target: HostAddress, { address, host, group }: Record<"address" | "host" | "group", Gate>): HostSlot {
    const gates = [address, host, group];
    const where = { host: target.host, address: target.address, port: target.port };
    let released = false;
    let relayed = false;
    return {
      resting: () => gates.some((gate) => gate.closedUntil > this.#now()),
      wanted: () => gates.some((gate) => gate.waiters.size > 0),
      connected: () => {
        if (!address.dead) return;
        this.#options.logger.info("host.alive", where);
        recover(address);
        this.#pump(address);
      },
      unreachable: (failure, refused) => {
        const pause = Math.min(
          (refused ? this.#pauses.refused : this.#pauses.silent) * 2 ** Math.min(address.failures, 10),
          this.#pauses.deadMax,
        );
        address.dead = true;
        if (!this.#close(address, { failure, pause })) return;
        this.#options.logger.info("host.dead", { ...where, error: failure.error, pause_ms: pause });
        this.#pump(address);
      },
      slowDown: (failure, kind) => {
        const gate = kind === "rate" ? group : host;
        const { busy, rate } = this.#pauses;
        const pause = kind === "rate" ? rate : Math.min(busy * 2 ** Math.min(gate.failures, 10), rate);
        if (!this.#close(gate, { failure, pause })) return;
        const whole = kind === "rate" ? { domain: hostDomain(target.host) } : {};
        this.#options.logger.warn("host.slowed", {
          ...where,
          ...whole,
          reply: failure.reply,
          pause_ms: pause,
        });
        this.#pump(gate);
      },
      relayed: () => {
        if (relayed) return;
        relayed = true;
        for (const gate of [host, group]) {
          if (gate.limit === Infinity) continue;
          gate.limit++;
          if (gate.limit >= Math.min(gate.max, GROUP_RECOVERED)) recover(gate);
          this.#pump(gate);
        }
      },
      release: () => {
        if (released) return;
        released = true;
        for (const gate of gates) gate.active--;
        for (const gate of gates) this.#settle(gate);
      },
    };
  }

  #close(gate: Gate, { failure, pause }: { failure: HostFailure; pause: number }): boolean {
    const now = this.#now();
    // Connections opened together fail together: that counts as one failure.
    if (gate.closedUntil > now) return false;
    gate.failures++;
    gate.limit = 1;
    gate.failure = brief(failure);
    gate.learntAt = now;
    gate.closedUntil = now + pause;
    return true;
  }

  #settle(gate: Gate): void {
    this.#pump(gate);
    const idle = gate.active === 0 && gate.waiters.size === 0;
    if (!idle || gate.failure !== undefined || gate.limit !== Infinity) return;
    gate.timer?.cancel();
    this.#gates.delete(gate.key);
  }

  #pump(gate: Gate): void {
    const now = this.#now();
    const closedFor = gate.closedUntil - now;
    const wake = gate.dead && closedFor > 0 ? gate.waiters.size : room(gate, now);
    let left = Math.min(wake, gate.waiters.size);
    for (const waiter of [...gate.waiters]) {
      if (left-- <= 0) break;
      // A callback may have led to the next callback.
      if (gate.waiters.delete(waiter)) waiter();
    }
    gate.timer?.cancel();
    delete gate.timer;
    if (gate.waiters.size > 0 && closedFor > 0) {
      gate.timer = this.#options.clock.after(closedFor, () => this.#pump(gate));
    }
  }
}

/** The slot of a connection, by which its results are reported. */
export interface HostSlot {
  /** Whether the host is paused, even for open connections. */
  resting(): boolean;
  /** Whether others wait for a slot at this host. */
  wanted(): boolean;
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

function room(gate: Gate, now: number): number {
  return gate.closedUntil > now ? 0 : Math.min(gate.limit, gate.max) - gate.active;
}

function recover(gate: Gate): void {
  gate.limit = Infinity;
  gate.failures = 0;
  gate.dead = false;
  delete gate.failure;
}

/** The failure, with its reply shortened. */
function brief({ status, error, reply }: HostFailure): HostFailure {
  return {
    status,
    ...(error !== undefined && { error: ownText(error.slice(0, MAX_WORDS)) }),
    ...(reply !== undefined && { reply: ownText(reply.slice(0, MAX_WORDS)) }),
  };
}

/**
 * The domain by which a receiver's hosts are counted: the last two labels, or three where those are like `co.uk`.
 * It need not be exact: too wide a domain only means that unrelated hosts are slowed down for a while.
 */
export function hostDomain(host: string): string {
  if (isIP(host) !== 0) return host;
  const labels = host.split(".");
  const [second = "", top = ""] = labels.slice(-2);
  return labels.slice(top.length === 2 && second.length <= 3 ? -3 : -2).join(".");
}
