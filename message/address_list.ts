/**
 * The mailboxes in a header field such as To (RFC 5322 §3.4): addresses, positions, and whether they are unambiguous.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { normalizeDomain } from "../net/domain_name.ts";
import { AddressLexer, type AddressToken } from "./address_lexer.ts";

/** A mailbox in a list. */
export interface ListedMailbox {
  /**
   * The address: what is in angle brackets, without a source route, or else the bare address; without comments and
   * the white space that the grammar allows. May be empty. Of more than 1,000 characters only the beginning is given.
   */
  readonly address: string;
  /** The part after its last `@`. */
  readonly domain?: string;
  /** Where the address ends in the value. */
  readonly end: number;
  /** Where the display name is in the value, if there is one and an angle bracket after it. */
  readonly name?: { readonly start: number; readonly end: number };
  /** Whether it follows the current grammar as far as checked here: one address, nothing unclosed or left over. */
  readonly plain: boolean;
}

/** Longer than any path (RFC 5321 §4.5.3.1.3); callers refuse what is cut. */
const MAX_ADDRESS = 1000;

/**
 * The mailboxes of a value, in order, those in groups too; two in brackets without a comma count as two. Looks at each
 * character a bounded number of times.
 */
export function* mailboxes(value: string): Generator<ListedMailbox, void, void> {
  const lexer = new AddressLexer(value);
  let item = new Item(value);
  for (;;) {
    const token = lexer.next();
    const ends = token === "end" || (!item.inBrackets && (token === "," || token === ";"));
    if (token === "<" && item.hasBrackets) {
      // Readers differ in which of the two they take: both are given, and neither is plain.
      item.odd = true;
      yield item.finish();
      item = new Item(value);
      item.odd = true;
      item.add(token, lexer);
    } else if (ends) {
      if (item.begun) yield item.finish();
      if (token === "end") return;
      item = new Item(value);
    } else if (token === ":" && !item.inBrackets) {
      // The name of a group; its members follow.
      item = new Item(value);
    } else item.add(token, lexer);
  }
}

/** The addresses of a value, in order: what `sendmail -t` sends to. */
export function parseAddressList(value: string): string[] {
  const addresses: string[] = [];
  for (const { address } of mailboxes(value)) if (address !== "") addresses.push(address);
  return addresses;
}

/** No honest message has more authors; a longer list would only cost DNS look-ups. */
const MAX_DOMAINS = 100;

/** Octets of From fields that are read for their domains; far above any honest author list. */
export const MAX_AUTHOR_FIELDS = 16 * 1024;

/**
 * The domains of the addresses in a From field (RFC 5322 §3.6.2), each once, at most 100, in lower case with A-labels:
 * who a message claims to be from. Addresses without a domain, or with an address literal, are left out; of an invalid
 * domain its beginning counts, if that is valid.
 * @param value one character an octet; of more than 16 KiB only the beginning is read
 */
export function authorDomains(value: string): string[] {
  const domains = new Set<string>();
  const seen = new Set<string>();
  for (const { domain } of mailboxes(value.slice(0, MAX_AUTHOR_FIELDS))) {
    if (domain === undefined || seen.has(domain)) continue;
    seen.add(domain);
    const normalized = normalizeOctets(domain) ?? normalizeOctets(BEGINNING.exec(domain)?.[0] ?? "");
    if (normalized !== undefined) domains.add(normalized);
    if (domains.size === MAX_DOMAINS) break;
  }
  return [...domains];
}

/** What some readers show as the domain where other text follows it: names with a dot. */
const BEGINNING = /^[A-Za-z0-9\u0080-\u00ff_-]+(?:\.[A-Za-z0-9\u0080-\u00ff_-]+)+/;

/** A domain, one character an octet; a UTF-8 address (RFC 6532) has it as U-labels. */
function normalizeOctets(domain: string): string | undefined {
  return normalizeDomain(Buffer.from(domain, "latin1").toString("utf8"));
}

