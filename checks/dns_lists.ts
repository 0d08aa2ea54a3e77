/**
 * DNS block and allow lists (RFC 5782).
 *
 * A list that is dead, or that lists the whole world as dead ones do, must not cost mail: each is tested by its own
 * test entries before it is used and once a day.
 *
 * @module
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { reverseName } from "../dns/name.ts";
import type { Resolver } from "../dns/resolver.ts";
import { ipBytes, unmappedAddress } from "../net/ip_address.ts";

/** What an entry of a list means: refuse the mail, file it as junk, or believe the client whatever others say. */
export type ListAction = "refuse" | "junk" | "allow";

/** One list. */
export interface DnsList {
  /** The name that the address is put before, such as `zen.example.org`. */
  readonly zone: string;
  /** What its entries mean. */
  readonly action: ListAction;
}

/** An address that a list has. */
export interface Listing {
  /** Whose. */
  readonly list: DnsList;
  /** The list's code, within 127.0.0.0/8. */
  readonly code: string;
  /** What the list says of it, at most 200 printable ASCII characters; a stranger's text. */
  readonly text?: string;
}

/** What the lists depend on. */
export interface DnsListsOptions {
  /** Asked all at once. */
  readonly lists: readonly DnsList[];
  /** Answers. */
  readonly resolver: Resolver;
  /** Measures the time between tests. */
  readonly clock: Clock;
  /** Logs lists that are dead. */
  readonly logger: Logger;
}

const HOUR = 3600_000;
const MAX_TEXT = 200;

/** How far a list is known: which families its test entries are there for, or why it is not used. */
export type DnsListState =
  | { readonly ipv4: boolean; readonly ipv6: boolean }
  | { readonly dead: string }
  | "untested";

/** The DNS lists of a server. */
export class DnsLists implements Disposable {
  readonly #options: DnsListsOptions;
  readonly #states = new Map<DnsList, DnsListState>();
  #timer: Timer | undefined;
  #over = false;

  /** Asks nothing yet: {@linkcode start} does. Until a list has been tested it is not used. */
  constructor(options: DnsListsOptions) {
    this.#options = options;
  }

