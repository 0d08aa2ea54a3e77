/**
 * The resolver, whose answers keep "there is none" apart from "unknown":
 * only the first may lead a relay to another record type or to a failure (RFC 5321 §5.1).
 *
 * `Deno.resolveDns` finds MX, A and AAAA records in half the time of our own client, but says the same of a name that
 * does not exist, of one without such records, and of a server that failed (denoland/deno#36561), and shows A-labels as
 * U-labels. So only what it finds is believed, and only plain names; for all else the question is asked again over the
 * wire. Of an answer that does not fit it writes a line to standard error, unless Deno runs with `--quiet`.
 *
 * @module
 */
import { counters } from "../base/counters.ts";
import type { Clock } from "../base/clock.ts";
import { type Logger, silentLogger } from "../base/log.ts";
import { AnswerCache } from "./answer_cache.ts";
import { giveUpWith } from "./give_up.ts";
import { canonicalAnyName, canonicalName, reverseName } from "./name.ts";
import { isPlain, readMx, readNames, readText, readTlsa, readTxt } from "./records.ts";
import { parseDnsServer, resolvConfServers, type ScopeOf, type ServerList } from "./servers.ts";
import { SharedQuestions } from "./shared_questions.ts";
import { TcpChannel } from "./tcp_channel.ts";
import type { RecordType, WireAnswer } from "./wire_answer.ts";
import { askWire, type DnsServer, EdnsMemory } from "./wire_client.ts";

const questions = counters("mailapp_dns_questions_total", {
  help: "Questions to DNS that no kept answer covered, by record type and result",
  labels: ["type", "result"],
});

/** The answer to a query. */
export type Answer<T> = AnswerKinds<T> & {
  /** When it came, in milliseconds of the resolver's monotonic clock; absent where that is not known. */
  readonly at?: number;
};

type AnswerKinds<T> =
  /** There are records; at least one. Where DNSSEC is used, `expanded` is the name at the end of aliases, if any. */
  | {
    readonly kind: "found";
    readonly records: readonly T[];
    readonly authenticated: boolean;
    readonly expanded?: string;
    /** Of TLSA records, in seconds. */ readonly ttl?: number;
  }
  /** The name exists and has no record of the type; said by an authority. */
  | { readonly kind: "none"; readonly authenticated: boolean }
  /** The name does not exist (NXDOMAIN). */
  | { readonly kind: "no-such-name"; readonly authenticated: boolean }
  /** Unknown: SERVFAIL, REFUSED, a timeout, a network error, a malformed answer. */
  | { readonly kind: "failed"; readonly reason: string };

/** One MX record. */
export interface MxRecord {
  /** 0–65535; the lowest goes first. */
  readonly preference: number;
  /** The host in lower case without a trailing dot; `"."` is the null MX (RFC 7505). */
  readonly exchange: string;
}

/** One TLSA record (RFC 6698 §2.1). */
export interface TlsaRecord {
  /** 0–3; what of the chain it names. */
  readonly usage: number;
  /** 0 the whole certificate, 1 its public key. */
  readonly selector: number;
  /** 0 the data itself, 1 SHA-256, 2 SHA-512. */
  readonly matchingType: number;
  /** What to compare with. */
  readonly data: Uint8Array;
}

/** How to ask. */
export interface QueryOptions {
  /** Aborts the wait; the answer is then `failed`. */
  readonly signal?: AbortSignal;
  /**
   * Only records are of interest: what is not found at once may be answered `failed`, even where an authority would
   * say that there is none. Costs a fraction of a full answer, for the many hosts without IPv6.
   */
  readonly quick?: boolean;
  /**
   * The name may have any printable characters, as the macros of SPF make them; without it such a name is answered
   * `no-such-name`.
   */
  readonly anyOctets?: boolean;
  /**
   * One of many questions about different names. Where others of the kind are under way, it goes with them over one
   * connection to a DNS server that takes TCP, at a third to half of the cost of a datagram with its own port.
   */
  readonly shared?: boolean;
}

/**
 * Asks DNS. Names are absolute, with or without the trailing dot, IDN as A-labels. No method throws: what cannot be a
 * domain name is `no-such-name`. `authenticated` is the AD bit of a server that is trusted to validate, else false.
 * The search list of resolv.conf and /etc/hosts are never consulted: mail routing is a matter of DNS alone.
 */
