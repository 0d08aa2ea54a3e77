/**
 * DKIM signatures for messages that pass by (RFC 6376): the header section is held, the body only hashed.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Logger } from "../base/log.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import type { Header } from "../smtp/delivery.ts";
import { authorDomains } from "../message/address_list.ts";
import { HeaderSection } from "../message/header_section.ts";
import { RelaxedBodyHash } from "./body.ts";
import { isSigned, type RelaxedField, relaxField, signedNames, signingInput } from "./header.ts";
import type { DkimKey } from "./keys.ts";

/** What a {@linkcode DkimSigner} needs. */
export interface DkimSignerOptions {
  /** The keys of all domains; those of one domain sign all, in this order. */
  readonly keys: readonly DkimKey[];
  /** Takes `dkim.signed` and `dkim.unsigned`. */
  readonly logger: Logger;
  /** Gives the time of signing (`t=`); default: the system's. */
  readonly clock?: Clock;
}

/** Octets of a header section that are held; a message with a longer one is not signed. */
const MAX_HEADER = 512 * 1024;
/** Names in `h=`; a message with more fields to sign is not signed. */
const MAX_NAMES = 200;
const LINE_WIDTH = 76;

const END_OF_HEADER = Buffer.from("\r\n\r\n");
const EMPTY_LINE = Buffer.from("\r\n");

/** Signs messages with the key of the domain in their From field, or of the nearest domain above it. */
export class DkimSigner {
  #keys: ReadonlyMap<string, readonly DkimKey[]> = new Map();
  readonly #logger: Logger;
  readonly #clock: Clock;

  /** Without keys it signs nothing. */
  constructor({ keys, logger, clock = systemClock }: DkimSignerOptions) {
    this.#logger = logger;
    this.#clock = clock;
    this.replaceKeys(keys);
  }

  /** Takes these keys instead, for messages that begin from now on. */
  replaceKeys(keys: readonly DkimKey[]): void {
    this.#keys = Map.groupBy(keys, ({ domain }) => domain);
  }

  /**
   * The keys that sign for an author in this domain: its own, else those of the nearest domain above it, with which it
   * is aligned by the relaxed rule of DMARC (RFC 7489 §3.1.1).
   */
  keysFor(domain: string): readonly DkimKey[] {
    for (let name = domain;; name = name.slice(name.indexOf(".") + 1)) {
      const keys = this.#keys.get(name);
      if (keys !== undefined) return keys;
      if (!name.includes(".")) return [];
    }
  }

  /** Begins to sign a message; `id` is for the log. `undefined` where there are no keys at all. */
  begin(id: string): DkimSignature | undefined {
    if (this.#keys.size === 0) return undefined;
    return new DkimSignature({
      logger: this.#logger.with({ id }),
      clock: this.#clock,
      keysFor: (domain) => this.keysFor(domain),
    });
  }

  /** Signs a message that is there as a whole; gives it with the signatures on top. */
  async sign(id: string, message: Uint8Array): Promise<Uint8Array> {
    const signature = this.begin(id);
    if (signature === undefined) return message;
    signature.push(message);
    const fields = await signature.finish([]);
    const top = fields.map(({ name, value }) => `${name}: ${value}\r\n`).join("");
    return Buffer.concat([Buffer.from(top), message]);
  }
}

interface SignatureOptions {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly keysFor: (domain: string) => readonly DkimKey[];
}

/** The signatures of one message that streams by; made by {@linkcode DkimSigner.begin}. */
export class DkimSignature {
  readonly #options: SignatureOptions;
  /** The header section so far; `undefined` when it is over. */
  #held: Buffer | undefined = Buffer.alloc(0);
  #length = 0;
  /** The fields that are signed. */
  #fields: readonly RelaxedField[] = [];
  #keys: readonly DkimKey[] = [];
  #domain = "";
  /** Why there will be no signature. */
  #unsigned: string | undefined;
  #body: RelaxedBodyHash | undefined;

  /** @ignore Made by the signer. */
  constructor(options: SignatureOptions) {
    this.#options = options;
  }

