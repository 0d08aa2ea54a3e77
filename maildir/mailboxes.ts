/**
 * Local addresses: users, aliases, subaddresses and the catch-all of some domains, and the Maildir of each user.
 *
 * Local-parts are compared after Unicode normalisation (NFC) and in lower case; `"a"@x` and `a@x` are the same, as are
 * the U-label and A-label forms of a domain, with or without a trailing dot. A path is only ever made of the name of a
 * configured user, never of what came over the network.
 *
 * @module
 */
import { join } from "node:path";
import { normalizeDomain } from "../net/domain_name.ts";
import { Memo } from "../base/memo.ts";
import {
  isUserName,
  MAX_FILE_NAME,
  normalizeLocalPart,
  parseTemplate,
  type PathTemplate,
  splitAddress,
  tooLong,
  USER_NAME_RULE,
} from "./mailbox_names.ts";
import { errorText } from "../base/error_text.ts";

/** What defines the local addresses. */
export interface MailboxesOptions {
  /** The domains that mail is accepted for; at least one. */
  readonly domains: readonly string[];
  /** The Maildir of a user: a path with `{user}` and, in most cases, `{domain}`. What is before them is trusted. */
  readonly path: string;
  /** Local-parts, valid in every domain, and whole addresses; or `system`: the login names with uid 1000–59999. */
  readonly users: readonly string[] | "system";
  /**
   * From a local-part, a whole address, `*` or `*@domain` (all other addresses) to local-parts and whole addresses. A
   * bare target is in the domain of the address that it stands for.
   */
  readonly aliases: Readonly<Record<string, string | readonly string[]>>;
  /** The separator between user and detail, as in `alice+lists`; empty: no subaddresses. */
  readonly subaddressSeparator: string;
  /** The file for `system`; `/etc/passwd` if absent. */
  readonly passwdFile?: string;
}

/** A user's mailbox. */
export interface Mailbox {
  /** The user's address, `local-part@domain`, normalised. */
  readonly address: string;
  /** The trusted directory at the beginning of the path: absolute, configured, the same for all. */
  readonly root: string;
  /** The Maildir, absolute, below `root`. */
  readonly path: string;
}

/** What an address resolves to: mailboxes without duplicates, an unknown mailbox, or a foreign domain. */
export type Resolution =
  | { readonly kind: "local"; readonly mailboxes: readonly Mailbox[] }
  | { readonly kind: "unknown" }
  | { readonly kind: "not-local" };

/** An error in the configuration of mailboxes. */
export interface MailboxesProblem {
  /** The key, such as `mailboxes.aliases.abuse`. */
  readonly key: string;
  /** The value. */
  readonly value: string;
  /** What is wrong, and what is allowed. */
  readonly problem: string;
}

/** The configuration of mailboxes cannot be used. */
export class MailboxesError extends Error {
  /** At least one. */
  readonly problems: readonly MailboxesProblem[];

  /** Takes what {@linkcode checkMailboxes} found. */
  constructor(problems: readonly MailboxesProblem[]) {
    super(
      problems.map(({ key, value, problem }) => `${key}: ${JSON.stringify(value)} ${problem}`).join("\n"),
    );
    this.name = "MailboxesError";
    this.problems = problems;
  }
}

/** Every problem of these options; reads the passwd file for `system`. */
export function checkMailboxes(options: MailboxesOptions): readonly MailboxesProblem[] {
  return new Directory(options).problems;
}

/** Finds the mailboxes of addresses. Immutable: for a reload, make a new one. */
export class Mailboxes {
  readonly #directory: Directory;
  /** A message asks at RCPT and at DATA, and the next message often asks for the same address. */
  readonly #remembered = new Memo<Resolution>();

