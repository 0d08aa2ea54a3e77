/**
 * What a configuration decides about mail that the log tells of: only by what the log has, and without any query.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";
import { normalizeDomain } from "../../net/domain_name.ts";
import { openMailboxes } from "../../server/parts.ts";
import { openSenders } from "../../server/submit_parts.ts";
import { AddressError, parseMailbox } from "../../smtp/address.ts";

/** What happens to a recipient at serve-in. */
export interface RecipientDecision {
  /** `taken`, `unknown`, `relay`. */
  readonly kind: "taken" | "unknown" | "relay";
  /** The Maildirs, in order, one text. */
  readonly where: string;
}

/** What the checks found out about a message, by its log line. */
export interface Found {
  readonly dmarc?: string;
  /** What DMARC asks to be done; absent in logs of earlier versions, and where it asks for nothing. */
  readonly asked?: string;
  /** Zones of DNS lists that have the client. */
  readonly listed: readonly string[];
  /** Whether a trusted sealer may override it. */
  readonly sealer?: string;
}

/** What happens to a message by its checks. */
export type Filing = "refused" | "junk" | "inbox";

/** The decisions of one configuration. */
export class Decisions {
  readonly #config: Config;
  readonly #mailboxes: ReturnType<typeof openMailboxes> | undefined;
  readonly #senders: ReturnType<typeof openSenders> | undefined;
  readonly #recipients = new Map<string, RecipientDecision | undefined>();

  /** @throws {ConfigError} */
  constructor(config: Config) {
    this.#config = config;
    this.#mailboxes = config.serveIn.domains.length > 0 ? openMailboxes(config) : undefined;
    this.#senders = config.serveSubmit === undefined ? undefined : openSenders(config);
  }

  /** A recipient at serve-in; `undefined` where the address cannot be read. */
  recipient(address: string): RecipientDecision | undefined {
    if (this.#recipients.has(address)) return this.#recipients.get(address);
    const decision = this.#decide(address);
    // Cleared wholesale: guessed addresses are without number.
    if (this.#recipients.size > 50_000) this.#recipients.clear();
    this.#recipients.set(address, decision);
    return decision;
  }

  #decide(address: string): RecipientDecision | undefined {
    const parsed = read(address);
    if (parsed === undefined) return undefined;
    const domain = parsed.domain === "" ? this.#config.serveIn.domains[0] ?? "" : parsed.domain;
    const resolution = this.#mailboxes?.resolve({ localPart: parsed.localPart, domain });
    if (resolution === undefined || resolution.kind === "not-local") return { kind: "relay", where: "" };
    if (resolution.kind === "unknown") return { kind: "unknown", where: "" };
    return { kind: "taken", where: resolution.mailboxes.map(({ path }) => path).join(", ") };
  }

  /** What the checks of serve-in have done with a message; `undefined`: the log does not tell enough. */
  filing({ dmarc, asked, listed, sealer }: Found): Filing | undefined {
    const { checks } = this.#config.serveIn;
    const junk: Filing = this.#config.mailboxes.junkFolder === undefined ? "inbox" : "junk";
    const actions = checks.dnsLists.filter(({ zone }) => listed.includes(zone)).map(({ action }) => action);
    const allowed = actions.includes("allow");
    if (!allowed && actions.includes("refuse")) return "refused";
    const listedJunk = !allowed && actions.includes("junk");
    if (checks.dmarc === "enforce" && dmarc === "fail") {
      if (asked === undefined) return undefined;
      const trusted = sealer !== undefined && checks.trustedSealers.includes(sealer);
      if (!trusted && asked === "reject") return "refused";
      if (!trusted && asked === "quarantine") return junk;
    }
    return listedJunk ? junk : "inbox";
  }

  /** Whether DMARC is evaluated, and its word is done or marked. */
  get checksDmarc(): boolean {
    return this.#config.serveIn.checks.dmarc !== "off";
  }

  /** The folder for junk, without the dot before it. */
  get junkFolder(): string | undefined {
    return this.#config.mailboxes.junkFolder;
  }

  /** Whether unknown senders are asked to come again. */
  get greylists(): boolean {
    return this.#config.serveIn.checks.greylist !== "off";
  }

  /** How mail to a domain leaves: the way, and how strict its TLS is. */
  way(domain: string): { readonly by: string; readonly tls: string } {
    const { serveIn, serveOut } = this.#config;
    const policy = serveOut.tlsPolicy[domain];
    if (serveIn.domains.includes(domain)) return { by: "to serve-in here", tls: policy ?? "prefer" };
    const key = domain in serveOut.routes ? domain : "*" in serveOut.routes ? "*" : undefined;
    const route = key === undefined ? undefined : serveOut.routes[key];
    if (route === undefined) return { by: "by MX", tls: policy ?? "as the domain asks" };
    return { by: `via ${route.host}:${route.port}`, tls: policy ?? route.tls };
  }

  /** Whether a login may send as an address; `undefined` where that cannot be determined. */
  maySend(login: string, sender: string): boolean | undefined {
    const parsed = read(sender);
    if (parsed === undefined || this.#senders === undefined) return undefined;
    return this.#senders.maySend(login, parsed);
  }

  /** Octets of a message that a server takes. */
  maxSize(server: string): number {
    const { serveIn, serveOut, serveSubmit } = this.#config;
    if (server === "serve-in") return serveIn.maxMessageSize;
    if (server === "serve-out") return serveOut.maxMessageSize;
    return Math.min(serveSubmit?.maxMessageSize ?? 0, serveOut.maxMessageSize);
  }

  /** Recipients of a message that a server takes. */
  maxRecipients(server: string): number {
    const { serveIn, serveOut, serveSubmit } = this.#config;
    if (server === "serve-in") return serveIn.maxRecipients;
    return server === "serve-out" ? serveOut.maxRecipients : serveSubmit?.maxRecipients ?? 0;
  }
}

function read(address: string): { readonly localPart: string; readonly domain: string } | undefined {
  try {
    const { localPart, domain } = parseMailbox(address, { smtputf8: true, bare: "any" });
    return { localPart, domain };
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}

/** The domain of an address, as routes are named. */
export function domainOf(address: string): string {
  const domain = address.slice(address.lastIndexOf("@") + 1);
  return domain.startsWith("[") ? domain : normalizeDomain(domain) ?? domain;
}