  /** Takes the message as it will be sent, cut anywhere, with lines ending in CRLF; the chunk is not kept. */
  push(chunk: Uint8Array): void {
    if (this.#held === undefined) {
      this.#body?.push(chunk);
      return;
    }
    // An end of the header section may begin in the last three octets that were there before.
    const from = Math.max(0, this.#length - 3);
    const held = this.#append(this.#held, chunk);
    const section = held.subarray(0, this.#length);
    if (this.#length >= 2 && section.subarray(0, 2).equals(EMPTY_LINE)) {
      this.#endHeader(section.subarray(0, 0), section.subarray(2));
      return;
    }
    const end = section.indexOf(END_OF_HEADER, from);
    if (end >= 0) this.#endHeader(section.subarray(0, end), section.subarray(end + 4));
    else if (this.#length > MAX_HEADER) {
      this.#held = undefined;
      this.#unsigned = `the header section has more than ${MAX_HEADER} octets`;
    }
  }

  /**
   * The message is over: the DKIM-Signature fields, to stand above everything; none where there is no key, or no one
   * author.
   * @param prepended the fields that come on top of what was pushed, first one first
   */
  async finish(prepended: readonly Header[]): Promise<Header[]> {
    if (this.#held !== undefined) {
      this.#endHeader(this.#held.subarray(0, this.#length), EMPTY_LINE.subarray(2));
    }
    const { logger, clock } = this.#options;
    const above = prepended.map(({ name, value }) =>
      relaxField(Buffer.from(`${name}: ${value}`).toString("latin1"))
    );
    const fields = [...above.filter((field) => field !== undefined), ...this.#fields];
    const names = signedNames(fields);
    if (names.length > MAX_NAMES) this.#unsigned ??= `there are ${names.length} fields to sign`;
    if (this.#unsigned !== undefined || this.#body === undefined) {
      const reason = this.#unsigned ?? `there is no key for ${this.#domain}`;
      if (this.#unsigned === undefined) logger.debug("dkim.unsigned", { reason });
      else logger.warn("dkim.unsigned", { reason });
      return [];
    }
    const bodyHash = this.#body.digest();
    const time = Math.floor(clock.now() / 1000);
    const signatures = await Promise.all(
      this.#keys.map((key) => sign(key, { fields, names, bodyHash, time })),
    );
    logger.debug("dkim.signed", {
      domain: this.#keys[0]?.domain,
      selectors: this.#keys.map(({ selector }) => selector),
    });
    return signatures;
  }

  #append(held: Buffer, chunk: Uint8Array): Buffer {
    const needed = this.#length + chunk.length;
    let room = held;
    if (needed > held.length) {
      room = Buffer.allocUnsafe(Math.max(needed, 2 * held.length));
      held.copy(room, 0, 0, this.#length);
      this.#held = room;
    }
    room.set(chunk, this.#length);
    this.#length = needed;
    return room;
  }

  #endHeader(section: Buffer, rest: Uint8Array): void {
    this.#held = undefined;
    if (section.length > MAX_HEADER) {
      this.#unsigned = `the header section has more than ${MAX_HEADER} octets`;
      return;
    }
    this.#fields = HeaderSection.of(section.toString("latin1")).fields.map(({ text }) => relaxField(text))
      .filter((field) => field !== undefined).filter(({ name }) => isSigned(name));
    const authors = this.#fields.filter(({ name }) => name === "from");
    const [author] = authors;
    if (author === undefined || authors.length > 1) {
      this.#unsigned = author === undefined ? "there is no From field" : "there is more than one From field";
      return;
    }
    const domains = authorDomains(author.text.slice("from:".length));
    const domain = domains.find((name) => this.#options.keysFor(name).length > 0);
    this.#domain = domain ?? domains[0] ?? "an address without a domain";
    if (domain === undefined) return;
    this.#keys = this.#options.keysFor(domain);
    this.#body = new RelaxedBodyHash();
    this.#body.push(rest);
  }
}

interface SignedContent {
  readonly fields: readonly RelaxedField[];
  readonly names: readonly string[];
  readonly bodyHash: string;
  /** Seconds since the epoch. */
  readonly time: number;
}

async function sign(
  { domain, selector, algorithm, sign }: DkimKey,
  { fields, names, bodyHash, time }: SignedContent,
): Promise<Header> {
  const tags = [
    "v=1; ",
    `a=${algorithm}; `,
    "c=relaxed/relaxed; ",
    `d=${domain}; `,
    `s=${selector}; `,
    `t=${time}; `,
    ...names.map((name, i) => `${i === 0 ? "h=" : ""}${name}${i === names.length - 1 ? "; " : ":"}`),
    `bh=${bodyHash}; `,
    "b=",
  ];
  const unsigned = fold(tags);
  const input = signingInput(fields, { names, signature: `DKIM-Signature: ${unsigned}` });
  const signature = await sign(Uint8Array.from(Buffer.from(input, "latin1")));
  const lines = Buffer.from(signature).toString("base64").match(/.{1,72}/gs) ?? [];
  // What stands behind "b=" does not count, white space included (RFC 6376 §3.7).
  return { name: "DKIM-Signature", value: `${unsigned}${lines.join("\r\n\t")}` };
}

/** Breaks the value into lines between its parts; the part "b=" begins a line, as its value fills lines of its own. */
function fold(parts: readonly string[]): string {
  let text = "";
  let width = "DKIM-Signature: ".length;
  for (const part of parts) {
    if (width + part.trimEnd().length > LINE_WIDTH || part === "b=") {
      text = `${text.trimEnd()}\r\n\t`;
      width = 8;
    }
    text += part;
    width += part.length;
  }
  return text;
}
