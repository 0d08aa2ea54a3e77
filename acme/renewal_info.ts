/**
 * When to renew: what the authority suggests (ARI, RFC 9773), else when a third of the time is left.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";

/** The options. */
export interface RenewalInfoOptions {
  /** The URL of the authority's directory. */
  readonly directory: string;
  /** Fetches JSON; rejects on failure. */
  readonly fetchJson: (url: string) => Promise<unknown>;
}

/** When a certificate is to be renewed. Milliseconds since the epoch. */
export interface RenewalWindow {
  readonly from: number;
  readonly to: number;
  /** Whether the authority suggests it. */
  readonly suggested: boolean;
}

/** The certificate identifier of RFC 9773 §4.1; `undefined` without an authority key identifier. */
export function certificateId(
  leaf: X509Certificate,
  authorityKeyId: Uint8Array | undefined,
): string | undefined {
  if (authorityKeyId === undefined) return undefined;
  const hex = leaf.serialNumber.length % 2 === 0 ? leaf.serialNumber : `0${leaf.serialNumber}`;
  const serial = Uint8Array.fromHex(hex);
  // As a DER integer: a leading zero if the first bit would make it negative.
  const der = (serial[0] ?? 0) > 127 ? Uint8Array.of(0, ...serial) : serial;
  const url = { alphabet: "base64url", omitPadding: true } as const;
  return `${authorityKeyId.toBase64(url)}.${der.toBase64(url)}`;
}

/** The part of the lifetime before its end in which no renewal may begin: what fails is to be tried again. */
const MARGIN = 1 / 10;

/**
 * The window of a certificate. Never fails: without a valid suggestion it is the last third of the lifetime. A suggestion
 * that would let the certificate expire is no valid one.
 */
export async function renewalWindow(
  leaf: Pick<X509Certificate, "validFromDate" | "validToDate">,
  id: string | undefined,
  options: RenewalInfoOptions,
): Promise<RenewalWindow> {
  const [begin, end] = [leaf.validFromDate.getTime(), leaf.validToDate.getTime()];
  const own = { from: end - (end - begin) / 3, to: end, suggested: false };
  if (id === undefined) return own;
  try {
    const directory = await options.fetchJson(options.directory) as { renewalInfo?: unknown } | null;
    if (typeof directory?.renewalInfo !== "string") return own;
    const info = await options.fetchJson(`${directory.renewalInfo}/${id}`) as {
      suggestedWindow?: { start?: unknown; end?: unknown };
    } | null;
    const { start, end: until } = info?.suggestedWindow ?? {};
    const [from, to] = [Date.parse(String(start)), Date.parse(String(until))];
    const latest = end - (end - begin) * MARGIN;
    return from < to && from < latest ? { from, to: Math.min(to, latest), suggested: true } : own;
  } catch {
    return own;
  }
}
