/**
 * The table `[serve-in.checks]`: checks of incoming mail.
 *
 * @module
 */
import * as z from "zod";
import type { ChecksConfig, FilterConfig } from "./config.ts";
import { parseDomain, parseIp, splitHostPort } from "./names.ts";
import { domain, duration, flag, list, oneOf, table, value } from "./values.ts";

const MINUTE = 60_000;
const MAX_FILTERS = 8;
const MAX_LISTS = 20;

const FILTER_FORM = '"rspamd:http://127.0.0.1:11333", "milter:unix:/run/x.sock" or "milter:127.0.0.1:8891"';

const dnsList = table({
  zone: domain,
  action: oneOf("refuse", "junk", "allow"),
}, "a table with zone and action");

/** The filter that a text names; `undefined` where it names none. */
function parseFilter(input: unknown): FilterConfig | undefined {
  if (typeof input !== "string") return undefined;
  const path = /^milter:unix:(\/[\x21-\x7e]{1,100})$/.exec(input)?.[1];
  if (path !== undefined) return { kind: "milter", path };
  const [, rspamd, milter] = /^(?:rspamd:http:\/\/([^/?#@]+)\/?|milter:([^/]+))$/.exec(input) ?? [];
  const { host, port } = splitHostPort(rspamd ?? milter ?? "");
  const name = parseIp(host) ?? parseDomain(host);
  const kind: "milter" | "rspamd" = rspamd === undefined ? "milter" : "rspamd";
  return name === undefined || port === undefined || port < 1 || port > 65_535
    ? undefined
    : { kind, host: name, port };
}

const filter = value(FILTER_FORM, parseFilter);

/** One as a text, several as a list, none as an empty text or list. */
const filters = z.unknown().transform((input, context): readonly FilterConfig[] => {
  if (input === "") return [];
  const single = !Array.isArray(input);
  const { data, error } = z.array(filter).safeParse(single ? [input] : input);
  for (const { message, path: [index] } of error?.issues ?? []) {
    const at = single ? [] : [Number(index)];
    context.issues.push({ code: "custom", message, input: single ? input : input[Number(index)], path: at });
  }
  if (data !== undefined && data.length > MAX_FILTERS) {
    context.issues.push({ code: "custom", message: `must have at most ${MAX_FILTERS} filters`, input });
  }
  return data ?? z.NEVER;
});

/** The table. */
export const mailChecks = table({
  spf: flag.prefault(true),
  dkim: flag.prefault(true),
  arc: flag.prefault(true),
  dmarc: oneOf("off", "mark", "enforce").prefault("enforce"),
  trusted_sealers: list(domain, "domains").prefault([]),
  timeout: duration(5 * MINUTE).prefault("10s"),
  dns_lists: list(dnsList, "tables with zone and action").max(
    MAX_LISTS,
    `must have at most ${MAX_LISTS} lists`,
  )
    .prefault([]),
  greylist: oneOf("off", "suspicious", "all").prefault("off"),
  filter: filters.prefault(""),
  filter_failure: oneOf("accept", "defer").prefault("accept"),
}).transform((table, context): ChecksConfig => {
  const problem = (path: PropertyKey[], message: string) =>
    context.issues.push({ code: "custom", message, input: undefined, path });
  if (table.dmarc === "enforce" && !(table.spf && table.dkim)) {
    problem(["dmarc"], 'must be "mark" or "off" where spf or dkim is false: it would refuse good mail');
  }
  for (const [index, { zone }] of table.dns_lists.entries()) {
    if (table.dns_lists.findIndex((list) => list.zone === zone) === index) continue;
    problem(["dns_lists", index, "zone"], `"${zone}" is listed twice`);
  }
  return {
    spf: table.spf,
    dkim: table.dkim,
    arc: table.arc,
    dmarc: table.dmarc,
    trustedSealers: [...new Set(table.trusted_sealers)],
    timeoutMs: table.timeout,
    dnsLists: table.dns_lists,
    greylist: table.greylist,
    filters: table.filter,
    filterFailure: table.filter_failure,
  };
});
