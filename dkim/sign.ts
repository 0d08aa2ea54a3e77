/**
 * DKIM signatures for messages that pass by (RFC 6376): the header section is given, the body only hashed.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Logger } from "../base/log.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import type { Header } from "../smtp/delivery.ts";
import { authorDomains } from "../message/address_list.ts";
import { fieldValue, HeaderSection } from "../message/header_section.ts";
import { splitMessage } from "../message/split_message.ts";
import { RelaxedBodyHash } from "./body.ts";
import { signedNames } from "./header.ts";
import type { DkimKey } from "./keys.ts";
import { SignedFields } from "./signed_fields.ts";

/** What a {@linkcode DkimSigner} needs. */
export interface DkimSignerOptions {
  /** The keys of all domains; those of one domain sign all, in this order. */
  readonly keys: readonly DkimKey[];
  /** Takes `dkim.signed` and `dkim.unsigned`. */
  readonly logger: Logger;
  /** Gives the time of signing (`t=`); default: the system's. */
  readonly clock?: Clock;
}

/** Names in `h=`; a message with more fields to sign is not signed. */
const MAX_NAMES = 200;
/** Domains that are warned of by name; what programs write into From fields has no bound. */
const MAX_KEYLESS = 100;
const LINE_WIDTH = 76;

/** Signs messages with the key of the domain in their From field, or of the nearest domain above it. */
export class DkimSigner {
  #keys: ReadonlyMap<string, readonly DkimKey[]> = new Map();
  readonly #logger: Logger;
  readonly #clock: Clock;
  /** Domains without a key that were warned of. */
  readonly #keyless = new Set<string>();

  /** Without keys it signs nothing. */
  constructor({ keys, logger, clock = systemClock }: DkimSignerOptions) {
    this.#logger = logger;
    this.#clock = clock;
    this.replaceKeys(keys);
  }

  /** Takes these keys instead, for messages that begin from now on. */
  replaceKeys(keys: readonly DkimKey[]): void {
    this.#keys = Map.groupBy(keys, ({ domain }) => domain);
    this.#keyless.clear();
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

  /**
   * Begins to sign a message with these fields; `id` is for the log. `undefined` where it will not be signed: there are
   * no keys, none for its author, or not one author.
   */
  begin(id: string, section: HeaderSection): DkimSignature | undefined {
    if (this.#keys.size === 0) return undefined;
    const logger = this.#logger.with({ id });
    const [author, second] = section.named("from");
    const names = signedNames(section);
    if (author === undefined) return unsigned(logger, "there is no From field");
    if (second !== undefined) return unsigned(logger, "there is more than one From field");
    if (names.length > MAX_NAMES) return unsigned(logger, `there are ${names.length} fields to sign`);
    const domains = authorDomains(fieldValue(author));
    const domain = domains.find((name) => this.keysFor(name).length > 0);
    if (domain === undefined) {
      this.#noKey(logger, domains[0] ?? "an address without a domain");
      return undefined;
    }
    return new DkimSignature({ logger, clock: this.#clock, keys: this.keysFor(domain), section, names });
  }

  /** Said once of each domain: whoever has keys means to sign, and a program may send thousands of messages. */
  #noKey(logger: Logger, author: string): void {
    const domain = author.slice(0, 255);
    const fields = { domain, reason: `there is no key for ${domain}` };
    if (this.#keyless.has(domain) || this.#keyless.size >= MAX_KEYLESS) {
      return logger.debug("dkim.unsigned", fields);
    }
    this.#keyless.add(domain);
    logger.warn("dkim.unsigned", fields);
  }

  /** Signs a message that is there as a whole; gives it with the signatures on top. */
  async sign(id: string, message: Uint8Array): Promise<Uint8Array> {
    const { section, rest } = splitMessage(message);
    const signature = this.begin(id, HeaderSection.of(section));
    if (signature === undefined) return message;
    signature.push(rest);
    const fields = await signature.finish();
    const top = fields.map(({ name, value }) => `${name}: ${value}\r\n`).join("");
    return Buffer.concat([Buffer.from(top), message]);
  }
}

function unsigned(logger: Logger, reason: string): undefined {
  logger.warn("dkim.unsigned", { reason });
}

interface SignatureOptions {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly keys: readonly DkimKey[];
  readonly section: HeaderSection;
  /** What `h=` names. */
  readonly names: readonly string[];
}

/** The signatures of one message whose body streams by; made by {@linkcode DkimSigner.begin}. */
export class DkimSignature {
  readonly #options: SignatureOptions;
  readonly #body = new RelaxedBodyHash();

  /** @ignore Made by the signer. */
  constructor(options: SignatureOptions) {
    this.#options = options;
  }

  /** Takes the body as it will be sent, cut anywhere, with lines ending in CRLF; the chunk is not kept. */
  push(chunk: Uint8Array): void {
    this.#body.push(chunk);
  }

  /** The message is over: the DKIM-Signature fields, to stand above everything. */
  async finish(): Promise<Header[]> {
    const { logger, clock, keys, section, names } = this.#options;
    const fields = new SignedFields(section);
    const bodyHash = this.#body.digest();
    const time = Math.floor(clock.now() / 1000);
    const signatures = await Promise.all(
      keys.map((key) => sign(key, { fields, names, bodyHash, time })),
    );
    logger.debug("dkim.signed", {
      domain: keys[0]?.domain,
      selectors: keys.map(({ selector }) => selector),
    });
    return signatures;
  }
}

interface SignedContent {
  readonly fields: SignedFields;
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
  const input = fields.input({
    names: names.map((name) => name.toLowerCase()),
    canonicalization: "relaxed",
    signature: { name: "dkim-signature", text: `DKIM-Signature: ${unsigned}` },
  });
  const signature = await sign(input);
  const lines = Buffer.from(signature).toString("base64").match(/.{1,72}/gs) ?? [];
  // What is after "b=" does not count, white space included (RFC 6376 §3.7).
  return { name: "DKIM-Signature", value: `${unsigned}${lines.join("\r\n\t")}` };
}

/** Breaks the value into lines between its parts; the part "b=" begins a line, as its value fills its own lines. */
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
