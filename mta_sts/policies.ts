/**
 * The policies of the domains that mail goes to: found, kept for as long as they say, refreshed, kept on disk.
 *
 * @module
 */
import { counters, type Gauge, gauges, reading, type Series } from "../base/counters.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { errorText } from "../base/error_text.ts";
import { Slots } from "../base/slots.ts";
import { Watchdog } from "../base/watchdog.ts";
import { whenAborted } from "../base/when_aborted.ts";
import type { Resolver } from "../dns/resolver.ts";
import type { Fetched, FetchFailure } from "./fetch.ts";
import { parsePolicy, type Policy } from "./policy.ts";
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
  /** When mail last went by it, to the hour; milliseconds since the Unix epoch. */
  readonly usedAt: number;
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
  readonly resolver: Pick<Resolver, "txt">;
  readonly clock: Clock;
  readonly fetch: (domain: string, signal: AbortSignal) => Promise<Fetched>;
  readonly store: PolicyStore;
  readonly logger: Logger;
}

/** How long a message waits for a policy that is fetched for the first time, in milliseconds. */
const FIRST_WAIT = 30_000;
const HOUR = 3_600_000;
/** A policy that no mail has gone by for so long is not kept alive beyond its time; milliseconds. */
const IN_USE = 90 * 24 * HOUR;
/** A domain without a policy, or with one that was looked at, is not asked again for so long; milliseconds. */
const LOOKUP_LIFETIME = 60_000;
/** After a fetch that failed; milliseconds (RFC 8461 §3.3 asks for five minutes at least). */
const FETCH_AGAIN = 5 * 60_000;
/** A policy is fetched again when so much of its life is left, whatever its id. */
const REFRESH_BEFORE = 0.25;
const MAX_POLICIES = 20_000;
/** Characters of all policies together, on disk and in memory. */
const MAX_TEXT = 16 * 1024 * 1024;
const MAX_LOOKUPS = 50_000;
const MAX_FETCHES = 20;
const MAX_WAITING = 1_000;
const SAVE_AFTER = 5_000;

const policies = gauges("mailapp_mta_sts_policies", {
  help: "MTA-STS policies that are kept",
  labels: ["mode"],
});
const firstExpiry = gauges("mailapp_mta_sts_first_expiry_timestamp_seconds", {
  help: "When the first MTA-STS policy expires, if it is not renewed; 0 without one",
  labels: [],
});

const fetches = counters("mailapp_mta_sts_fetches_total", {
  help: "MTA-STS policies that were fetched, by the result: policy, or the failure type of TLSRPT",
  labels: ["result"],
});

/** What was found out of late about a domain. Times in `clock.monotonic()`. */
interface Lookup {
  readonly until: number;
  readonly failure?: FetchFailure;
  readonly why?: string;
}