  /**
   * Reads the passwd file for `system`.
   * @throws {MailboxesError} with everything that is wrong
   */
  constructor(options: MailboxesOptions) {
    this.#directory = new Directory(options);
    if (this.#directory.problems.length > 0) throw new MailboxesError(this.#directory.problems);
  }

  /** The domains that mail is accepted for, as A-labels. */
  get domains(): readonly string[] {
    return [...this.#directory.domains];
  }

  /** The trusted directory that all Maildirs are in. */
  get root(): string {
    return this.#directory.template.root;
  }

  /** The mailboxes of all users, each once. */
  all(): readonly Mailbox[] {
    return this.#directory.all();
  }

  /** Who gets mail for this address. An empty domain is only known with `postmaster` (RFC 5321 §4.1.1.3). */
  resolve(address: { readonly localPart: string; readonly domain: string }): Resolution {
    // Neither can hold a line feed.
    const key = `${address.localPart}\n${address.domain}`;
    const remembered = this.#remembered.get(key);
    if (remembered !== undefined) return remembered;
    const resolution = this.#directory.resolve(address);
    // Unknown addresses are not cached: clients could fill the memo with them.
    return resolution.kind === "local" ? this.#remembered.keep(key, resolution) : resolution;
  }

  /** The owner of an address: as {@linkcode Mailboxes.resolve}, without the catch-all. */
  owners(address: { readonly localPart: string; readonly domain: string }): readonly Mailbox[] {
    return this.#directory.owners(address);
  }
}

/** The trusted directory at the beginning of a `mailboxes.path`: what is before the first placeholder; absolute. */
export function mailRootOf(path: string): string {
  return parseTemplate(path).root;
}

// Regular expressions, wildcards within a name, several names in one key: as a local-part none of them would ever
// match.
const PATTERN = /^\/.*\/[a-z]*$|^\^|[,;]|.\*|\*./su;

// Characters of old source-routing syntaxes, and those that no mailbox name may have.
const ROUTING = /[@%!]/;
// deno-lint-ignore no-control-regex
const NEVER_CAUGHT = /^[.~-]|[\u0000-\u001f\u007f/\\]/;

const encoder = new TextEncoder();

/** Builds the tables, and collects every problem instead of stopping at the first. */
class Directory {
  readonly problems: MailboxesProblem[] = [];
  readonly domains = new Set<string>();
  readonly template: PathTemplate;
  /** Users of all domains. */
  readonly #users = new Set<string>();
  /** Users of one domain, as addresses. */
  readonly #addresses = new Set<string>();
  readonly #aliases = new Map<string, readonly string[]>();
  readonly #separator: string;

  constructor(options: MailboxesOptions) {
    this.#separator = options.subaddressSeparator;
    this.template = parseTemplate(options.path);
    if (this.template.problem !== undefined) {
      this.#report("mailboxes.path", { value: options.path, problem: this.template.problem });
    }
    this.#readDomains(options.domains);
    if (options.users === "system") this.#readPasswd(options.passwdFile ?? "/etc/passwd");
    else this.#readUsers(options.users);
    this.#readAliases(options.aliases);
    if (this.problems.length > 0) return;
    this.#checkPaths();
    this.#checkTargets(options.aliases);
    this.#checkPostmaster();
  }

  resolve({ localPart, domain }: { readonly localPart: string; readonly domain: string }): Resolution {
    const name = normalizeLocalPart(localPart);
    const home = domain === "" && name === "postmaster" ? [...this.domains][0] : normalizeDomain(domain);
    if (home === undefined || !this.domains.has(home)) return { kind: "not-local" };
    if (tooLong(name)) return { kind: "unknown" };
    const mailboxes = this.#find(name, home) ?? this.#caught(name, home);
    if (mailboxes !== undefined) return { kind: "local", mailboxes };
    return ROUTING.test(name) ? { kind: "not-local" } : { kind: "unknown" };
  }

  owners({ localPart, domain }: { readonly localPart: string; readonly domain: string }): readonly Mailbox[] {
    const name = normalizeLocalPart(localPart);
    const home = normalizeDomain(domain);
    if (home === undefined || tooLong(name) || name === "*") return [];
    return this.domains.has(home) ? this.#find(name, home) ?? [] : this.#foreign(name, home);
  }

  all(): readonly Mailbox[] {
    const byPath = new Map<string, Mailbox>();
    for (const domain of this.domains) {
      for (const user of this.#users) this.#add(byPath, this.#mailbox(user, domain));
    }
    for (const address of this.#addresses) {
      const { localPart, domain } = splitAddress(address);
      if (domain !== undefined) this.#add(byPath, this.#mailbox(localPart, domain));
    }
    return [...byPath.values()];
  }

  #readDomains(domains: readonly string[]): void {
    const key = "serve-in.domains";
    for (const value of domains) {
      const domain = normalizeDomain(value);
      if (domain === undefined) {
        this.#report(key, { value, problem: "is not a domain; write one like example.com" });
      } else this.domains.add(domain);
    }
    if (domains.length === 0) this.#report(key, { value: "", problem: "is empty; name at least one domain" });
  }

  #readUsers(users: readonly string[]): void {
    for (const value of users) {
      const { localPart, domain, badDomain } = splitAddress(value);
      const report = (problem: string) => this.#report("mailboxes.users", { value, problem });
      if (!isUserName(localPart)) report(`cannot be a user's name; allowed are ${USER_NAME_RULE}`);
      else if (badDomain) report("has no valid domain; write one like bob@example.net");
      else if (domain === undefined) this.#users.add(localPart);
      else this.#addresses.add(`${localPart}@${domain}`);
    }
  }

  #readPasswd(file: string): void {
    let text: string;
    try {
      text = Deno.readTextFileSync(file);
    } catch (error) {
      const problem = `needs ${file}: ${errorText(error)}`;
      return this.#report("mailboxes.users", { value: "system", problem });
    }
    for (const line of text.split("\n")) {
      const [login = "", , uid = ""] = line.split(":");
      const name = normalizeLocalPart(login);
      // These names come from the system, so one that cannot be a mailbox is not an error of the configuration.
      if (/^\d+$/.test(uid) && Number(uid) >= 1000 && Number(uid) <= 59999 && isUserName(name)) {
        this.#users.add(name);
      }
    }
  }

