/**
 * Records and answers, in short, for tests of the resolver.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Answer } from "../../dns/resolver.ts";

/** An MX record. */
export const mx = (exchange: string, preference = 10, name = "d.test") => ({
  name,
  type: "MX",
  ttl: 300,
  data: { preference, exchange },
});

/** An A record. */
export const a = (data: string, name = "d.test") => ({ name, type: "A", ttl: 300, data });

/** An alias. */
export const cname = (name: string, data: string) => ({ name, type: "CNAME", ttl: 300, data });

/** `found …`, or the kind. */
export function brief(answer: Answer<unknown>): string {
  return answer.kind === "found" ? `found ${JSON.stringify(answer.records)}` : answer.kind;
}

/** Without the time at which it came. */
export function undated({ at, ...answer }: Answer<unknown>): unknown {
  assert.equal(typeof at, "number");
  return answer;
}
