/**
 * Replies as a client reads them (RFC 5321 §4.2), from a server that may send anything.
 *
 * @module
 */
import { latin1 } from "../base/latin1.ts";
import type { EnhancedStatusCode } from "./reply.ts";
import type { Transport } from "../net/transport.ts";

/** What the other server said. */
export interface RemoteReply {
  /** 200–599. */
  readonly code: number;
  /** The enhanced status code, where it gave one that fits the code (RFC 2034). */
  readonly enhanced?: EnhancedStatusCode;
  /** The text of each line as it was sent, enhanced status code included; control bytes became `?`. */
  readonly lines: readonly string[];
}

/** What came is not a reply; the two sides may disagree about what comes next, so nothing more can be said. */
export class ReplyError extends Error {
  /** `message` says what is wrong with it. */
  constructor(message: string) {
    super(message);
    this.name = "ReplyError";
  }
}

/** The server ended the connection where a reply was due. */
export class EndOfReplies extends Error {
  /** `message` says how it ended. */
  constructor(message = "connection closed by the server") {
    super(message);
    this.name = "EndOfReplies";
  }
}

/** The reply as text: each line with its code, joined by LF. */
export function replyText(reply: RemoteReply): string {
  const last = reply.lines.length - 1;
  return reply.lines.map((line, i) => `${reply.code}${i === last ? " " : "-"}${line}`).join("\n");
}

// §4.5.3.1.5 has 512; real servers write longer lines, and EHLO has many.
const MAX_LINE = 4096;
const MAX_LINES = 128;
const MAX_TEXT = 64 * 1024;
const MAX_UNFINISHED = 2000;
const CR = 13;
const LF = 10;

// What a server says is shown on terminals, in logs and in notices.
// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

/** Reads replies off a transport. A reply has at most 128 lines of 4,096 octets and 64 KiB in all. */
export class ReplyReader {
  readonly #transport: Transport;
  readonly #buffer = new Uint8Array(2 * MAX_LINE);
  #start = 0;
  #end = 0;
  readonly #decoder = new TextDecoder();
  /** The lines of the reply under way, with their codes. */
  #heard: string[] = [];

  /** Reads from this transport, which nothing else may read. */
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * Whether more has come than was read, other than a farewell, which a server may say unasked (421, §3.8). Where no
   * reply is due the two sides are out of step: what comes next would be taken for the reply to another command.
   */
  get isAhead(): boolean {
    const unread = this.#buffer.subarray(this.#start, this.#end);
    return unread.length > 0 && latin1(unread.subarray(0, 3)) !== "421";
  }

  /**
   * The outcome of a reply that {@linkcode read} could not return, or that nothing asked for: each line with its own
   * code, joined by LF, control bytes as `?`; at most 2,000 characters.
   */
  get unfinished(): string {
    const rest = this.#decoder.decode(this.#buffer.subarray(this.#start, this.#end)).replaceAll("\r\n", "\n");
    const lines = [...this.#heard, ...rest.split("\n")].map((line) => line.replace(CONTROL, "?"));
    return lines.filter((line) => line !== "").join("\n").slice(0, MAX_UNFINISHED);
  }

  /**
   * Reads one reply.
   * @throws {ReplyError} when it is malformed or too long
   * @throws {EndOfReplies} when the connection ends first
   * @throws what the transport throws
   */
  async read(): Promise<RemoteReply> {
    const lines: string[] = [];
    let first = "";
    let length = 0;
    for (;;) {
      const line = await this.#readLine();
      this.#heard.push(line);
      // Without `s` the dot would not match U+2028 and U+2029, which are text like any other.
      const match = /^([2-5]\d\d)(?:([ -])(.*))?$/s.exec(line);
      const [, code = "", separator = " ", text = ""] = match ?? [];
      if (match === null) throw new ReplyError("not a reply");
      if (lines.length === 0) first = code;
      else if (code !== first) throw new ReplyError("different codes in one reply");
      lines.push(text.replace(CONTROL, "?"));
      if (separator === " ") {
        this.#heard = [];
        return remoteReply(Number(code), lines);
      }
      length += text.length;
      if (lines.length === MAX_LINES || length > MAX_TEXT) throw new ReplyError("a reply without end");
    }
  }

  async #readLine(): Promise<string> {
    let searched = this.#start;
    for (;;) {
      const lf = this.#buffer.subarray(0, this.#end).indexOf(LF, searched);
      if (lf !== -1) {
        // Some servers end their lines with CR CR LF.
        let end = lf;
        while (end > this.#start && this.#buffer[end - 1] === CR) end--;
        const line = this.#buffer.subarray(this.#start, end);
        const valid = end < lf && !line.includes(CR) && !line.includes(0);
        this.#start = lf + 1;
        if (!valid) {
          this.#heard.push(this.#decoder.decode(line));
          throw new ReplyError("a reply with a bare CR, a bare LF or a NUL");
        }
        return this.#decoder.decode(line);
      }
      if (this.#end - this.#start >= MAX_LINE) throw new ReplyError("a reply line that is too long");
      searched = this.#end;
      if (this.#start > 0) {
        this.#buffer.copyWithin(0, this.#start, this.#end);
        searched -= this.#start;
        this.#end -= this.#start;
        this.#start = 0;
      }
      const size = await this.#transport.read(this.#buffer.subarray(this.#end));
      if (size === null) throw new EndOfReplies();
      this.#end += size;
    }
  }
}

function remoteReply(code: number, lines: readonly string[]): RemoteReply {
  const enhanced = /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/.exec(lines.at(-1) ?? "")?.[1];
  return enhanced !== undefined && Number(enhanced[0]) === Math.floor(code / 100)
    ? { code, enhanced: enhanced as EnhancedStatusCode, lines }
    : { code, lines };
}