  #readAliases(aliases: MailboxesOptions["aliases"]): void {
    for (const [value, targets] of Object.entries(aliases)) {
      const { localPart, domain, badDomain } = splitAddress(value);
      const report = (problem: string) => this.#report(aliasKey(value), { value, problem });
      if (localPart === "" || tooLong(localPart)) {
        report("is not an alias; write a local-part or a whole address");
      } else if (PATTERN.test(localPart)) {
        report(
          'looks like a pattern or a list; a key is one local-part, one address, or "*" for everything else',
        );
      } else if (badDomain) report("has no valid domain");
      else if (domain !== undefined && !this.domains.has(domain)) {
        report("is in a domain that is not in serve-in.domains");
      } else {
        const alias = domain === undefined ? localPart : `${localPart}@${domain}`;
        if (this.#aliases.has(alias)) {
          report(`is the same alias as another one here: ${alias}; write one list`);
        }
        this.#aliases.set(alias, typeof targets === "string" ? [targets] : targets);
      }
    }
  }

  #checkPaths(): void {
    const { hasDomain } = this.template;
    const owners = new Map<string, string>();
    const claim = (owner: string, { path }: Mailbox) => {
      const longest = Math.max(...path.split("/").map((name) => encoder.encode(name).length));
      if (longest > MAX_FILE_NAME) {
        const problem =
          `has a Maildir with a file name of ${longest} octets; allowed are ${MAX_FILE_NAME}: ${path}`;
        this.#report("mailboxes.users", { value: owner, problem });
      }
      const other = owners.get(path);
      if (other !== undefined && other !== owner) {
        const remedy = hasDomain ? "put a / between {user} and {domain} in" : "put {domain} into";
        const problem = `has the same Maildir as ${other}: ${path}; ${remedy} mailboxes.path`;
        this.#report("mailboxes.users", { value: owner, problem });
      }
      owners.set(path, owner);
    };
    for (const user of this.#users) {
      if (!hasDomain) claim(user, this.#mailbox(user, ""));
      else for (const domain of this.domains) claim(`${user}@${domain}`, this.#mailbox(user, domain));
    }
    for (const address of this.#addresses) {
      const { localPart, domain = "" } = splitAddress(address);
      claim(address, this.#mailbox(localPart, domain));
    }
  }

  #checkTargets(aliases: MailboxesOptions["aliases"]): void {
    for (const [alias, targets] of Object.entries(aliases)) {
      const { localPart, domain } = splitAddress(alias);
      const list = typeof targets === "string" ? [targets] : targets;
      const report = (value: string, problem: string) => this.#report(aliasKey(alias), { value, problem });
      if (list.length === 0) report("", "is empty; name at least one local mailbox");
      for (const target of list) {
        const missing = [...this.domains].filter((home) => domain === undefined || home === domain)
          .filter((home) =>
            this.#expand(target, { home, visited: new Set([`${localPart}@${home}`]) }).length === 0
          );
        const [first] = missing;
        if (first === undefined) continue;
        const where = target.includes("@") || target === "" ? "" : ` in ${missing.join(", ")}`;
        report(
          target,
          `leads to no mailbox${where}; allowed are users and other aliases of our own domains, without a loop`,
        );
      }
    }
  }

  #checkPostmaster(): void {
    const missing = [...this.domains].filter((domain) =>
      this.resolve({ localPart: "postmaster", domain }).kind !== "local"
    );
    // An alias that leads nowhere has been reported.
    if (missing.length === 0 || this.#aliases.has("postmaster")) return;
    this.#report("mailboxes.aliases.postmaster", {
      value: "",
      problem:
        `postmaster leads to no mailbox in ${missing.join(", ")}, and must (RFC 5321 section 4.5.1); ` +
        `write postmaster = "alice", or whoever is to read it`,
    });
  }

  /** Alias, then user; then the same without the detail of a subaddress. `undefined`: unknown. */
  #find(name: string, domain: string): readonly Mailbox[] | undefined {
    const found = new Map<string, Mailbox>();
    for (const mailbox of this.#expandName(name, { home: domain, visited: new Set() })) {
      this.#add(found, mailbox);
    }
    return found.size === 0 ? undefined : [...found.values()];
  }

  #caught(name: string, domain: string): readonly Mailbox[] | undefined {
    if (ROUTING.test(name) || NEVER_CAUGHT.test(name)) return undefined;
    return this.#find("*", domain);
  }

  /** The mailboxes of an alias's target. */
  #expand(target: string, context: { home: string; visited: ReadonlySet<string> }): Mailbox[] {
    const { localPart, domain = context.home, badDomain } = splitAddress(target);
    if (badDomain || localPart === "*") return [];
    // A user outside of our domains gets no mail directly, and may still be what an alias means.
    if (!this.domains.has(domain)) return this.#foreign(localPart, domain);
    return this.#expandName(localPart, { home: domain, visited: context.visited });
  }

  #foreign(name: string, domain: string): Mailbox[] {
    return this.#addresses.has(`${name}@${domain}`) ? [this.#mailbox(name, domain)] : [];
  }

  #expandName(name: string, { home, visited }: { home: string; visited: ReadonlySet<string> }): Mailbox[] {
    const address = `${name}@${home}`;
    const targets = this.#aliases.get(address) ??
      (this.#addresses.has(address) ? undefined : this.#aliases.get(name));
    // An alias that names itself means the user of that name: alice = ["alice", "bob"] adds a copy for bob.
    if (targets !== undefined && !visited.has(address)) {
      const next = new Set(visited).add(address);
      return targets.flatMap((target) => this.#expand(target, { home, visited: next }));
    }
    if (this.#users.has(name) || this.#addresses.has(address)) return [this.#mailbox(name, home)];
    if (targets !== undefined) return [];
    // The last separator first: with "-", anna-maria-lists belongs to anna-maria, even if there is an anna.
    const cut = this.#separator === "" ? -1 : name.lastIndexOf(this.#separator);
    return cut > 0 ? this.#expandName(name.slice(0, cut), { home, visited }) : [];
  }

  #mailbox(user: string, domain: string): Mailbox {
    const { root, rest } = this.template;
    const path = join(
      root,
      ...rest.map((part) => part.replace("{user}", () => user).replace("{domain}", domain)),
    );
    return { address: `${user}@${domain}`, root, path };
  }

  #add(mailboxes: Map<string, Mailbox>, mailbox: Mailbox): void {
    if (!mailboxes.has(mailbox.path)) mailboxes.set(mailbox.path, mailbox);
  }

  #report(key: string, { value, problem }: { value: string; problem: string }): void {
    this.problems.push({ key, value, problem });
  }
}

function aliasKey(alias: string): string {
  return `mailboxes.aliases.${/^[A-Za-z0-9_-]+$/.test(alias) ? alias : JSON.stringify(alias)}`;
}
