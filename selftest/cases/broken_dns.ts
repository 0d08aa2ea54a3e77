/**
 * What DNS may say of a domain that mail is to go to, and what happens to the message at the first attempt.
 *
 * @module
 */
import type { ZoneEntry } from "../zone.ts";

/** One state of a domain. */
export interface BrokenDns {
  /** The label of the domain in tests. */
  readonly label: string;
  /** For people. */
  readonly what: string;
  /** The records of the domain; `undefined`: it does not exist. */
  readonly entry: ZoneEntry | undefined;
  /** Only an answer that says that there is no way may fail a message; the status is RFC 3463's, or RFC 7505's. */
  readonly expected: { readonly result: "deferred" | "failed"; readonly status: RegExp };
}

/** The states. */
export const BROKEN_DNS: readonly BrokenDns[] = [
  {
    label: "servfail",
    what: "whose DNS answers SERVFAIL",
    entry: { fault: "servfail" },
    expected: { result: "deferred", status: /^4\./ },
  },
  {
    label: "refused",
    what: "whose DNS answers REFUSED",
    entry: { fault: "refused" },
    expected: { result: "deferred", status: /^4\./ },
  },
  {
    label: "silent",
    what: "whose DNS does not answer",
    entry: { fault: "silent" },
    expected: { result: "deferred", status: /^4\./ },
  },
  {
    label: "nxdomain",
    what: "that does not exist",
    entry: undefined,
    expected: { result: "failed", status: /^5\.1\.2$/ },
  },
  {
    label: "null-mx",
    what: "that takes no mail (null MX)",
    entry: { MX: ["."] },
    expected: { result: "failed", status: /^5\.1\.10$/ },
  },
  {
    label: "no-address",
    what: "that has neither MX nor address",
    entry: { TXT: ["no mail here"] },
    expected: { result: "failed", status: /^5\./ },
  },
  {
    label: "dangling",
    what: "whose MX has no address",
    entry: { MX: ["no-address.dns.selftest.test"] },
    expected: { result: "failed", status: /^5\./ },
  },
];