/** Policies by domain. */
export class Policies {
  readonly #options: PoliciesOptions;
  readonly #kept = new Map<string, KeptPolicy>();
  readonly #lookups = new Map<string, Lookup>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #stopping = new AbortController();
  readonly #fetches = new Slots(MAX_FETCHES);
  #waiting = 0;
  #characters = 0;
  #sweep: Timer | undefined;
  #sweeping: Promise<void> | undefined;
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
      if (kept !== undefined && this.#isAlive(kept)) this.#insert(kept);
    }
  }

  /** From now on policies in use are fetched again before they end, whether mail goes by them just then or not. */
  start(): void {
    this.#sweep = this.#options.clock.after(HOUR, () => {
      this.#sweeping = this.#refresh().finally(() => {
        if (!this.#stopping.signal.aborted) this.start();
      });
    });
  }

  /** All that are kept, for reports. */
  get kept(): Iterable<KeptPolicy> {
    return this.#kept.values();
  }

  /** Why a policy that a domain announces could not be had of late; asks nothing. */
  failure(domain: string): FetchFailure | undefined {
    return this.#lookups.get(domain)?.failure;
  }

  /** The policy that is kept for a domain, if it still applies; asks nothing. */
  peek(domain: string): KeptPolicy | undefined {
    return this.#alive(domain);
  }

  /**
   * The policy that applies to a domain now. A kept one answers at once, and is looked after in the background; where
   * there is none, the first message waits for DNS and, if there is a record, up to 30 s for the policy. Never rejects.
   * @param domain in its one spelling
   */
  find(
    domain: string,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): PolicyAnswer | Promise<PolicyAnswer> {
    const known = this.#use(domain);
    const lookup = this.#lookups.get(domain);
    const fresh = lookup !== undefined && lookup.until > this.#options.clock.monotonic();
    const running = fresh ? undefined : this.#update(domain);
    if (known !== undefined) return known;
    return running === undefined ? none(lookup) : this.#first(domain, { running, signal });
  }

  /** Stops fetching, and writes down what is not yet. */
  async stop(): Promise<void> {
    this.#read.dispose();
    this.#stopping.abort();
    this.#sweep?.cancel();
    await this.#sweeping;
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

  #use(domain: string): PolicyAnswer | undefined {
    const kept = this.#alive(domain);
    if (kept === undefined) return undefined;
    const now = this.#options.clock.now();
    if (now - kept.usedAt > HOUR) this.#kept.set(domain, { ...kept, usedAt: now });
    return { kind: "policy", kept };
  }

  async #first(
    domain: string,
    { running, signal }: { readonly running: Promise<void>; readonly signal: AbortSignal | undefined },
  ): Promise<PolicyAnswer> {
    await this.#atMost(running, { milliseconds: FIRST_WAIT, signal });
    return this.#use(domain) ?? none(this.#lookups.get(domain));
  }

  /** Asks for the record and, where the id is new or the policy old, for the policy; once at a time for each domain. */
  #update(domain: string): Promise<void> {
    const running = this.#running.get(domain);
    if (running !== undefined) return running;
    const started = this.#fetchPolicy(domain).finally(() => this.#running.delete(domain));
    this.#running.set(domain, started);
    return started;
  }

  async #fetchPolicy(domain: string): Promise<void> {
    const { resolver, clock } = this.#options;
    const { signal } = this.#stopping;
    const answer = await resolver.txt(`_mta-sts.${domain}`, { signal, shared: true });
    const kept = this.#alive(domain);
    const id = answer.kind === "found" ? policyId(answer.records) : undefined;
    if (id === undefined || (kept !== undefined && kept.id === id && !this.#isOld(kept))) {
      // A record that is gone does not undo a policy that is kept (§5.1); it lives until its max_age.
      this.#note(domain, { until: clock.monotonic() + LOOKUP_LIFETIME });
      return;
    }
    if (this.#waiting >= MAX_WAITING) return;
    this.#waiting++;
    try {
      using _slot = await this.#fetches.take(1);
      if (!signal.aborted) await this.#fetch(domain, id);
    } finally {
      this.#waiting--;
    }
  }

  async #fetch(domain: string, id: string): Promise<void> {
    const { clock, logger, fetch } = this.#options;
    const fetched = await fetch(domain, this.#stopping.signal);
    if ("failure" in fetched) {
      if (this.#stopping.signal.aborted) return;
      const { failure, why } = fetched;
      fetches.with(failure).add();
      const kept = this.#alive(domain);
      this.#note(domain, { until: clock.monotonic() + FETCH_AGAIN, failure, why });
      logger.warn("mta_sts.fetch_failed", { domain, reason: failure, error: why, kept: kept !== undefined });
      return;
    }
    fetches.with("policy").add();
    const { policy, text } = fetched;
    this.#note(domain, { until: clock.monotonic() + LOOKUP_LIFETIME });
    const now = clock.now();
    const usedAt = this.#kept.get(domain)?.usedAt ?? now;
    this.#keep({ domain, id, policy, text, fetchedAt: now, usedAt });
    logger.info("mta_sts.policy", {
      domain,
      id,
      mode: policy.mode,
      max_age: policy.maxAge,
      mx: [...policy.mx],
    });
  }

  /** Renews policies that expire soon, one after the other. */
  async #refresh(): Promise<void> {
    const { clock } = this.#options;
    const old = [...this.#kept.values()].filter((kept) =>
      this.#isAlive(kept) && this.#isOld(kept) && clock.now() - kept.usedAt < IN_USE
    );
    for (const { domain } of old) {
      if (this.#stopping.signal.aborted) return;
      const lookup = this.#lookups.get(domain);
      if (lookup === undefined || lookup.until <= clock.monotonic()) await this.#update(domain);
    }
    if (this.#unsaved) this.#saving ??= this.#saveSoon();
  }

  #alive(domain: string): KeptPolicy | undefined {
    const kept = this.#kept.get(domain);
    if (kept === undefined || this.#isAlive(kept)) return kept;
    this.#drop(kept);
    // Now is the time to look for it again.
    if (this.#lookups.get(domain)?.failure === undefined) this.#lookups.delete(domain);
    return undefined;
  }

  #isAlive({ fetchedAt, policy }: KeptPolicy): boolean {
    const age = this.#options.clock.now() - fetchedAt;
    // One from the future is of a clock that was wrong: how long it may still be kept cannot be determined.
    return age >= -60_000 && age < policy.maxAge * 1000;
  }

  #isOld({ fetchedAt, policy }: KeptPolicy): boolean {
    return this.#options.clock.now() - fetchedAt > policy.maxAge * 1000 * (1 - REFRESH_BEFORE);
  }

  #keep(kept: KeptPolicy): void {
    this.#insert(kept);
    this.#unsaved = true;
    this.#saving ??= this.#saveSoon();
  }

  /** The oldest make room. */
  #insert(kept: KeptPolicy): void {
    const before = this.#kept.get(kept.domain);
    if (before !== undefined) this.#drop(before);
    this.#kept.set(kept.domain, kept);
    this.#characters += kept.text.length;
    while (this.#kept.size > MAX_POLICIES || this.#characters > MAX_TEXT) {
      const [oldest] = this.#kept.values();
      if (oldest === undefined) return;
      this.#drop(oldest);
    }
  }

  #drop(kept: KeptPolicy): void {
    if (this.#kept.delete(kept.domain)) this.#characters -= kept.text.length;
  }

  #note(domain: string, lookup: Lookup): void {
    this.#lookups.delete(domain);
    if (this.#lookups.size >= MAX_LOOKUPS) this.#lookups.clear();
    this.#lookups.set(domain, lookup);
  }

  async #saveSoon(): Promise<void> {
    const { signal } = this.#stopping;
    await new Promise<void>((resolve) => {
      if (signal.aborted) return resolve();
      const timer = this.#options.clock.after(SAVE_AFTER, resolve);
      signal.addEventListener("abort", () => {
        timer.cancel();
        resolve();
      }, { once: true });
    });
    const saved = await this.#save();
    // What came while the file was written.
    const more = this.#unsaved && saved && !signal.aborted;
    this.#saving = more ? this.#saveSoon() : undefined;
  }

  async #save(): Promise<boolean> {
    this.#unsaved = false;
    try {
      await this.#options.store.save([...this.#kept.values()]);
      return true;
    } catch (error) {
      this.#unsaved = true;
      this.#options.logger.warn("mta_sts.not_saved", { error: errorText(error) });
      return false;
    }
  }

  async #atMost(
    promise: Promise<void>,
    { milliseconds, signal }: { readonly milliseconds: number; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const { clock } = this.#options;
    const watchdog = new Watchdog(clock, resolve);
    watchdog.deadline = clock.monotonic() + milliseconds;
    const forget = signal && whenAborted(signal, resolve);
    promise.then(resolve, resolve);
    await over;
    forget?.();
    watchdog.cancel();
  }
}

function none(lookup: Lookup | undefined): PolicyAnswer {
  const { failure, why } = lookup ?? {};
  return {
    kind: "none",
    ...(failure !== undefined && { failure }),
    ...(why !== undefined && { why }),
  };
}

/** What was kept, if it makes sense. */
function readKept(entry: unknown): KeptPolicy | undefined {
  const { domain, id, text, fetchedAt, usedAt } = (entry ?? {}) as Partial<Record<keyof KeptPolicy, unknown>>;
  if (typeof domain !== "string" || typeof id !== "string" || typeof text !== "string") return undefined;
  if (typeof fetchedAt !== "number" || !Number.isFinite(fetchedAt)) return undefined;
  try {
    const policy = parsePolicy(text);
    const used = typeof usedAt === "number" && Number.isFinite(usedAt) ? usedAt : fetchedAt;
    return { domain, id, policy, text, fetchedAt, usedAt: used };
  } catch {
    return undefined;
  }
}
