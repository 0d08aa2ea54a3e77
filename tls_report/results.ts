/**
 * Results of sessions with other servers, counted by day, domain and policy (RFC 8460 §4.1), within bounds.
 *
 * @module
 */

/** The policy that applied to a session. */
export interface ReportedPolicy {
  readonly type: "tlsa" | "sts" | "no-policy-found";
  /** TLSA records, or the lines of the MTA-STS policy. */
  readonly strings: readonly string[];
  /** The hosts that an MTA-STS policy lists. */
  readonly mxHosts: readonly string[];
}

/** Why a session failed. */
export interface FailureKind {
  /** RFC 8460 §4.3. */
  readonly type: string;
  readonly host: string;
  readonly address: string;
  /** Our own address; empty where there was no connection. */
  readonly sender: string;
  /** The reason in words. */
  readonly reason: string;
}

/** One session. */
export interface SessionResult {
  /** The domain of the recipients. */
  readonly domain: string;
  readonly policy: ReportedPolicy;
  /** Absent on success. */
  readonly failure?: FailureKind;
}

/** The sessions of a day with one domain under one policy. */
export interface PolicyResults {
  readonly policy: ReportedPolicy;
  successes: number;
  failures: number;
  readonly details: (FailureKind & { count: number })[];
}

/** The sessions of a day with one domain. */
export interface DomainResults {
  readonly policies: PolicyResults[];
  /** Endpoints that have got their report. */
  readonly sent: string[];
}

/** By day, as `2026-11-30` in UTC, and domain. */
export type Results = Map<string, Map<string, DomainResults>>;

const MAX_DOMAINS = 10_000;
const MAX_POLICIES = 4;
const MAX_DETAILS = 20;
const MAX_STRINGS = 50;
const MAX_LENGTH = 500;
/** Today, and the days whose reports are due. */
const MAX_DAYS = 3;

/** The day of a moment, in UTC. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** Counts a session, unless beyond the bounds; returns whether it was counted. */
export function note(results: Results, { domain, policy, failure }: SessionResult, now: number): boolean {
  const day = dayOf(now);
  let domains = results.get(day);
  if (domains === undefined) {
    results.set(day, domains = new Map());
    for (const old of [...results.keys()].sort().slice(0, -MAX_DAYS)) results.delete(old);
  }
  let found = domains.get(domain);
  if (found === undefined) {
    if (domains.size >= MAX_DOMAINS) return false;
    domains.set(domain, found = { policies: [], sent: [] });
  }
  const bounded = boundedPolicy(policy);
  let under = found.policies.find((one) => isSame(one.policy, bounded));
  if (under === undefined) {
    if (found.policies.length >= MAX_POLICIES) return false;
    found.policies.push(under = { policy: bounded, successes: 0, failures: 0, details: [] });
  }
  if (failure === undefined) {
    under.successes++;
    return true;
  }
  under.failures++;
  const { type, host, address, sender } = failure;
  const detail = under.details.find((one) =>
    one.type === type && one.host === host && one.address === address && one.sender === sender
  );
  if (detail !== undefined) detail.count++;
  else if (under.details.length < MAX_DETAILS) {
    under.details.push({
      type,
      host,
      address,
      sender,
      reason: failure.reason.slice(0, MAX_LENGTH),
      count: 1,
    });
  }
  return true;
}

function boundedPolicy({ type, strings, mxHosts }: ReportedPolicy): ReportedPolicy {
  const some = (texts: readonly string[]) =>
    texts.slice(0, MAX_STRINGS).map((text) => text.slice(0, MAX_LENGTH));
  return { type, strings: some(strings), mxHosts: some(mxHosts) };
}

function isSame(a: ReportedPolicy, b: ReportedPolicy): boolean {
  return a.type === b.type && a.strings.length === b.strings.length &&
    a.strings.every((text, i) => text === b.strings[i]);
}

/** The form in which results are stored. */
export function resultsToJson(results: Results): unknown {
  return [...results].map(([day, domains]) => ({ day, domains: [...domains] }));
}

/** Reads stored results; what is invalid is left out. */
export function resultsFromJson(json: unknown): Results {
  const results: Results = new Map();
  for (const entry of Array.isArray(json) ? json : []) {
    const { day, domains } = (entry ?? {}) as { day?: unknown; domains?: unknown };
    if (typeof day !== "string" || !/^\d{4}-\d\d-\d\d$/.test(day) || !Array.isArray(domains)) continue;
    const kept = new Map<string, DomainResults>();
    for (const [domain, value] of domains.slice(0, MAX_DOMAINS)) {
      if (typeof domain === "string" && isResults(value)) kept.set(domain, value);
    }
    results.set(day, kept);
  }
  return results;
}

function isResults(value: unknown): value is DomainResults {
  const { policies, sent } = (value ?? {}) as Partial<DomainResults>;
  return Array.isArray(sent) && Array.isArray(policies) &&
    policies.every((one) =>
      Number.isSafeInteger(one?.successes) && Number.isSafeInteger(one?.failures) &&
      Array.isArray(one?.details) &&
      typeof one?.policy?.type === "string" && Array.isArray(one.policy.strings) &&
      Array.isArray(one.policy.mxHosts)
    );
}
