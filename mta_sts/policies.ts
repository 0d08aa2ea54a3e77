/**
 * The policies of the domains that mail goes to: found, kept for as long as they say, refreshed, kept on disk.
 *
 * @module
 */
import { type Gauge, gauges, reading, type Series } from "../base/counters.ts";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Resolver } from "../dns/resolver.ts";
import type { Fetched, FetchFailure } from "./fetch.ts";
import { MAX_MAX_AGE, parsePolicy, type Policy } from "./policy.ts";
import { policyId } from "./record.ts";

/** A policy as it is kept. */
export interface KeptPolicy {
  readonly domain: string;
  /** Of the TXT record when it was fetched. */
  readonly id: string;
  readonly policy: Policy;
  /** The policy as it was fetched, for reports. */
  readonly text: string;
  /** Milliseconds since the Unix epoch. */
  readonly fetchedAt: number;
}

/** What is known of a domain. */
export type PolicyAnswer =
  | { readonly kind: "policy"; readonly kept: KeptPolicy }
  /** `failure`: there should be one, but it could not be had; mail goes as without (RFC 8461 §5.1). */
  | { readonly kind: "none"; readonly failure?: FetchFailure; readonly why?: string };

/** Keeps policies over restarts. What it reads is checked here. */
export interface PolicyStore {
  /** All that was kept; what cannot be read is left out. */
  load(): Promise<readonly unknown[]>;
  /** Replaces all of it. */
  save(policies: readonly KeptPolicy[]): Promise<void>;
}

/** What it needs. */
export interface PoliciesOptions {
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly fetch: (domain: string, signal: AbortSignal) => Promise<Fetched>;
  readonly store: PolicyStore;
  readonly log: Logger;
}

/** How long a message waits for a policy that is fetched for the first time, in milliseconds. */
const FIRST_WAIT = 30_000;
/** A domain without a policy, or with one that was looked at, is not asked again for so long; milliseconds. */
const LOOK_AGAIN = 60_000;
/** After a fetch that failed; milliseconds (RFC 8461 §3.3 asks for five minutes at least). */
const FETCH_AGAIN = 5 * 60_000;
/** A policy is fetched anew when so much of its life is left, whatever its id. */
const REFRESH_BEFORE = 0.25;
const MAX_POLICIES = 20_000;
const MAX_LOOKED_AT = 50_000;
const MAX_FETCHES = 20;
const SAVE_AFTER = 1_000;

const policies = gauges("mailapp_mta_sts_policies", {
  help: "MTA-STS policies that are kept",
  labels: ["mode"],
});
const firstExpiry = gauges("mailapp_mta_sts_first_expiry_timestamp_seconds", {
  help: "When the first MTA-STS policy expires, if it is not fetched anew; 0 without one",
  labels: [],
});

/** What was found out of late about a domain. Times in `clock.monotonic()`. */
interface Look {
  readonly until: number;
  readonly failure?: FetchFailure;
  readonly why?: string;
}

/** Policies by domain. */
export class Policies {
  readonly #options: PoliciesOptions;
  readonly #kept = new Map<string, KeptPolicy>();
  readonly #looked = new Map<string, Look>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #stopping = new AbortController();
  #fetches = 0;
  #saving: Promise<void> | undefined;
  #unsaved = false;
  readonly #read = new DisposableStack();

  /** Knows nothing until {@linkcode Policies.load}. */
  constructor(options: PoliciesOptions) {
    this.#options = options;
    this.#read.use(policies.readFrom(() => this.#byMode()));
    this.#read.use(firstExpiry.readFrom(() => [reading(this.#firstExpiry())]));
  }