export interface Resolver {
  /** Mail exchangers, in no order. */
  mx(name: string, options?: QueryOptions): Promise<Answer<MxRecord>>;
  /** IPv4 addresses; aliases are followed. */
  a(name: string, options?: QueryOptions): Promise<Answer<string>>;
  /** IPv6 addresses; aliases are followed. */
  aaaa(name: string, options?: QueryOptions): Promise<Answer<string>>;
  /** Text records, the strings of each joined, bytes above 127 as UTF-8 (replaced where invalid). */
  txt(name: string, options?: QueryOptions): Promise<Answer<string>>;
  /** Names of an IP address, which is given as such and turned round here. */
  ptr(address: string, options?: QueryOptions): Promise<Answer<string>>;
  /** The alias of this very name. */
  cname(name: string, options?: QueryOptions): Promise<Answer<string>>;
  /** TLSA records of a name such as `_25._tcp.mx.example.com`. */
  tlsa(name: string, options?: QueryOptions): Promise<Answer<TlsaRecord>>;
}

/** What a resolver depends on. */
export interface DnsResolverOptions {
  /** Measures waits and the age of answers. */
  readonly clock: Clock;
  /** Servers as `192.0.2.1:5353`; empty = those of resolv.conf, read again as it changes. */
  readonly servers?: readonly string[];
  /** Whether these servers validate and their AD bit is to be trusted; then all is asked over the wire. */
  readonly dnssec?: boolean;
  /** The path of resolv.conf; default `/etc/resolv.conf`. */
  readonly resolvConf?: string;
  /** Takes `dns.resolv_conf`: what is wrong with that file. */
  readonly logger?: Logger;
  /** For a process that may connect to these servers alone; absent: it may do anything. */
  readonly confined?: Confinement;
}

/**
 * What a process may do that can connect to its DNS servers and send no datagrams of its own. It has people waiting,
 * too: as long as no server answers, each question gets a second.
 */
export interface Confinement {
  /** Whether it may connect to this server. */
  readonly mayAsk: (server: DnsServer) => boolean;
  /** Finds the zone of a link-local server in resolv.conf. */
  readonly scopeOf: ScopeOf;
}

// Milliseconds. `Deno.resolveDns` does not tell the TTL.
const FOUND_FOR = 60_000;
const LONGEST = 300_000;
const NEGATIVE_LONGEST = 60_000;
const NOT_FOUND_AT_ONCE_FOR = 30_000;
// Long enough to spare a dead server a question per message, short enough to notice that it is back.
const FAILED_FOR = 5_000;
// After it failed to answer, a server is asked last for so long.
const DEMOTED_FOR = 30_000;
// After this many queries in a row without an answer a confined process treats DNS as down until there is one.
const SILENT_AFTER = 3;
const SHORT_TIMEOUTS: readonly number[] = [1_000];
// Each has its own socket; what is more goes over the one connection of TCP.
const MAX_SYSTEM_QUESTIONS = 200;

/**
 * A {@linkcode Resolver} on DNS servers. Answers are kept for as long as they say, at most five minutes, and for one
 * minute where that is not known; equal questions at the same time are asked once.
 */
export class DnsResolver implements Resolver {
  readonly #clock: Clock;
  readonly #dnssec: boolean;
  readonly #servers: () => Promise<ServerList>;
  readonly #edns: EdnsMemory;
  readonly #cache: AnswerCache<Answer<unknown>>;
  readonly #demoted = new Map<string, number>();
  /** By address and port; absent where datagrams may be sent. */
  readonly #channels: Map<string, TcpChannel> | undefined;
  readonly #shared: SharedQuestions;
  /** Questions in a row that no server answered; until the first answer nothing is known to answer. */
  #unanswered = SILENT_AFTER;
  #systemQuestions = 0;

