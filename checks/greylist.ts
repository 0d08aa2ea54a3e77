/**
 * Greylisting (RFC 6647): a sender that is not known here is asked once to try again, which programs that only spread
 * junk do not do. Senders are known by the network that they come from and the domain that they send for.
 *
 * @module
 */
import { networkOf } from "../net/ip_address.ts";
import { normalizeDomain } from "../net/domain_name.ts";

/** Whose mail it is. */
export interface GreylistSender {
  /** The client's IP address. */
  readonly ip: string;
  /** Of the reverse-path, or of HELO where that is empty. */
  readonly domain: string;
  /** Whether SPF passed: the domain then is known by itself, from whichever of its networks it comes. */
  readonly authorized?: boolean;
}

/** An entry that changed, to be written down. */
export interface GreylistEntry {
  /** `seen`: asked to come again; `known`: came again, and is never asked any more. */
  readonly state: "seen" | "known";
  /** Seconds since the epoch: when it was first seen, or the day on which it was last known. */
  readonly time: number;
  /** `192.0.2.0/24`, `2001:db8:0:1::/64`, or `-` for a domain known by itself. */
  readonly network: string;
  /** Lower case; `*` where there were too many of one network. */
  readonly domain: string;
}

/** What to do. */
export type GreylistDecision = { readonly known: true } | {
  readonly known: false;
  /** In how many milliseconds it will be let in. */
  readonly waitMs: number;
  /** The client's network. */
  readonly network: string;
};

/** Where senders are asked about: the list itself, or the thread that has it. */
export interface GreylistPort {
  /** Whether the sender is known; with the question it has been seen. */
  ask(sender: GreylistSender): GreylistDecision | Promise<GreylistDecision>;
}

/** What the list depends on. */
export interface GreylistOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Called with each change. */
  readonly changed?: (entry: GreylistEntry) => void;
}

// Seconds. Shorter than any mail server's first retry, and longer than those who send on at once.
const DELAY = 60;
// A sender that tries again only after so long has to be seen once more.
const SEEN_FOR = 2 * 86_400;
// Long enough for a monthly newsletter.
const KNOWN_FOR = 36 * 86_400;
const DAY = 86_400;
const MAX_ENTRIES = 50_000;
const MAX_DOMAINS_OF_A_NETWORK = 100;
const MAX_AUTHORIZED = 10_000;

/** An entry without its state. */
type Sender = Pick<GreylistEntry, "network" | "domain">;

/**
 * Senders seen and known, in bounded memory: 50,000 of each, the oldest of which go first. A network that sends
 * for more than 100 domains is asked as one, and up to 10,000 domains are known by themselves, so that no one can push
 * out others.
 */
export class Greylist {
  readonly #now: () => number;
  readonly #changed: (entry: GreylistEntry) => void;
  /** When each was first seen, oldest first. */
  readonly #seen = new Map<string, number>();
  /** When each was last known, oldest first. */
  readonly #known = new Map<string, number>();
  /** How many entries each network has. */
  readonly #domains = new Map<string, number>();

  /** Starts empty. */
  constructor({ now, changed = () => {} }: GreylistOptions) {
    this.#now = now;
    this.#changed = changed;
  }

  /** How many entries there are. */
  get size(): number {
    return this.#seen.size + this.#known.size;
  }

  /** Whether the sender is known; with the question it has been seen. */
  ask(question: GreylistSender): GreylistDecision {
    const now = Math.floor(this.#now() / 1000);
    const sender = this.#senderOf(question);
    if (this.#isKnown(sender, now)) return { known: true };
    const first = this.#seen.get(keyOf(sender));
    // A clock that was set back does no harm.
    const age = first === undefined ? Infinity : now < first ? DELAY : now - first;
    const network = networkOf(question.ip);
    if (age > SEEN_FOR) {
      this.#set(this.#seen, sender, now);
      this.#changed({ state: "seen", time: now, ...sender });
      return { known: false, waitMs: DELAY * 1000, network };
    }
    if (age < DELAY) return { known: false, waitMs: (DELAY - age) * 1000, network };
    this.#know(sender, now);
    return { known: true };
  }

  /** Whether the sender would be let in now; unlike {@linkcode Greylist.ask} it leaves no trace. */
  knows(question: GreylistSender): boolean {
    const now = Math.floor(this.#now() / 1000);
    const key = keyOf(this.#senderOf(question));
    const [known, first] = [this.#known.get(key), this.#seen.get(key)];
    return known !== undefined && now - known <= KNOWN_FOR ||
      first !== undefined && (now < first || now - first >= DELAY && now - first <= SEEN_FOR);
  }

  /** Takes an entry from an earlier process; a later one of the same sender replaces it. */
  restore({ state, time, network, domain }: GreylistEntry): void {
    this.#set(state === "known" ? this.#known : this.#seen, { network, domain }, time);
  }

  /** All that is still of use, oldest first. */
  *entries(): Generator<GreylistEntry> {
    const now = Math.floor(this.#now() / 1000);
    for (
      const [state, map, lasts] of [["seen", this.#seen, SEEN_FOR], [
        "known",
        this.#known,
        KNOWN_FOR,
      ]] as const
    ) {
      for (const [key, time] of map) {
        const [network = "", domain = ""] = key.split(" ");
        if (now - time <= lasts) yield { state, time, network, domain };
      }
    }
  }

  /** Under which name a sender is kept. */
  #senderOf({ ip, domain, authorized = false }: GreylistSender): Sender {
    const name = normalizeDomain(domain) ?? "<>";
    if (authorized) {
      const sender = { network: BY_ITSELF, domain: name };
      if (this.#hasRoom(sender, MAX_AUTHORIZED)) return sender;
    }
    const sender = { network: networkOf(ip), domain: name };
    return this.#hasRoom(sender, MAX_DOMAINS_OF_A_NETWORK) ? sender : { ...sender, domain: "*" };
  }

  #hasRoom(sender: Sender, most: number): boolean {
    const key = keyOf(sender);
    return this.#seen.has(key) || this.#known.has(key) || (this.#domains.get(sender.network) ?? 0) < most;
  }

  #isKnown(sender: Sender, now: number): boolean {
    const known = this.#known.get(keyOf(sender));
    if (known === undefined) return false;
    if (now - known > KNOWN_FOR) {
      this.#forget(keyOf(sender));
      return false;
    }
    if (Math.abs(now - known) >= DAY) this.#know(sender, now);
    return true;
  }

  #know(sender: Sender, now: number): void {
    this.#set(this.#known, sender, now);
    this.#changed({ state: "known", time: now, ...sender });
  }

  /** Puts the sender at the end of a map, and into no other. */
  #set(map: Map<string, number>, sender: Sender, time: number): void {
    const key = keyOf(sender);
    this.#forget(key);
    if (map.size >= MAX_ENTRIES) {
      const [oldest] = map.keys();
      if (oldest !== undefined) this.#forget(oldest);
    }
    map.set(key, time);
    this.#domains.set(sender.network, (this.#domains.get(sender.network) ?? 0) + 1);
  }

  #forget(key: string): void {
    if (!this.#seen.delete(key) && !this.#known.delete(key)) return;
    const network = key.slice(0, key.indexOf(" "));
    const left = (this.#domains.get(network) ?? 1) - 1;
    if (left === 0) this.#domains.delete(network);
    else this.#domains.set(network, left);
  }
}

/** The network of a domain that is known from whichever network it comes. */
const BY_ITSELF = "-";

function keyOf({ network, domain }: Sender): string {
  return `${network} ${domain}`;
}
