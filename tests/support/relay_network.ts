/**
 * A world of hosts without sockets, for tests of the scheduler: each host does what its script says.
 *
 * @module
 */
import type { Connect } from "../../relay/attempt.ts";
import type { Target, Targets } from "../../relay/mx.ts";
import type { QueueEntry } from "../../relay/queue_entry.ts";
import type { HostResult, RecipientOutcome } from "../../relay/transmit.ts";
import type { Clock } from "../../base/clock.ts";

/** What a host does with a message for one recipient. */
export type HostAnswer =
  /** Takes it. */
  | "relay"
  /** Refuses it for good, or for now, with this reply; before the dot unless `atDot`. */
  | { readonly reply: string; readonly status: string; readonly atDot?: boolean }
  /** Drops the connection: before the dot, or after it, without a word. */
  | { readonly drop: "before-dot" | "after-dot" };

/** One host. */
export interface FakeHost {
  readonly address: string;
  /**
   * `up` answers; `refused` fails at once; `silent` fails after 30 s; `forbidden` is not even asked, by the TLS
   * policy; a reply: what it greets with instead of 220.
   */
  state: "up" | "refused" | "silent" | "forbidden" | { readonly reply: string; readonly status: string };
  /** Milliseconds a message takes. */
  delay: number;
  answer: (recipient: string, entry: QueueEntry) => HostAnswer;
  /** Whether it has ended the connections that have served before. */
  stale: boolean;
  /** Whether it takes over the notices of what it takes (RFC 3461). */
  dsn: boolean;
  /** Recipients it took, in order, one array a transaction. */
  readonly taken: string[][];
  /** Connections ever, and now. */
  connections: number;
  open: number;
  mostOpen: number;
  /** When each connection was asked for, monotonic. */
  readonly askedAt: number[];
}

/** The hosts and which domains they serve. */
export class RelayNetwork {
  readonly #clock: Clock;
  readonly hosts = new Map<string, FakeHost>();
  readonly #domains = new Map<string, Targets>();
  /** Which family each look-up preferred. */
  readonly familyHints: (4 | 6 | undefined)[] = [];

  /** @param clock Lets hosts take their time. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Adds a host under this name that is up and takes everything. */
  host(name: string, options: Partial<FakeHost> = {}): FakeHost {
    const host: FakeHost = {
      address: `192.0.2.${this.hosts.size + 1}`,
      state: "up",
      delay: 0,
      answer: () => "relay",
      stale: false,
      dsn: false,
      taken: [],
      connections: 0,
      open: 0,
      mostOpen: 0,
      askedAt: [],
      ...options,
    };
    this.hosts.set(name, host);
    return host;
  }

  /** Says where a domain's mail goes: hosts by name, best first, or an outcome. */
  domain(
    name: string,
    to: readonly string[] | Exclude<Targets, { kind: "targets" }>,
    { tls = "prefer" }: { readonly tls?: Target["tls"] } = {},
  ): void {
    if ("kind" in to) return void this.#domains.set(name, to);
    const targets = to.map((host): Target => {
      const { address } = this.#host(host);
      const family = address.includes(":") ? 6 : 4;
      return { host, address, family, port: 25, via: "mx", tls, authenticated: false };
    });
    this.#domains.set(name, { kind: "targets", targets });
  }

  /** For the scheduler. */
  readonly route = (
    domain: string,
    { preferFamily }: { readonly preferFamily?: 4 | 6 },
  ): Promise<Targets> => {
    this.familyHints.push(preferFamily);
    const known = this.#domains.get(domain);
    return Promise.resolve(known ?? { kind: "failed", status: "5.1.2", reason: "no such domain" });
  };

