/**
 * Many questions at the same time over one connection of TCP to a DNS server, which costs a third of a datagram with a
 * port of its own for each.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { TcpChannel } from "./tcp_channel.ts";
import type { RecordType, WireAnswer } from "./wire_answer.ts";
import { askWire, type DnsServer, type EdnsMemory } from "./wire_client.ts";

// Fewer at a time, or within a second, are not worth a connection.
const MIN_QUESTIONS = 4;
const MIN_A_SECOND = 10;
const SECOND = 1_000;
// For the next questions, in milliseconds.
const LINGER = 1_000;
const TIMEOUTS: readonly number[] = [3_000];
// A server that did not answer in time, or takes no TCP, is left alone for so long.
const NOT_SHARED_FOR = 60_000;
const MAX_SERVERS = 100;

/** Asks over TCP where that pays. */
export class SharedQuestions {
  readonly #clock: Clock;
  readonly #edns: EdnsMemory;
  readonly #channels = new Map<string, TcpChannel>();
  /** Until when a server is not asked so, by its address and port. */
  readonly #unsuited = new Map<string, number>();
  #running = 0;
  /** Questions of this second and of the one before. */
  #begun = 0;
  #begunBefore = 0;
  #second = -Infinity;

  /** Connects at the first question. */
  constructor({ clock, edns }: { readonly clock: Clock; readonly edns: EdnsMemory }) {
    this.#clock = clock;
    this.#edns = edns;
  }

  /** Counts a question, whichever way it goes, until that is disposed of. */
  begin(): Disposable {
    this.#running++;
    const passed = this.#clock.monotonic() - this.#second;
    if (passed >= SECOND) {
      this.#begunBefore = passed < 2 * SECOND ? this.#begun : 0;
      this.#begun = 0;
      this.#second = this.#clock.monotonic();
    }
    this.#begun++;
    return { [Symbol.dispose]: () => void this.#running-- };
  }

  /**
   * The answer; `undefined` where the question is to be asked in another way: there are few, or the server does not
   * answer so, or only says that it failed. Never rejects.
   */
  async ask(
    name: string,
    { type, server }: { readonly type: RecordType; readonly server: DnsServer },
  ): Promise<WireAnswer | undefined> {
    const key = `${server.address} ${server.port}`;
    const many = this.#running >= MIN_QUESTIONS || Math.max(this.#begun, this.#begunBefore) >= MIN_A_SECOND;
    if (!many || (this.#unsuited.get(key) ?? 0) > this.#clock.monotonic()) {
      return undefined;
    }
    let silent = false;
    const answer = await askWire(name, type, {
      servers: [server],
      clock: this.#clock,
      edns: this.#edns,
      timeouts: TIMEOUTS,
      unanswered: () => silent = true,
      channel: () => this.#channel(key, server),
    });
    if (silent) this.#leaveAlone(key);
    return answer.kind === "failed" ? undefined : answer;
  }

  #leaveAlone(key: string): void {
    if (this.#unsuited.size >= MAX_SERVERS) this.#unsuited.clear();
    this.#unsuited.set(key, this.#clock.monotonic() + NOT_SHARED_FOR);
  }

  #channel(key: string, { address, port }: DnsServer): TcpChannel {
    let channel = this.#channels.get(key);
    if (channel === undefined) {
      if (this.#channels.size >= MAX_SERVERS) this.#channels.clear();
      channel = new TcpChannel({ address, port, clock: this.#clock, linger: LINGER });
      this.#channels.set(key, channel);
    }
    return channel;
  }
}
