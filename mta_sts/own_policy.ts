/**
 * The policy that this server's own domains promise: its text (RFC 8461 §3.2) and its record (§3.1).
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { Policy } from "./policy.ts";

/** A policy as it is published. */
export interface PublishedPolicy {
  /** What the policy host serves. */
  readonly text: string;
  /** Changes whenever the text does. */
  readonly id: string;
  /** The TXT record at `_mta-sts.DOMAIN`. */
  readonly record: string;
}

/** The name of the policy host of a domain. */
export function policyHostOf(domain: string): string {
  return `mta-sts.${domain}`;
}

/** The text and the record of a policy. The id is a hash of the text, so it changes with it. */
export function publishPolicy({ mode, mx, maxAge }: Policy): PublishedPolicy {
  const text = [
    "version: STSv1",
    `mode: ${mode}`,
    ...(mode === "none" ? [] : mx.map((host) => `mx: ${host}`)),
    `max_age: ${maxAge}`,
    "",
  ].join("\r\n");
  const id = createHash("sha256").update(text).digest("hex").slice(0, 20);
  return { text, id, record: `v=STSv1; id=${id};` };
}
