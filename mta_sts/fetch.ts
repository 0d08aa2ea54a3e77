/**
 * Fetching a policy from `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (RFC 8461 §3.3).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import https from "node:https";
import { errorText } from "../base/error_text.ts";
import type { Resolver } from "../dns/resolver.ts";
import { addressScope } from "../net/ip_address.ts";
import { MAX_POLICY, parsePolicy, type Policy, PolicyError } from "./policy.ts";

/** Why there is no policy, by the result types of TLSRPT (RFC 8460 §4.3.2). */
export type FetchFailure = "sts-policy-fetch-error" | "sts-policy-invalid" | "sts-webpki-invalid";

/** What came of a fetch; `why` is for log and report. */
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
}

const TIMEOUT = 60_000;
const PATH = "/.well-known/mta-sts.txt";
const MAX_HEADER = 16 * 1024;
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
  const host = `mta-sts.${domain}`;
  const timeout = AbortSignal.timeout(options.timeout ?? TIMEOUT);
  const signal = options.signal ? AbortSignal.any([timeout, options.signal]) : timeout;
  try {
    const addresses = await policyHostAddresses(host, { ...options, signal });
    const text = await get(host, { ...options, signal, addresses });
    return { policy: parsePolicy(text), text };
  } catch (error) {
    const why = timeout.aborted ? `no answer from ${host} in time` : `${host}: ${errorText(error)}`;
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

function get(
  host: string,
  { signal, trusted, port = 443, addresses }: FetchOptions & { readonly addresses: readonly string[] },
): Promise<string> {
  const found = addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const request = https.request({
    host,
    port,
    path: PATH,
    agent: false,
    headers: { "user-agent": "mailapp", accept: "text/plain" },
    maxHeaderSize: MAX_HEADER,
    signal,
    ...(trusted && { ca: [...trusted] }),
    // The addresses come from our resolver, never from /etc/hosts or a search list.
    lookup: (_name, { all }, callback) => {
      const [first] = found;
      if (all) callback(null, found);
      else callback(null, first?.address ?? "", first?.family);
    },
  }, (response) => {
    const { statusCode = 0, headers } = response;
    if (statusCode !== 200) {
      fail(new FetchError("sts-policy-fetch-error", `HTTP status ${statusCode}, which is not 200`));
      return;
    }
    if (!/^text\/plain[ \t]*(?:;|$)/i.test(headers["content-type"] ?? "")) {
      fail(new FetchError("sts-policy-fetch-error", "the media type is not text/plain"));
      return;
    }
    const chunks: Uint8Array[] = [];
    let octets = 0;
    response.on("data", (chunk: Uint8Array) => {
      octets += chunk.length;
      if (octets > MAX_POLICY) fail(new FetchError("sts-policy-invalid", `longer than ${MAX_POLICY} octets`));
      else chunks.push(chunk);
    });
    response.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
    response.on("error", reject);
    response.on("aborted", () => reject(new Error("the connection broke off")));
  });
  const fail = (error: Error) => {
    reject(error);
    request.destroy();
  };
  request.on("error", (error: Error & { code?: string }) => {
    const invalid =
      /^(?:ERR_TLS_CERT|CERT_|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED|ERR_SSL)/.test(error.code ?? "") ||
      /certificate/i.test(error.message);
    reject(invalid ? new FetchError("sts-webpki-invalid", error.message) : error);
  });
  request.end();
  return promise;
}
