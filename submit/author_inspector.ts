/**
 * Looks whether a message is from who has logged in: each author that From names, and Sender, must be an address of the
 * login (RFC 6409 §6.1).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { mailboxes } from "../message/address_list.ts";
import { unfold } from "../message/header_field.ts";
import { fieldValue, type HeaderSection } from "../message/header_section.ts";
import { AddressError, parseMailbox } from "../smtp/address.ts";
import type { Envelope } from "../smtp/envelope.ts";
import type { Inspection, Inspector, Verdict } from "../smtp/inspector.ts";
import { type Reply, reply } from "../smtp/reply.ts";
import type { Session } from "../smtp/session.ts";
import { countRefusal } from "./refusal_counter.ts";
import type { SenderAddress, Senders } from "./senders.ts";

/** More authors are refused. */
const MAX_AUTHORS = 100;
/** As a reply shows an address. */
const MAX_SHOWN = 200;

/** Gives each message its {@linkcode AuthorInspection}. */
export class AuthorInspector implements Inspector {
  readonly #senders: () => Pick<Senders, "maySend">;

  /** `senders` gives the rules that hold at the moment. */
  constructor(senders: () => Pick<Senders, "maySend">) {
    this.#senders = senders;
  }

  begin(
    { reversePath }: Pick<Envelope, "reversePath">,
    { login = "" }: Pick<Session, "login">,
  ): AuthorInspection {
    return new AuthorInspection({ login, senders: this.#senders(), hasReturnPath: reversePath !== null });
  }
}

interface AuthorInspectionOptions {
  readonly login: string;
  readonly senders: Pick<Senders, "maySend">;
  /** Without From the author is who the return path names. */
  readonly hasReturnPath: boolean;
}

/** A look at one message. */
export class AuthorInspection implements Inspection {
  readonly reserve = 0;
  readonly #options: AuthorInspectionOptions;
  #refusal: Reply | undefined;

  /** Starts empty. */
  constructor(options: AuthorInspectionOptions) {
    this.#options = options;
  }

  header(section: HeaderSection): void {
    const { login, senders, hasReturnPath } = this.#options;
    const authors = read(section, "from");
    const senderFields = read(section, "sender");
    const foreign = [...authors.addresses, ...senderFields.addresses].find((address) =>
      address.parsed === undefined || !senders.maySend(login, address.parsed)
    );
    if (authors.isOdd || senderFields.isOdd) {
      const name = authors.isOdd ? "From" : "Sender";
      this.#refusal = reply(550, "5.7.1", `The ${name} field cannot be understood: it must name addresses`);
    } else if (authors.addresses.length === 0 && !hasReturnPath) {
      this.#refusal = reply(550, "5.7.1", "A message with the return path <> needs a From field");
    } else if (foreign !== undefined) {
      this.#refusal = reply(550, "5.7.1", `<${foreign.text}> is not an address of ${login}`);
    } else if (authors.addresses.length > 1 && senderFields.addresses.length === 0) {
      this.#refusal = reply(550, "5.6.0", "A message with several authors needs a Sender field (RFC 5322)");
    }
  }

  body(): void {}

  verdict(): Promise<Verdict> {
    if (this.#refusal !== undefined) countRefusal("author");
    return Promise.resolve({ fields: [], log: {}, ...(this.#refusal && { refuse: this.#refusal }) });
  }

  [Symbol.dispose](): void {}
}

interface NamedAddress {
  readonly text: string;
  /** Absent where it is none. */
  readonly parsed?: SenderAddress;
}

interface Named {
  readonly addresses: readonly NamedAddress[];
  /** Whether readers may take it for something else than this does. */
  readonly isOdd: boolean;
}

/** Whom the fields of this name name. A field without an address counts as none: it is replaced. */
function read(section: HeaderSection, name: string): Named {
  const addresses: NamedAddress[] = [];
  let isOdd = false;
  for (const field of section.named(name)) {
    const value = unfold(fieldValue(field));
    let found = 0;
    for (const { address, plain } of mailboxes(value)) {
      found++;
      if (!plain || addresses.length >= MAX_AUTHORS) return { addresses, isOdd: true };
      addresses.push(namedAddress(Buffer.from(address, "latin1").toString()));
    }
    // A group without members, or only punctuation.
    isOdd ||= found === 0 && /[^\s<>]/.test(value);
  }
  return { addresses, isOdd };
}

function namedAddress(text: string): NamedAddress {
  const shown = text.slice(0, MAX_SHOWN);
  try {
    return { text: shown, parsed: parseMailbox(text, { smtputf8: true, bare: "any" }) };
  } catch (error) {
    if (error instanceof AddressError) return { text: shown };
    throw error;
  }
}
