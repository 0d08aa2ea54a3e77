/**
 * What a server announces in its reply to EHLO, as a client reads it.
 *
 * @module
 */

/** What the server announced in its reply to EHLO. */
export interface Capabilities {
  /** Whether it took EHLO; after HELO nothing else is there. */
  readonly esmtp: boolean;
  /** RFC 2920. */
  readonly pipelining: boolean;
  /** RFC 1870: the largest message in octets; 0: no limit given; absent: no SIZE. */
  readonly size?: number;
  /** RFC 6152. */
  readonly eightBitMime: boolean;
  /** RFC 3030. */
  readonly chunking: boolean;
  /** RFC 6531. */
  readonly smtputf8: boolean;
  /** RFC 3461. */
  readonly dsn: boolean;
  /** RFC 3207. */
  readonly startTls: boolean;
  /** RFC 8689. */
  readonly requireTls: boolean;
  /** RFC 4954: mechanisms in upper case. */
  readonly auth: readonly string[];
  /** RFC 9422, RCPTMAX: the most recipients of one transaction. */
  readonly recipientsMax?: number;
  /** RFC 9422, MAILMAX: the most transactions of one connection. */
  readonly transactionsMax?: number;
  /** RFC 9422, RCPTDOMAINMAX: the most domains that the recipients of one connection may be in. */
  readonly recipientDomainsMax?: number;
}

/** The capabilities before EHLO, and after HELO. */
export const NO_CAPABILITIES: Capabilities = {
  esmtp: false,
  pipelining: false,
  eightBitMime: false,
  chunking: false,
  smtputf8: false,
  dsn: false,
  startTls: false,
  requireTls: false,
  auth: [],
};

/** Reads the lines of a reply to EHLO. Announcements that make no sense count as not made. */
export function parseCapabilities(lines: readonly string[]): Capabilities {
  const found = new Map<string, string[]>();
  // The first line is the server's name.
  for (const line of lines.slice(1)) {
    // Some old servers announce AUTH=LOGIN.
    const [keyword = "", ...parameters] = line.trim().toUpperCase().split(/[ =]+/);
    const known = found.get(keyword);
    if (known === undefined) found.set(keyword, parameters);
    else known.push(...parameters);
  }
  const size = found.get("SIZE");
  return {
    esmtp: true,
    pipelining: found.has("PIPELINING"),
    ...(size && { size: /^\d{1,15}$/.test(size[0] ?? "") ? Number(size[0]) : 0 }),
    eightBitMime: found.has("8BITMIME"),
    chunking: found.has("CHUNKING"),
    smtputf8: found.has("SMTPUTF8"),
    dsn: found.has("DSN"),
    startTls: found.has("STARTTLS"),
    requireTls: found.has("REQUIRETLS"),
    auth: found.get("AUTH") ?? [],
    ...parseLimits(found.get("LIMITS") ?? []),
  };
}

const LIMITS = {
  RCPTMAX: "recipientsMax",
  MAILMAX: "transactionsMax",
  RCPTDOMAINMAX: "recipientDomainsMax",
} as const;

/** Names and values in turn; what is not a number from 1 on is no limit (RFC 9422 §3). */
function parseLimits(
  words: readonly string[],
): Pick<Capabilities, typeof LIMITS[keyof typeof LIMITS]> {
  const limits: { -readonly [key in typeof LIMITS[keyof typeof LIMITS]]?: number } = {};
  for (const [i, name] of words.entries()) {
    const key = LIMITS[name as keyof typeof LIMITS];
    const value = words[i + 1] ?? "";
    if (key !== undefined && /^[1-9]\d{0,5}$/.test(value)) {
      limits[key] = Math.min(Number(value), limits[key] ?? Infinity);
    }
  }
  return limits;
}
