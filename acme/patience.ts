/**
 * How long requests to an authority are repeated, in place of the rules of `acme-client`, which wait for as long as the
 * authority says, be it days, and keep the kind of an error to themselves.
 *
 * @module
 */
import type acme from "acme-client";

/** The authority takes no more requests for now (RFC 8555 §6.6). */
export class RateLimitError extends Error {
  /** From when on it takes them again, in milliseconds since the epoch; `undefined`: it did not say. */
  readonly until: number | undefined;

  /** The message is the authority's. */
  constructor(message: string, until: number | undefined) {
    super(message);
    this.name = "RateLimitError";
    this.until = until;
  }
}

/** Of one request. */
const ATTEMPTS = 3;
/** Before the second attempt, in milliseconds; twice that before the third. */
const DELAY = 2_000;
/** A longer wait is for a later run, in milliseconds. */
const LONGEST_WAIT = 60_000;
const MAX_DETAIL = 500;

type Axios = typeof acme.axios;
type Response = Parameters<NonNullable<Parameters<Axios["interceptors"]["response"]["use"]>[0]>>[0];
type Config = Response["config"] & { mailappAttempt?: number };

/**
 * Keeps requests of this client to HTTPS and follows no redirect, and has them repeated after network errors and errors of
 * the server, and after a rate limit that ends soon. Then it throws: {@linkcode RateLimitError} for a rate limit, else an error with status and detail.
 * @param options `now`: milliseconds since the epoch; `wait`: sleeps so many milliseconds
 */
export function bePatient(
  axios: Axios,
  { now, wait }: { readonly now: () => number; readonly wait: (ms: number) => Promise<void> },
): void {
  const again = async (config: Config, seconds: number | undefined): Promise<Response | undefined> => {
    const attempt = config.mailappAttempt ?? 1;
    const delay = seconds === undefined ? DELAY * attempt : seconds * 1000;
    if (attempt >= ATTEMPTS || delay > LONGEST_WAIT) return undefined;
    await wait(delay);
    return await axios.request({ ...config, mailappAttempt: attempt + 1 } as Config);
  };
  axios.interceptors.request.clear();
  axios.interceptors.response.clear();
  axios.interceptors.request.use((config) => {
    // RFC 8555 §6.1. The URLs are the authority's.
    if (!/^https:/i.test(config.url ?? "")) throw new Error("the authority names a URL without https");
    return config;
  });
  axios.interceptors.response.use(async (response) => {
    const { status, config, data, headers } = response;
    if (status >= 300 && status < 400) throw new Error(`HTTP status ${status}: redirects are not followed`);
    const isLimit = status === 429 || status >= 400 && isRateLimited(data);
    if (!isLimit && status < 500) return response;
    const seconds = retryAfter(headers["retry-after"], now());
    const repeated = await again(config, seconds);
    if (repeated !== undefined) return repeated;
    const detail = detailOf(data);
    if (isLimit) {
      throw new RateLimitError(
        detail ?? `HTTP status ${status}`,
        seconds === undefined ? undefined : now() + seconds * 1000,
      );
    }
    throw new Error(`HTTP status ${status}${detail === undefined ? "" : `: ${detail}`}`);
  }, async (error: { config?: Config; response?: unknown; code?: unknown }) => {
    const { config, response, code } = error;
    // A bad response is one that is too long, and will be the next time.
    const isFinal = config === undefined || response !== undefined || code === "ERR_BAD_RESPONSE";
    const repeated = isFinal ? undefined : await again(config, undefined);
    if (repeated !== undefined) return repeated;
    throw error;
  });
}

/** Seconds from a Retry-After field (RFC 9110 §10.2.3); `undefined` where it says nothing. */
export function retryAfter(field: unknown, now: number): number | undefined {
  if (typeof field !== "string") return undefined;
  if (/^\d{1,9}$/.test(field)) return Number(field);
  const at = Date.parse(field);
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - now) / 1000));
}

function isRateLimited(data: unknown): boolean {
  return (data as { type?: unknown } | null)?.type === "urn:ietf:params:acme:error:rateLimited";
}

function detailOf(data: unknown): string | undefined {
  const detail = (data as { detail?: unknown } | null)?.detail;
  return typeof detail === "string" && detail !== "" ? detail.slice(0, MAX_DETAIL) : undefined;
}