  /**
   * Sends no queries yet.
   * @throws {RangeError} when a server is not an address with an optional port
   */
  constructor(options: DnsResolverOptions) {
    const { clock, servers = [], dnssec = false, resolvConf = "/etc/resolv.conf", logger = silentLogger } =
      options;
    this.#clock = clock;
    this.#edns = new EdnsMemory(clock);
    this.#shared = new SharedQuestions({ clock, edns: this.#edns });
    this.#dnssec = dnssec;
    this.#cache = new AnswerCache(clock);
    const { confined } = options;
    if (confined !== undefined) this.#channels = new Map();
    const fixed = servers.map((text) => {
      const server = parseDnsServer(text);
      if (server === undefined) throw new RangeError(`not a DNS server's address: ${text}`);
      return server;
    });
    const onProblems = (problems: readonly string[]) => {
      for (const problem of problems) logger.warn("dns.resolv_conf", { path: resolvConf, problem });
    };
    this.#servers = fixed.length > 0
      ? () => Promise.resolve({ servers: fixed, problems: [] })
      : resolvConfServers(resolvConf, { clock, onProblems, ...confined });
  }

  /** See {@linkcode Resolver}. The best 100 by preference. */
  mx(name: string, options?: QueryOptions): Promise<Answer<MxRecord>> {
    return this.#ask(name, "MX", { ...options, read: readMx });
  }

  a(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#ask(name, "A", { ...options, read: readText });
  }

  aaaa(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#ask(name, "AAAA", { ...options, read: readText });
  }

  txt(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#ask(name, "TXT", { ...options, read: readTxt });
  }

  ptr(address: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#ask(reverseName(address), "PTR", { ...options, read: readNames });
  }

  cname(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#ask(name, "CNAME", { ...options, read: readNames });
  }

  tlsa(name: string, options?: QueryOptions): Promise<Answer<TlsaRecord>> {
    return this.#ask(name, "TLSA", { ...options, read: readTlsa });
  }

  /** Clears the cache, as after a change of the zone in a test or on SIGHUP. */
  forget(): void {
    this.#cache.clear();
    this.#demoted.clear();
  }