const BARE = /^[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*$/;

/**
 * Completes the bare local-parts of a value; everything else in it stays as it is, white space and folding included.
 * `undefined` when there is nothing to complete, or when anything in it is ambiguous: then it is left
 * alone.
 */
export function completeAddresses(value: string, domain: string): string | undefined {
  let completed = "";
  let from = 0;
  for (const mailbox of mailboxes(value)) {
    if (!mailbox.plain) return undefined;
    if (mailbox.domain !== undefined) continue;
    if (!BARE.test(mailbox.address)) return undefined;
    completed += `${value.slice(from, mailbox.end)}@${domain}`;
    from = mailbox.end;
  }
  return from === 0 ? undefined : completed + value.slice(from);
}

/** The part between two commas. */
class Item {
  begun = false;
  readonly #value: string;
  readonly #parts: string[] = [];
  #length = 0;
  #domain: number | undefined;
  #end = 0;
  #brackets: "none" | "open" | "closed" = "none";
  #inRoute = false;
  #name: { start: number; end: number } | undefined;
  /** Whether it has something that the grammar does not allow. */
  odd = false;
  /** Two words side by side: a display name, but no address. */
  #twoWords = false;
  /** Whether another token may follow the last one directly. */
  #joins = true;

  constructor(value: string) {
    this.#value = value;
  }

  /** Whether an angle bracket has been opened. */
  get hasBrackets(): boolean {
    return this.#brackets !== "none";
  }

  get inBrackets(): boolean {
    return this.#brackets === "open";
  }

  add(token: AddressToken, lexer: AddressLexer): void {
    if (!lexer.closed) this.odd = true;
    if (token === "comment") return;
    this.begun = true;
    if (token === "<") return this.#open();
    switch (this.#brackets) {
      case "closed":
        this.odd = true;
        break;
      case "open":
        if (token === ">") this.#brackets = "closed";
        else if (this.#inRoute) this.#inRoute = token !== ":";
        else if (token === "@" && this.#parts.length === 0) this.#inRoute = this.odd = true;
        else this.#append(token, lexer);
        break;
      case "none":
        this.#name ??= { start: lexer.start, end: lexer.end };
        this.#name.end = lexer.end;
        this.#append(token, lexer);
    }
  }

  finish(): ListedMailbox {
    const address = this.#parts.join("");
    const domain = this.#domain === undefined ? undefined : this.#parts.slice(this.#domain).join("");
    const plain = !this.odd && !this.#twoWords && !this.inBrackets && address !== "" && domain !== "";
    return {
      address,
      end: this.#end,
      plain,
      ...(domain !== undefined && { domain }),
      ...(this.#name && this.#brackets !== "none" && { name: this.#name }),
    };
  }

  /** The tokens so far were a display name. */
  #open(): void {
    if (this.#domain !== undefined) this.odd = true;
    this.#brackets = "open";
    this.#parts.length = this.#length = 0;
    this.#domain = undefined;
    this.#joins = true;
    this.#twoWords = this.#inRoute = false;
  }

  #append(token: AddressToken, lexer: AddressLexer): void {
    const { start, end, spaced } = lexer;
    this.#end = end;
    if (token !== "word" && token !== "quoted" && token !== "literal" && token !== "@") this.odd = true;
    const joins = this.#joins || token === "@" || this.#value.charAt(start) === ".";
    if (!joins) this.#twoWords = true;
    this.#joins = token === "@" || (token === "word" && this.#value.charAt(end - 1) === ".");
    const room = MAX_ADDRESS - this.#length;
    if (end - start > room) this.odd = true;
    if (room <= 0) return;
    // Without the space, two words would form one address, of someone else.
    const part = (joins || !spaced ? "" : " ") + this.#value.slice(start, Math.min(end, start + room));
    this.#parts.push(part);
    this.#length += part.length;
    if (token === "@") this.#domain = this.#parts.length;
  }
}
