/**
 * The state of hosts, shared by all messages: open connections, addresses that do not
 * answer, hosts that asked us to slow down. Kept in memory only; a new process learns it again.
 *
 * Three things guard a connection: its address and port, its host's name, and the domain of that name, by which large
 * receivers count (RFC 5321 §4.5.4.1 asks for a list of hosts that cannot be reached).
 *
 * @module
 */
import type { Logger } from "../base/log.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { ownText } from "../base/own_text.ts";
import { addressScope } from "../net/ip_address.ts";
import { DEFAULT_HOST_PAUSES, hostDomain, type HostPauses } from "./host_pauses.ts";
import type { Admission, HostAddress, HostFailure, HostSlot } from "./host_slot.ts";
import type { HostPause, SharedHosts } from "./shared_hosts.ts";

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
  /** What other processes share; absent: nothing. */
  readonly shared?: SharedHosts;
}

interface Gate {
  readonly key: string;
  /** What says how many slots this process has; absent where it need not ask. */
  readonly shared?: SharedHosts;
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
    options.shared?.follow({
      active: (key) => this.#gates.get(key)?.active ?? 0,
      waiting: (key) => this.#gates.get(key)?.waiters.size ?? 0,
      lacking: () => this.#lacking(),
      granted: (key) => this.wakeNext(key),
      paused: (key, pause) => this.#pauseLike(key, pause),
      cleared: () => this.#recoverAll(),
    });
  }

  /**
   * Gets what {@linkcode HostTable.admit} needs of slots that other processes share.
   * @returns `undefined` when there is nothing to wait for
   */
  prepare(target: HostAddress): Promise<void> | undefined {
    const { shared } = this.#options;
    if (shared === undefined || !isShared(target)) return undefined;
    const now = this.#now();
    const lacking: string[] = [];
    for (const gate of this.#gatesOf(target)) {
      if (gate.closedUntil > now || Math.min(gate.limit, gate.max) <= gate.active) return undefined;
      if (room(gate, now) <= 0) lacking.push(gate.key);
    }
    return lacking.length === 0 ? undefined : shared.take(lacking, this.#maxConnectionsPerHost);
  }

  /** Asks for a connection. An admitted slot must be released. */
  admit(target: HostAddress): Admission {
    const [address, host, group] = this.#gatesOf(target);
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
    this.#recoverAll();
    this.#options.shared?.clear();
  }

  #recoverAll(): void {
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

  #gatesOf(target: HostAddress): readonly [address: Gate, host: Gate, group: Gate] {
    const most = this.#maxConnectionsPerHost;
    const all = this.#options.shared;
    const shared = all !== undefined && isShared(target) ? all : undefined;
    return [
      this.#gate(`address ${target.address} ${target.port}`, most, shared),
      this.#gate(`host ${target.host} ${target.port}`, most, shared),
      this.#gate(`domain ${hostDomain(target.host)} ${target.port}`),
    ];
  }

  *#lacking(): Generator<string> {
    const now = this.#now();
    for (const gate of this.#gates.values()) {
      if (gate.shared === undefined || gate.waiters.size === 0 || gate.closedUntil > now) continue;
      if (Math.min(gate.limit, gate.max) > gate.active && room(gate, now) <= 0) yield gate.key;
    }
  }

  #pauseLike(key: string, pause: HostPause): void {
    const gate = key.startsWith("domain ")
      ? this.#gate(key)
      : this.#gate(key, this.#maxConnectionsPerHost, this.#options.shared);
    if (this.#close(gate, pause)) this.#pump(gate);
  }

  #gate(key: string, max = Infinity, shared?: SharedHosts): Gate {
    const known = this.#gates.get(key);
    if (known !== undefined) return known;
    if (this.#gates.size >= MAX_GATES) this.#makeRoom();
    const gate: Gate = {
      key,
      ...(shared && { shared }),
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
      wanted: () => gates.some((gate) => gate.waiters.size > 0 || isContested(gate)),
      contested: () => gates.some(isContested),
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
        if (host.shared !== undefined) host.shared.pause(gate.key, { failure: brief(failure), pause });
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
        for (const { key, shared } of gates) shared?.freed(key);
      },
    };
  }

  #close(gate: Gate, { failure, pause }: HostPause): boolean {
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

function room(gate: Gate, now: number): number {
  if (gate.closedUntil > now) return 0;
  return Math.min(gate.limit, gate.max, gate.shared?.held(gate.key) ?? Infinity) - gate.active;
}

/** Each process has loopback and a serve-in of its own. */
function isShared({ address, via }: HostAddress): boolean {
  return via !== "local" && addressScope(address) !== "loopback";
}

function isContested({ key, shared }: Gate): boolean {
  return shared?.contested(key) ?? false;
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