  async #ask<T>(
    name: string,
    type: RecordType,
    { read, signal, quick = false, anyOctets = false, shared = false }: QueryOptions & {
      readonly read: (records: readonly unknown[]) => T[];
    },
  ): Promise<Answer<T>> {
    const canonical = canonicalName(name) ?? (anyOctets ? canonicalAnyName(name) : undefined);
    if (canonical === undefined) return { kind: "no-such-name", authenticated: false };
    const key = `${type} ${canonical}`;
    const kept = this.#cache.peek(key);
    if (kept !== undefined && signal?.aborted !== true) return kept as Answer<T>;
    const answer = quick && this.#asksSystem(canonical, type)
      ? this.#quickly(canonical, type, read)
      : this.#cache.get(
        key,
        () => shared ? this.#lookTogether(canonical, type, read) : this.#look(canonical, type, read),
      );
    return await giveUpWith(signal, answer) as Answer<T>;
  }

  /**
   * Whether `Deno.resolveDns` is asked first: not where the AD bit is wanted, which it does not tell, and not for a
   * name with characters that it would take for something else.
   */
  #asksSystem(name: string, type: RecordType): type is SystemType {
    return !this.#dnssec && canonicalName(name) !== undefined &&
      (type === "MX" || type === "A" || type === "AAAA" ||
        // The system's datagrams take no permission, so that it is quicker than TCP.
        this.#channels !== undefined && (type === "TXT" || type === "PTR"));
  }

  async #quickly(
    name: string,
    type: SystemType,
    read: (records: readonly unknown[]) => unknown[],
  ): Promise<Answer<unknown>> {
    return this.#cache.peek(`${type} ${name}`) ?? await this.#cache.get(`quick ${type} ${name}`, async () => {
      const { servers } = await this.#inOrder();
      const records = read(await this.#resolve(name, type, servers));
      const at = this.#clock.monotonic();
      return records.length > 0
        ? { value: { kind: "found", records, authenticated: false, at }, keep: FOUND_FOR }
        : { value: { kind: "failed", reason: "not found at once", at }, keep: NOT_FOUND_AT_ONCE_FOR };
    });
  }

  async #look(
    name: string,
    type: RecordType,
    read: (records: readonly unknown[]) => unknown[],
  ): Promise<{ value: Answer<unknown>; keep: number }> {
    const { servers, problems } = await this.#inOrder();
    if (servers.length === 0) {
      const reason = `no DNS server to ask: ${problems[0] ?? "none is set"}`;
      return { value: { kind: "failed", reason }, keep: FAILED_FOR };
    }
    const isDown = this.#channels !== undefined && this.#unanswered >= SILENT_AFTER;
    const busy = this.#channels !== undefined && this.#systemQuestions >= MAX_SYSTEM_QUESTIONS;
    if (!isDown && !busy && this.#asksSystem(name, type)) {
      const answer = await this.#quickly(name, type, read);
      if (answer.kind === "found") {
        questions.with(type, answer.kind).add();
        return { value: answer, keep: FOUND_FOR };
      }
    }
    let silent = false;
    const answer = await askWire(name, type, {
      servers,
      clock: this.#clock,
      edns: this.#edns,
      ...(isDown && { timeouts: SHORT_TIMEOUTS }),
      unanswered: ({ address, port }) => {
        silent = true;
        this.#demoted.set(`${address} ${port}`, this.#clock.monotonic() + DEMOTED_FOR);
      },
      ...(this.#channels !== undefined && { channel: (server) => this.#channel(server) }),
    });
    questions.with(type, answer.kind).add();
    this.#unanswered = silent && answer.kind === "failed" ? this.#unanswered + 1 : 0;
    return this.#digest(answer, read);
  }

  /** As {@linkcode DnsResolver.#look}, if possible with others over one connection. */
  async #lookTogether(
    name: string,
    type: RecordType,
    read: (records: readonly unknown[]) => unknown[],
  ): Promise<{ value: Answer<unknown>; keep: number }> {
    using _question = this.#shared.begin();
    const [server] = this.#channels === undefined ? (await this.#inOrder()).servers : [];
    const answer = server && await this.#shared.ask(name, { type, server });
    if (answer === undefined) return await this.#look(name, type, read);
    questions.with(type, answer.kind).add();
    return this.#digest(answer, read);
  }

  #channel({ address, port }: DnsServer): TcpChannel {
    const key = `${address} ${port}`;
    let channel = this.#channels?.get(key);
    if (channel === undefined) {
      channel = new TcpChannel({ address, port, clock: this.#clock });
      this.#channels?.set(key, channel);
    }
    return channel;
  }

  /** What `Deno.resolveDns` finds; nothing where it finds nothing usable, for whatever reason. */
  async #resolve(
    name: string,
    type: SystemType,
    servers: readonly DnsServer[],
  ): Promise<readonly unknown[]> {
    const [server] = servers;
    // It takes no zone.
    if (server === undefined || server.address.includes("%")) return [];
    this.#systemQuestions++;
    try {
      // The trailing dot keeps the search list of resolv.conf out; the signal bounds the wait to two seconds.
      const records: readonly unknown[] = await Deno.resolveDns(`${name}.`, type as "A", {
        nameServer: { ipAddr: server.address, port: server.port },
        signal: new AbortController().signal,
      });
      return records.every(isPlain) ? records : [];
    } catch {
      return [];
    } finally {
      this.#systemQuestions--;
    }
  }

  #digest(
    answer: WireAnswer,
    read: (records: readonly unknown[]) => unknown[],
  ): { value: Answer<unknown>; keep: number } {
    const at = this.#clock.monotonic();
    if (answer.kind === "failed") return { value: { ...answer, at }, keep: FAILED_FOR };
    const authenticated = this.#dnssec && answer.authenticated;
    const { kind, ttl } = answer;
    const keep = Math.min(ttl * 1000, kind === "found" ? LONGEST : NEGATIVE_LONGEST);
    if (kind !== "found") return { value: { kind, authenticated, at }, keep };
    const records = read(answer.records);
    if (records.length === 0) return { value: { kind: "none", authenticated, at }, keep };
    const { expanded } = answer;
    const end = this.#dnssec && expanded !== undefined && { expanded };
    return { value: { kind, records, authenticated, at, ...end, ...(read === readTlsa && { ttl }) }, keep };
  }

  /** Servers that answer first. */
  async #inOrder(): Promise<ServerList> {
    const list = await this.#servers();
    const { servers } = list;
    const now = this.#clock.monotonic();
    const demoted = ({ address, port }: DnsServer) => (this.#demoted.get(`${address} ${port}`) ?? 0) > now;
    if (this.#demoted.size === 0) return list;
    return {
      ...list,
      servers: [...servers.filter((server) => !demoted(server)), ...servers.filter(demoted)],
    };
  }
}

/** What `Deno.resolveDns` is asked for. */
type SystemType = "MX" | "A" | "AAAA" | "TXT" | "PTR";
