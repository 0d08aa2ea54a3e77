/**
 * The tables `[mta_sts]`, the policy that our own domains promise, and `[serve-policy]`, the server that has it.
 *
 * @module
 */
import type { MtaStsConfig, ServePolicyConfig } from "./config.ts";
import { parseDomain } from "./names.ts";
import { DAY, duration, list, listen, oneOf, port, table, value } from "./values.ts";

const YEAR = 365 * DAY;

const pattern = value(
  'a host name, or "*." and a domain, such as "*.example.com"',
  (input) => {
    if (typeof input !== "string") return undefined;
    const wildcard = input.startsWith("*.");
    const domain = parseDomain(wildcard ? input.slice(2) : input);
    return domain === undefined ? undefined : wildcard ? `*.${domain}` : domain;
  },
);

/** `[mta_sts]`. */
export const mtaSts = table({
  mode: oneOf("enforce", "testing", "none").prefault("testing"),
  max_age: duration(YEAR, DAY).prefault("7d"),
  mx: list(pattern, "host names").prefault([]),
}).transform(({ mode, max_age, mx }): MtaStsConfig => ({
  mode,
  maxAgeMs: max_age,
  ...(mx.length > 0 && { mx: [...new Set(mx)] }),
}));

/** `[serve-policy]`. */
export const servePolicy = table({
  listen: listen.prefault("auto"),
  port: port.prefault(443),
}).transform(({ listen, port }): ServePolicyConfig => ({ listen, port }));