  /**
   * Tests all lists, and from then on every day; hourly while one is dead, and after five minutes where DNS failed.
   * Resolves when the first test is over. Never rejects.
   */
  async start(): Promise<void> {
    await Promise.all(this.#options.lists.map((list) => this.#test(list)));
    if (this.#over) return;
    const states = this.#options.lists.map((list) => this.#states.get(list) ?? "untested");
    const wait = states.includes("untested")
      ? HOUR / 12
      : states.some((state) => typeof state === "object" && "dead" in state)
      ? HOUR
      : 24 * HOUR;
    this.#timer = this.#options.clock.after(wait, () => void this.start());
  }

  /** Stops the tests. */
  [Symbol.dispose](): void {
    this.#over = true;
    this.#timer?.cancel();
  }

  /**
   * The lists that have the address, in the order of the configuration; a list that does not answer has none. Asks for
   * the list's own text only where it matters: of the first list with the deciding action. Never rejects.
   * @param options `resolver`: asked instead of the one for the tests, with its own bound
   */
  async query(ip: string, options: { readonly resolver?: Resolver } = {}): Promise<Listing[]> {
    const address = unmappedAddress(ip);
    const family = address.includes(":") ? "ipv6" : "ipv4";
    const { lists } = this.#options;
    const { resolver = this.#options.resolver } = options;
    const usable = lists.filter((list) => {
      const state = this.#states.get(list);
      return typeof state === "object" && "ipv4" in state && state[family];
    });
    const found = await Promise.all(usable.map(async (list): Promise<Listing[]> => {
      const answer = await resolver.a(entryName(address, list.zone));
      const code = answer.kind === "found" ? answer.records.find(isCode) : undefined;
      return code === undefined ? [] : [{ list, code }];
    }));
    const listings = found.flat();
    const deciding = decidingListing(listings);
    if (deciding === undefined || deciding.list.action === "allow") return listings;
    const answer = await resolver.txt(entryName(address, deciding.list.zone));
    const text = answer.kind === "found" ? printable(answer.records[0] ?? "") : "";
    return text === "" ? listings : listings.map((one) => one === deciding ? { ...one, text } : one);
  }

  async #test(list: DnsList): Promise<void> {
    const before = this.#states.get(list);
    const state = await testDnsList(list.zone, this.#options.resolver);
    // As long as DNS fails what was known stands; a list that was never seen to work is not used.
    const now = state === "untested" ? before ?? "untested" : state;
    this.#states.set(list, now);
    if (this.#over || now === "untested") return;
    const was = before !== undefined && typeof before === "object" && "dead" in before;
    const { logger } = this.#options;
    if ("dead" in now && !was) logger.warn("dns_list.ignored", { zone: list.zone, reason: now.dead });
    if (!("dead" in now) && was) logger.info("dns_list.used_again", { zone: list.zone });
  }
}

/** The listing that decides: of an allow list, else of one that refuses, else of one for junk. */
export function decidingListing(listings: readonly Listing[]): Listing | undefined {
  for (const action of ["allow", "refuse", "junk"] as const) {
    const found = listings.find(({ list }) => list.action === action);
    if (found !== undefined) return found;
  }
  return undefined;
}

// RFC 5782 §5: each list has 127.0.0.2 and never 127.0.0.1; one of IPv6 addresses the same, mapped into IPv6.
const TESTS = { ipv4: ["127.0.0.2", "127.0.0.1"], ipv6: ["::ffff:7f00:2", "::ffff:7f00:1"] } as const;

/** Whether a list can be used, by its own test entries; `untested` where DNS fails. Never rejects. */
export async function testDnsList(zone: string, resolver: Resolver): Promise<DnsListState> {
  const [present4, absent4, present6, absent6] = await Promise.all(
    [...TESTS.ipv4, ...TESTS.ipv6].map((address) => resolver.a(entryName(address, zone))),
  );
  const answers = [present4, absent4, present6, absent6];
  const lists = (answer: typeof present4) => answer?.kind === "found" && answer.records.some(isCode);
  const refusal = answers.flatMap((answer) => answer?.kind === "found" ? answer.records : []).find(isRefusal);
  if (refusal !== undefined) return { dead: `it does not serve this server's resolver (${refusal})` };
  // Whatever it is, it also lists addresses that no list may contain.
  for (const [address, answer] of [["127.0.0.1", absent4], ["::ffff:127.0.0.1", absent6]] as const) {
    if (answer?.kind === "found") return { dead: `it lists ${address}, so it lists the world` };
  }
  const ipv4 = lists(present4);
  const ipv6 = lists(present6);
  // A list of IPv4 addresses that knows IPv6 too need not have the test entry for that.
  if (ipv4 || ipv6) return { ipv4, ipv6: true };
  if (answers.some((answer) => answer?.kind === "failed")) return "untested";
  return { dead: "it does not list its own test entry 127.0.0.2" };
}

/** What to ask a list for an address (§2.1, §2.4). */
function entryName(address: string, zone: string): string {
  const name = reverseName(address);
  return `${name.slice(0, name.lastIndexOf(".", name.lastIndexOf(".") - 1))}.${zone}`;
}

/** Whether an answer is a listing; others come from a domain that was sold. */
function isCode(address: string): boolean {
  return ipBytes(address)?.[0] === 127 && address.includes(".") && !isRefusal(address);
}

/** What large lists say to those who may not ask. */
function isRefusal(address: string): boolean {
  return address.startsWith("127.255.255.");
}

function printable(text: string): string {
  return text.slice(0, MAX_TEXT).replace(/[^\x20-\x7e]+/g, " ").trim();
}
