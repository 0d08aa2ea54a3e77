/**
 * Who may send as whom: a login may use the address of its mailbox, aliases that lead to it, subaddresses of both, and
 * what it is granted.
 *
 * @module
 */
import { Memo } from "../base/memo.ts";
import { normalizeDomain } from "../net/domain_name.ts";
import { splitAddress } from "../smtp/address.ts";

/** An address, its local-part without quoting. */
export interface SenderAddress {
  readonly localPart: string;
  /** Empty for a bare local-part. */
  readonly domain: string;
}

/** What decides. */
export interface SendersOptions {
  /** The addresses of the mailboxes that an address leads to, catch-all left out; nothing where it leads to none. */
  readonly mailboxesOf: (address: SenderAddress) => readonly string[];
  /** The domains of the machine; a bare login or key is in each of them. At least one. */
  readonly domains: readonly string[];
  /** Completes bare addresses of messages. */
  readonly qualifyDomain: string;
  /** By login or its local-part: addresses, local-parts in the login's domain, and `*@domain`. */
  readonly sendAs: Readonly<Record<string, readonly string[]>>;
}

/** The rules, which do not change. */
export class Senders {
  readonly #options: SendersOptions;
  /** Grants by login, or by local-part. */
  readonly #granted = new Map<string, readonly string[]>();
  /** Most logins send as one or two addresses, in the envelope and in From. */
  readonly #decided = new Memo<boolean>();

  /** Reads the grants. */
  constructor(options: SendersOptions) {
    this.#options = options;
    for (const [login, addresses] of Object.entries(options.sendAs)) {
      const { localPart, domain } = splitAddress(login);
      this.#granted.set(spell({ localPart, domain }), addresses);
    }
  }

  /** Whether mail of this login may be from this address. */
  maySend(login: string, address: SenderAddress): boolean {
    const question = JSON.stringify([login, address.localPart, address.domain]);
    return this.#decided.get(question) ?? this.#decided.keep(question, this.#decide(login, address));
  }

  #decide(login: string, address: SenderAddress): boolean {
    const { mailboxesOf, domains, qualifyDomain } = this.#options;
    const own = splitAddress(login);
    if (own.domain === "") own.domain = domains[0] ?? "";
    const { localPart } = address;
    const wanted = { localPart, domain: address.domain === "" ? qualifyDomain : address.domain };
    const spelled = spell(wanted);
    const ownMailboxes = mailboxesOf(own);
    const [mailbox] = ownMailboxes;
    // A login that means several people is none of them.
    if (mailbox !== undefined && ownMailboxes.length === 1 && mailboxesOf(wanted).includes(mailbox)) {
      return true;
    }
    return this.#grantsOf(own).some((grant) => {
      if (grant.startsWith("*@")) {
        return spell({ localPart: "*", domain: wanted.domain }) === spell(splitAddress(grant));
      }
      const granted = splitAddress(grant);
      return spell({ ...granted, domain: granted.domain === "" ? own.domain : granted.domain }) === spelled;
    });
  }

  #grantsOf(own: SenderAddress): readonly string[] {
    const whole = this.#granted.get(spell(own)) ?? [];
    const isLocal = this.#options.domains.some((domain) =>
      normalizeDomain(domain) === normalizeDomain(own.domain)
    );
    const bare = isLocal ? this.#granted.get(spell({ ...own, domain: "" })) ?? [] : [];
    return [...whole, ...bare];
  }
}

/** One spelling for each address, as local-parts and domains are compared in mailboxes. */
function spell({ localPart, domain }: SenderAddress): string {
  const name = localPart.normalize("NFC").toLowerCase().normalize("NFC");
  return `${name}@${domain === "" ? "" : normalizeDomain(domain) ?? domain}`;
}
