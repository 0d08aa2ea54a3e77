/**
 * Fetching a policy from `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (RFC 8461 §3.3).
 *
 * @module
 */
import { type Clock, systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Resolver } from "../dns/resolver.ts";
import { addressScope } from "../net/ip_address.ts";
import { DeadlineError } from "../net/transport.ts";
import { HttpError, httpsRequest, type HttpsResponse } from "../tls/https_request.ts";
import { TlsError } from "../tls/tls_transport.ts";
import { policyHostOf } from "./own_policy.ts";
import { MAX_POLICY, parsePolicy, type Policy, POLICY_PATH, PolicyError } from "./policy.ts";

/** Why there is no policy, by the result types of TLSRPT (RFC 8460 §4.3.2). */
export type FetchFailure = "sts-policy-fetch-error" | "sts-policy-invalid" | "sts-webpki-invalid";

/** The outcome of a fetch; `why` is for log and report. */
export type Fetched =
  | { readonly policy: Policy; readonly text: string }
  | { readonly failure: FetchFailure; readonly why: string };

/** How to fetch. */
export interface FetchOptions {
  /** Knows the addresses of the policy host. */
  readonly resolver: Resolver;
  /** Ends the fetch. */
  readonly signal?: AbortSignal;
  /** The whole fetch, in milliseconds. Default: one minute (§3.3). */
  readonly timeout?: number;
  /** PEM certificates to trust in place of the system's; for private networks and tests. */
  readonly trusted?: readonly string[];
  /** Default 443. */
  readonly port?: number;
  /** Whether a policy host on a private or loopback address may be asked. */
  readonly allowPrivate?: boolean;
  /** Measures the time; default: the system's. */
  readonly clock?: Clock;
}

const TIMEOUT = 60_000;
const MAX_ADDRESSES = 4;

class FetchError extends Error {
  readonly failure: FetchFailure;
  constructor(failure: FetchFailure, message: string) {
    super(message);
    this.failure = failure;
  }
}

/**
 * Fetches the policy of a domain. The certificate must verify for the policy host; redirects are not followed, a
 * media type other than text/plain is refused, more than 64 KiB too. Never rejects.
 * @param domain in its one spelling
 */
export async function fetchPolicy(domain: string, options: FetchOptions): Promise<Fetched> {
  const host = policyHostOf(domain);
  const { timeout = TIMEOUT, clock = systemClock } = options;
  const late = AbortSignal.timeout(timeout);
  const signal = options.signal ? AbortSignal.any([late, options.signal]) : late;
  try {
    const addresses = await policyHostAddresses(host, { ...options, signal });
    const text = await get(host, { ...options, signal, addresses, timeout, clock });
    return { policy: parsePolicy(text), text };
  } catch (error) {
    if (late.aborted || error instanceof DeadlineError) {
      return { failure: "sts-policy-fetch-error", why: `no answer from ${host} in time` };
    }
    const why = `${host}: ${errorText(error)}`;
    if (error instanceof PolicyError) return { failure: "sts-policy-invalid", why };
    return { failure: error instanceof FetchError ? error.failure : "sts-policy-fetch-error", why };
  }
}

async function policyHostAddresses(
  host: string,
  { resolver, signal, allowPrivate = false }: FetchOptions,
): Promise<string[]> {
  const query = signal ? { signal } : {};
  const answers = await Promise.all([resolver.a(host, query), resolver.aaaa(host, query)]);
  const addresses = answers.flatMap((answer) => answer.kind === "found" ? answer.records : [])
    .filter((address) => allowPrivate || addressScope(address) === "public");
  if (addresses.length === 0) {
    const failed = answers.find((answer) => answer.kind === "failed");
    throw new Error(failed === undefined ? "no usable address" : `DNS: ${failed.reason}`);
  }
  return addresses.slice(0, MAX_ADDRESSES);
}

async function get(
  host: string,
  { signal, trusted, port = 443, addresses, timeout, clock }:
    & FetchOptions
    & { readonly addresses: readonly string[]; readonly timeout: number; readonly clock: Clock },
): Promise<string> {
  let response: HttpsResponse;
  try {
    response = await httpsRequest({
      host,
      addresses,
      port,
      path: POLICY_PATH,
      headers: { accept: "text/plain" },
      maxBody: MAX_POLICY,
      timeout,
      clock,
      ...(signal && { signal }),
      ...(trusted && { trusted }),
    });
  } catch (error) {
    if (error instanceof TlsError) throw new FetchError("sts-webpki-invalid", error.message);
    if (error instanceof HttpError && error.tooLong) {
      throw new FetchError("sts-policy-invalid", error.message);
    }
    throw error;
  }
  const { status, headers, body } = response;
  if (status !== 200) {
    throw new FetchError("sts-policy-fetch-error", `HTTP status ${status}, which is not 200`);
  }
  if (!/^text\/plain[ \t]*(?:;|$)/i.test(headers.get("content-type") ?? "")) {
    throw new FetchError("sts-policy-fetch-error", "the media type is not text/plain");
  }
  return new TextDecoder().decode(body);
}
