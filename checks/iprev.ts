/**
 * The "iprev" check (RFC 8601 §3): whether the client's address has a name that leads back to it.
 *
 * @module
 */
import type { Resolver } from "../dns/resolver.ts";
import { sameAddress } from "../net/ip_address.ts";

/** The outcome. */
export interface IprevVerdict {
  /** `fail`: no name leads back; `permerror`: there is no name; `temperror`: DNS could not tell. */
  readonly result: "pass" | "fail" | "temperror" | "permerror";
  /** With `pass`: the first name that leads back; in lower case. */
  readonly name?: string;
}

// No mail server has more names; RFC 7208 §4.6.4 has the same bound.
const MAX_NAMES = 10;

/** Checks the names of an address, at most 10 of them, in the order in which DNS gives them. Never rejects. */
export async function checkIprev(
  ip: string,
  { resolver, signal }: { readonly resolver: Resolver; readonly signal?: AbortSignal },
): Promise<IprevVerdict> {
  const asked = { ...(signal && { signal }) };
  const names = await resolver.ptr(ip, asked);
  if (names.kind === "failed") return { result: "temperror" };
  if (names.kind !== "found") return { result: "permerror" };
  const type = ip.includes(":") ? "aaaa" : "a";
  let failed = false;
  for (const name of names.records.slice(0, MAX_NAMES)) {
    const answer = await resolver[type](name, asked);
    if (answer.kind === "failed") failed = true;
    else if (answer.kind === "found" && answer.records.some((address) => sameAddress(address, ip))) {
      return { result: "pass", name };
    }
  }
  return { result: failed ? "temperror" : "fail" };
}