  /** For the scheduler. */
  readonly connect: Connect = async (target, { signal }) => {
    const host = this.#host(target.host);
    const at = this.#clock.now();
    const { address } = target;
    host.askedAt.push(this.#clock.monotonic());
    const where = { at, host: target.host, address };
    if (host.state === "refused") {
      return {
        kind: "unavailable",
        reached: false,
        attempt: { ...where, error: "connection refused", status: "4.4.1" },
      };
    }
    if (host.state === "forbidden") {
      return { kind: "unavailable", attempt: { ...where, error: "DANE is required", status: "4.7.5" } };
    }
    if (host.state === "silent") {
      await this.#wait(30_000, signal);
      return {
        kind: "unavailable",
        reached: false,
        attempt: { ...where, error: "connection timed out", status: "4.4.1" },
      };
    }
    if (host.state !== "up") {
      return { kind: "unavailable", reached: true, attempt: { ...where, ...host.state } };
    }
    host.connections++;
    host.open++;
    host.mostOpen = Math.max(host.mostOpen, host.open);
    const broken = new AbortController();
    let isOpen = true;
    let served = false;
    const close = () => {
      if (isOpen) host.open--;
      isOpen = false;
    };
    return {
      kind: "open",
      connection: {
        send: async ({ entry, recipients, queue }) => {
          if (served && host.stale) {
            close();
            return { outcomes: [], usable: false, stale: true };
          }
          served = true;
          const answers = recipients.map((index) => {
            const address = entry.recipients[index]?.address ?? "";
            return { index, address, answer: host.answer(address, entry) };
          });
          const at = this.#clock.now();
          const atDot = answers.filter(({ answer }) =>
            answer === "relay" || ("drop" in answer ? answer.drop === "after-dot" : answer.atDot)
          );
          let unwritten: string | undefined;
          if (atDot.length > 0) {
            // The dot is not sent then.
            await queue.dotSent(entry.id, { ...where, at, recipients: atDot.map(({ index }) => index) })
              .catch((error) => unwritten = String(error));
          }
          if (host.delay > 0 && unwritten === undefined) await this.#wait(host.delay, broken.signal);
          const outcomes = answers.map(({ index, answer }): RecipientOutcome => {
            const common = { recipient: index, dsnHandedOn: false };
            const tls = "none" as const;
            if (unwritten !== undefined && atDot.some((one) => one.index === index)) {
              const attempt = { ...where, at, tls, error: unwritten, status: "4.3.0" };
              return { ...common, result: "deferred", nextHost: false, attempt };
            }
            if (broken.signal.aborted || (answer !== "relay" && "drop" in answer)) {
              const dot = atDot.some((one) => one.index === index);
              const attempt = { ...where, at, tls, error: "connection lost", status: "4.4.2" };
              return {
                ...common,
                result: "deferred",
                nextHost: !dot,
                attempt: dot ? { ...attempt, dotSentNoReply: true } : attempt,
              };
            }
            if (answer === "relay") {
              return {
                ...common,
                result: "relayed",
                dsnHandedOn: host.dsn,
                nextHost: false,
                attempt: { ...where, at, tls, reply: "250 2.0.0 ok", status: "2.0.0" },
              };
            }
            const { reply, status, atDot: late = false } = answer;
            const result = status.startsWith("5") ? "failed" : "deferred";
            const attempt = { ...where, at, tls, reply, status };
            return { ...common, result, nextHost: result === "deferred" && !late, attempt };
          });
          const of = (relayed: boolean) =>
            outcomes.filter(({ result, attempt }) =>
              (result === "relayed") === relayed && !attempt.dotSentNoReply
            )
              .map(({ recipient }) => recipient).filter((index) => atDot.some((one) => one.index === index));
          let unrecorded = false;
          for (const relayed of [true, false]) {
            const recipients = of(relayed);
            if (recipients.length === 0 || unwritten !== undefined) continue;
            await queue.dotAnswered(entry.id, { recipients, relayed }).catch(() => unrecorded ||= relayed);
          }
          const taken = outcomes.filter(({ result }) => result === "relayed")
            .map(({ recipient }) => entry.recipients[recipient]?.address ?? "");
          if (taken.length > 0) host.taken.push(taken);
          const usable = isOpen && !outcomes.some(({ attempt }) => attempt.reply === undefined);
          if (!usable) close();
          return { outcomes, usable, stale: false, unrecorded } satisfies HostResult;
        },
        close: () => {
          close();
          return Promise.resolve();
        },
        abort: () => {
          close();
          broken.abort();
        },
      },
    };
  };

  #host(name: string): FakeHost {
    const host = this.hosts.get(name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(ms, resolve);
      signal.addEventListener("abort", () => {
        timer.cancel();
        resolve();
      }, { once: true });
    });
  }
}