  /** Takes over what was kept, without what has expired or makes no sense. */
  async load(): Promise<void> {
    for (const entry of (await this.#options.store.load()).slice(0, MAX_POLICIES)) {
      const kept = readKept(entry);
      if (kept !== undefined && this.#isAlive(kept)) this.#kept.set(kept.domain, kept);
    }
  }

  /** All that are kept, for `explain` and reports. */
  get kept(): Iterable<KeptPolicy> {
    return this.#kept.values();
  }

  /**
   * The policy that applies to a domain now. A kept one answers at once, and is looked after in the background; where
   * there is none, the first message waits for DNS and, if there is a record, up to 30 s for the policy. Never rejects.
   * @param domain in its one spelling
   */
  async find(domain: string): Promise<PolicyAnswer> {
    const { clock } = this.#options;
    const look = this.#looked.get(domain);
    const fresh = look !== undefined && look.until > clock.monotonic();
    const running = fresh ? undefined : this.#lookAfter(domain);
    const kept = this.#alive(domain);
    if (kept !== undefined) return { kind: "policy", kept };
    if (running !== undefined) await this.#atMost(running, FIRST_WAIT);
    const now = this.#alive(domain);
    if (now !== undefined) return { kind: "policy", kept: now };
    const { failure, why } = this.#looked.get(domain) ?? {};
    return {
      kind: "none",
      ...(failure !== undefined && { failure }),
      ...(why !== undefined && { why }),
    };
  }

  /** Stops fetching, and writes down what is not yet. */
  async stop(): Promise<void> {
    this.#read.dispose();
    this.#stopping.abort();
    await Promise.all(this.#running.values());
    await this.#saving;
    if (this.#unsaved) await this.#save();
  }

  *#byMode(): Generator<Series<Gauge>> {
    const modes = new Map<string, number>();
    for (const { policy: { mode } } of this.#kept.values()) modes.set(mode, (modes.get(mode) ?? 0) + 1);
    for (const [mode, count] of modes) yield reading(count, mode);
  }

  /** In seconds since 1970. */
  #firstExpiry(): number {
    let first = 0;
    for (const { fetchedAt, policy: { maxAge } } of this.#kept.values()) {
      const expiry = Math.round(fetchedAt / 1000) + maxAge;
      if (first === 0 || expiry < first) first = expiry;
    }
    return first;
  }

  /** Asks for the record and, where the id is new or the policy old, for the policy; once at a time for each domain. */
  #lookAfter(domain: string): Promise<void> {
    const running = this.#running.get(domain);
    if (running !== undefined) return running;
    const started = this.#look(domain).finally(() => this.#running.delete(domain));
    this.#running.set(domain, started);
    return started;
  }

  async #look(domain: string): Promise<void> {
    const { resolver, clock, log, fetch } = this.#options;
    const { signal } = this.#stopping;
    const answer = await resolver.txt(`_mta-sts.${domain}`, { signal });
    const kept = this.#alive(domain);
    const id = answer.kind === "found" ? policyId(answer.records) : undefined;
    if (id === undefined) {
      // A record that is gone does not undo a policy that is kept (§5.1); it lives until its max_age.
      this.#note(domain, { until: clock.monotonic() + LOOK_AGAIN });
      return;
    }
    if (kept !== undefined && kept.id === id && !this.#isOld(kept)) {
      this.#note(domain, { until: clock.monotonic() + LOOK_AGAIN });
      return;
    }
    if (this.#fetches >= MAX_FETCHES) return;
    this.#fetches++;
    let fetched: Fetched;
    try {
      fetched = await fetch(domain, signal);
    } finally {
      this.#fetches--;
    }
    if ("failure" in fetched) {
      const { failure, why } = fetched;
      this.#note(domain, { until: clock.monotonic() + FETCH_AGAIN, failure, why });
      log.warn("mta_sts.fetch_failed", { domain, reason: failure, error: why, kept: kept !== undefined });
      return;
    }
    const { policy, text } = fetched;
    this.#note(domain, { until: clock.monotonic() + LOOK_AGAIN });
    this.#keep({ domain, id, policy, text, fetchedAt: clock.now() });
    log.info("mta_sts.policy", { domain, id, mode: policy.mode, max_age: policy.maxAge, mx: [...policy.mx] });
  }

  #alive(domain: string): KeptPolicy | undefined {
    const kept = this.#kept.get(domain);
    if (kept === undefined || this.#isAlive(kept)) return kept;
    this.#kept.delete(domain);
    return undefined;
  }

  #isAlive({ fetchedAt, policy }: KeptPolicy): boolean {
    const age = this.#options.clock.now() - fetchedAt;
    // One from the future is of a clock that was wrong: how long it may still be kept cannot be told.
    return age >= -60_000 && age < policy.maxAge * 1000;
  }

  #isOld({ fetchedAt, policy }: KeptPolicy): boolean {
    return this.#options.clock.now() - fetchedAt > policy.maxAge * 1000 * (1 - REFRESH_BEFORE);
  }

  #keep(kept: KeptPolicy): void {
    this.#kept.delete(kept.domain);
    if (this.#kept.size >= MAX_POLICIES) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
    this.#kept.set(kept.domain, kept);
    this.#unsaved = true;
    this.#saving ??= this.#saveSoon();
  }

  #note(domain: string, look: Look): void {
    this.#looked.delete(domain);
    if (this.#looked.size >= MAX_LOOKED_AT) this.#looked.clear();
    this.#looked.set(domain, look);
  }

  async #saveSoon(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.after(SAVE_AFTER, resolve);
      this.#stopping.signal.addEventListener("abort", () => {
        timer.cancel();
        resolve();
      }, { once: true });
    });
    this.#saving = undefined;
    await this.#save();
  }

  async #save(): Promise<void> {
    this.#unsaved = false;
    try {
      await this.#options.store.save([...this.#kept.values()]);
    } catch (error) {
      this.#options.log.warn("mta_sts.not_saved", { error: String(error) });
    }
  }

  async #atMost(promise: Promise<void>, milliseconds: number): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(milliseconds, resolve);
    await Promise.race([promise, late]);
    timer.cancel();
  }
}

/** What was kept, if it makes sense. */
function readKept(entry: unknown): KeptPolicy | undefined {
  const { domain, id, text, fetchedAt } = (entry ?? {}) as Partial<Record<keyof KeptPolicy, unknown>>;
  if (typeof domain !== "string" || typeof id !== "string" || typeof text !== "string") return undefined;
  if (typeof fetchedAt !== "number" || !Number.isFinite(fetchedAt)) return undefined;
  try {
    const policy = parsePolicy(text);
    return policy.maxAge <= MAX_MAX_AGE ? { domain, id, policy, text, fetchedAt } : undefined;
  } catch {
    return undefined;
  }
}
