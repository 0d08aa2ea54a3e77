/**
 * What a server must say and store, told from what was sent to it and what it said. Written from RFC 5321, 3030, 3207
 * and docs, and not from the server's code, so that a mistake has to be made twice to go unseen. Longer than other
 * files because it is one walk over the dialogue: all commands share what the walk knows of the session.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { StoredMessage } from "../support/recording_delivery.ts";
import { bytesOf } from "../support/bytes.ts";
import type { Script } from "./dialogue.ts";

/** A handshake as the server began it. */
export interface Upgrade {
  /** Octets of the connection that the server had read when it began. */
  readonly begun: number;
  /** Octets that it had read when it was over; `undefined` where it failed or never ended. */
  done?: number;
}

/** The outcome of a dialogue. Texts have one character a byte. */
export interface Outcome {
  /** All that the client sent, encrypted where it was. */
  readonly sent: string;
  /** All that the client read. */
  readonly heard: string;
  readonly upgrades: readonly Upgrade[];
  /** Addresses that the delivery was asked about and did not refuse, in order. */
  readonly senders: readonly string[];
  readonly recipients: readonly string[];
  readonly refusedRecipients: number;
  readonly stored: readonly StoredMessage[];
  /** The client may not have read all that was said to it. */
  readonly lost: boolean;
  /** Time has passed, so that deadlines may have. */
  readonly late: boolean;
  /** The server was told to stop. */
  readonly stopped: boolean;
}

/** What the pretended TLS makes of a text, and back. */
export function encrypted(text: string): string {
  return text.replace(/[^]/g, (character) => String.fromCharCode(character.charCodeAt(0) ^ 0xff));
}

/** What begins the pretended handshake, and what answers it. */
export const CLIENT_HELLO = "\x16client hello";
export const SERVER_HELLO = "\x16server hello";

interface Reply {
  readonly code: number;
  readonly status: string;
  readonly lines: readonly string[];
}

interface Transaction {
  readonly from: string;
  readonly to: string[];
  /** What BDAT has brought. */
  chunks: string | undefined;
}

const VERBS = [
  ...[
    "EHLO",
    "HELO",
    "MAIL",
    "RCPT",
    "DATA",
    "BDAT",
    "RSET",
    "NOOP",
    "QUIT",
    "HELP",
    "STARTTLS",
    "AUTH",
    "VRFY",
  ],
  "EXPN",
];
const LINE_LIMIT = 2048;
/** A line that is more likely one of a message than a command. */
const LIKE_DATA = /^(?:$|[.\s]|[!-9;-~]+[ \t]*:)/;
const COUNTED_AS_ERROR = [500, 501, 502, 503, 504, 555];
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenientDecoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A path that is surely taken: with angle brackets or without, after blanks or not. */
const PLAIN_PATH =
  /^FROM:[ \t]*(<[a-z]{1,20}@[a-z]{1,20}\.[a-z]{1,20}>|[a-z]{1,20}@[a-z]{1,20}\.[a-z]{1,20})$/i;

/** Whether the path of a MAIL or RCPT is this one; "" is the null path. */
function isPathIn(argument: string, path: string): boolean {
  const written = argument.slice(argument.indexOf(":") + 1).replace(/^[ \t]+/, "");
  // Dots where the grammar has none are taken without quotes, and handed on in quotes.
  const unquoted = path.replace(/^"([^"\\ ]*\.[^"\\ ]*)"@/, "$1@");
  return [path, unquoted].some((spelling) =>
    written.startsWith("<")
      ? written.includes(spelling === "" ? "<>" : `${spelling}>`)
      : spelling !== "" && (written === spelling || written.startsWith(`${spelling} `))
  );
}

/** @throws {assert.AssertionError} that says what the server did wrong */
export function check(script: Script, outcome: Outcome): void {
  new Walk(script, outcome).walk();
}

/** Whether a text has a bare CR or LF; where more follows, a CR at its end is not bare yet. */
function isBare(text: string, { more = false } = {}): boolean {
  return /\r(?!\n)|(?<!\r)\n/.test(more ? text.replace(/\r$/, "") : text);
}

/** What of a text is stored. */
function stored(
  text: string,
  { dots, repair }: { readonly dots: boolean; readonly repair: boolean },
): string {
  const lines = text.split("\r\n").map((line, index, { length }) => {
    // A repaired line end is none that dots were stuffed after.
    const unstuffed = dots && line.startsWith(".") && !(repair && line[1] === "\n") ? line.slice(1) : line;
    // CR CR LF is one line end, and so are some more.
    const ended = index < length - 1 ? unstuffed.replace(/\r{1,7}$/, "") : unstuffed;
    return repair ? ended.replace(/\r/g, " ").replace(/\n/g, "\r\n") : unstuffed;
  });
  return lines.join("\r\n");
}

/** What a delivery gets of it: where no field begins it, the empty line that ends the header section stands before it. */
function begun(text: string): string {
  const fields = text.replace(/^\xef\xbb\xbf/, "").replace(/^(?:>*From [^\r\n]*\r\n)*/, "");
  if (/^[!-9;-~]+[ \t]*:/.test(fields)) return fields;
  return text === "" || text.startsWith("\r\n") ? text : `\r\n${text}`;
}

/** Goes through both sides of a dialogue at once. */
class Walk {
  readonly #script: Script;
  readonly #outcome: Outcome;
  #input: string;
  #at = 0;
  #output: string;
  #heardAt = 0;
  #upgrades = 0;
  #hello = false;
  #tls = false;
  #transaction: Transaction | undefined;
  #errors = 0;
  #senders = 0;
  #recipients = 0;
  #messages = 0;
  #behindRefusedData = false;
  /** A message was refused for its line endings while time passed: the server may have hung up after that. */
  #patienceMayBeOver = false;

  constructor(script: Script, outcome: Outcome) {
    this.#script = script;
    this.#outcome = outcome;
    this.#input = outcome.sent;
    this.#output = outcome.heard;
  }

  walk(): void {
    this.#dialogue();
    const rest = this.#output.slice(this.#heardAt);
    if (this.#outcome.lost) return;
    assert.equal(rest, "", "something was said without a command, or after the last reply");
    assert.equal(
      this.#senders,
      this.#outcome.senders.length,
      "a MAIL ran that is none of the client's commands",
    );
    assert.equal(
      this.#recipients,
      this.#outcome.recipients.length,
      "a RCPT ran that is none of the commands",
    );
    assert.equal(this.#messages, this.#outcome.stored.length, "a message is stored that got no 250");
  }

  #dialogue(): void {
    if (this.#script.implicitTls && !this.#startTls()) return;
    const greeting = this.#reply();
    if (!greeting) return assert.ok(this.#mayBeSilent(), "no greeting");
    if (this.#isLastWord(greeting)) return;
    assert.equal(greeting.code, 220);
    for (let first = true;; first = false) {
      const farewell = this.#farewell();
      if (farewell !== "none") return;
      const line = this.#line();
      if (line === undefined) return;
      const reply = this.#reply();
      if (!reply) {
        const silent = this.#mayBeSilent() || this.#waitsForChunk(line.text);
        return assert.ok(silent, `no reply to ${JSON.stringify(line)}`);
      }
      if (!this.#command(line, reply, first)) return;
    }
  }

  /** What may be said between two commands, unasked. */
  #farewell(): "none" | "said" {
    const before = this.#heardAt;
    const reply = this.#reply();
    const tooMany = this.#errors > this.#script.maxErrors;
    if (!reply) {
      assert.ok(!tooMany || this.#mayBeSilent(), "too many errors, and no 421");
      return tooMany ? "said" : "none";
    }
    if (reply.code === 421 && /^Too many errors/.test(reply.lines[0] ?? "")) {
      assert.ok(tooMany, `421 after ${this.#errors} errors`);
      return "said";
    }
    assert.ok(!tooMany, "the dialogue goes on after too many errors");
    if (reply.code === 421 && /^Too many unknown recipients/.test(reply.lines[0] ?? "")) {
      assert.ok(this.#outcome.refusedRecipients > this.#script.maxRefusedRecipients);
      return "said";
    }
    if (this.#isLastWord(reply)) return "said";
    this.#heardAt = before;
    return "none";
  }

  /** Whether a reply is what time or a shutdown says. */
  #isLastWord({ code, status, lines }: Reply): boolean {
    if (code !== 421) return false;
    const [text = ""] = lines;
    if (status === "4.4.2" && /^(Timeout|The session has lasted)/.test(text)) {
      assert.ok(this.#outcome.late, `${text}, and no time has passed`);
      return true;
    }
    if (status === "4.3.2" && /is shutting down/.test(text)) {
      assert.ok(this.#outcome.stopped, "shutting down without being told to");
      return true;
    }
    return false;
  }

  /** Whether there are reasons to say nothing although something was asked. */
  #mayBeSilent(): boolean {
    return this.#outcome.lost || this.#patienceMayBeOver;
  }

  /** Whether a command is answered after a chunk that has not come whole (RFC 3030 §2). */
  #waitsForChunk(text: string): boolean {
    const [, octets] = /^BDAT (\d{1,19})(?: +LAST)?\s*$/i.exec(text) ?? [];
    return octets !== undefined && this.#input.length - this.#at < Number(octets);
  }

  /** Takes one reply, well-formed (RFC 5321 §4.2) or not at all. */
  #reply(): Reply | undefined {
    const lines: string[] = [];
    let code: string | undefined;
    let status: string | undefined;
    let at = this.#heardAt;
    for (;;) {
      const end = this.#output.indexOf("\r\n", at);
      if (end < 0) {
        if (!this.#outcome.lost) {
          assert.equal(this.#output.slice(this.#heardAt), "", "an unfinished reply");
        }
        return undefined;
      }
      const line = this.#output.slice(at, end);
      at = end + 2;
      assert.ok(line.length <= 510, `a reply line of ${line.length} octets (section 4.5.3.1.5)`);
      const [, digits, mark, text = ""] = /^([2-5][0-5]\d)([ -])([\t -~]*)$/.exec(line) ?? [];
      assert.ok(digits !== undefined, `no reply line: ${JSON.stringify(line)}`);
      assert.equal(digits, code ?? digits, "one reply with two codes");
      code = digits;
      const [, found = "", rest = text] = /^(\d\.\d{1,3}\.\d{1,3}) (.*)$/.exec(text) ?? [];
      assert.equal(found, status ?? found, "one reply with two enhanced codes");
      status = found;
      lines.push(rest);
      if (mark === " ") break;
    }
    if (status !== "") assert.equal(status[0], code[0], `${code} with ${status} (RFC 3463)`);
    this.#heardAt = at;
    return { code: Number(code), status: status ?? "", lines };
  }

  #line(): { readonly kind: "line" | "bare" | "long" | "unreadable"; readonly text: string } | undefined {
    const end = this.#input.indexOf("\n", this.#at);
    const length = (end < 0 ? this.#input.length : end + 1) - this.#at;
    const bytes = this.#input.slice(this.#at, this.#at + length);
    if (end < 0 && length < LINE_LIMIT) return undefined;
    this.#at += length;
    if (length > LINE_LIMIT || end < 0) return { kind: "long", text: "" };
    if (!bytes.endsWith("\r\n")) return { kind: "bare", text: "" };
    const isHello = /^(?:EHLO|HELO)[ \t]/i.test(bytes);
    try {
      const text = (isHello ? lenientDecoder : decoder).decode(bytesOf(bytes.slice(0, -2)));
      // deno-lint-ignore no-control-regex
      return /[\0-\x08\x0a-\x1f\x7f]/.test(text) ? { kind: "unreadable", text: "" } : { kind: "line", text };
    } catch {
      return { kind: "unreadable", text: "" };
    }
  }

  /** Checks one command and its reply; `false` when the dialogue is over. */
  #command(
    { kind, text }: { readonly kind: string; readonly text: string },
    reply: Reply,
    first: boolean,
  ): boolean {
    const { code, status, lines } = reply;
    const say = `${JSON.stringify(kind === "line" ? text.slice(0, 80) : `(${kind})`)} got ${code} ${status} ${
      lines[0]
    }`;
    if (code === 421 && /^Mail data came after/.test(lines[0] ?? "")) {
      assert.ok(this.#behindRefusedData, say);
      return false;
    }
    if (this.#behindRefusedData && !this.#outcome.late) {
      // This cannot have been typed.
      const isCommand = kind === "line" && !LIKE_DATA.test(text) &&
        VERBS.includes(/^[^ \t]*/.exec(text)?.[0].toUpperCase() ?? "");
      assert.ok(isCommand, `mail data ran as a command: ${say}`);
    }
    if (kind !== "line") {
      assert.equal(code, 500, say);
      this.#errors++;
      return true;
    }
    const [, verb = "", argument = ""] = /^([^ \t]*)[ \t]*(.*?)[ \t]*$/s.exec(text) ?? [];
    const upper = verb.toUpperCase();
    if (first && /^(GET|POST|PUT|HEAD|OPTIONS|DELETE|CONNECT|PATCH)$/.test(upper)) {
      assert.equal(code, 521, say);
      return false;
    }
    if (this.#behindRefusedData && LIKE_DATA.test(text)) {
      assert.equal(`${code} ${/^No mail data is expected yet/.test(lines[0] ?? "")}`, "503 true", say);
      this.#errors++;
      return true;
    }
    if (!VERBS.includes(upper)) {
      assert.equal(code, 500, say);
      this.#errors++;
      return true;
    }
    const isGreeting = upper === "EHLO" || upper === "HELO";
    const bare = (isGreeting && code === 250) || code === 354;
    assert.equal(status !== "", !bare, `an enhanced code stands in every reply but some (RFC 2034): ${say}`);
    if (!["NOOP", "HELP", "VRFY", "EXPN"].includes(upper)) this.#behindRefusedData = false;
    if (upper === "BDAT") return this.#chunk(argument, reply, say);
    if (COUNTED_AS_ERROR.includes(code)) this.#errors++;
    switch (upper) {
      case "EHLO":
      case "HELO":
        this.#greet(argument, reply, say);
        break;
      case "MAIL":
        this.#mail(argument, reply, say);
        break;
      case "RCPT":
        this.#rcpt(argument, reply, say);
        break;
      case "DATA":
        return this.#data(argument, reply, say);
      case "RSET":
        assert.equal(code, argument === "" ? 250 : 501, say);
        if (code === 250) this.#transaction = undefined;
        break;
      case "NOOP":
        assert.equal(code, 250, say);
        break;
      case "HELP":
        assert.equal(code, 214, say);
        break;
      case "QUIT":
        assert.equal(code, argument === "" ? 221 : 501, say);
        return code !== 221;
      case "STARTTLS": {
        const wrongTime = this.#tls || !this.#hello || this.#transaction !== undefined;
        const { tls } = this.#script;
        assert.equal(code, !tls ? 502 : argument !== "" ? 501 : wrongTime ? 503 : 220, say);
        return code !== 220 || this.#startTls();
      }
      default:
        assert.equal(code, 502, say);
    }
    return true;
  }

  #greet(argument: string, { code, lines }: Reply, say: string): void {
    assert.equal(code, argument === "" ? 501 : 250, say);
    if (code !== 250) return;
    if (/^[ -'*-[\]-~]{1,255}$/.test(argument)) {
      // IPv6 addresses get the tag that they lack.
      const names = [argument, argument.replace(/\.$/, ""), argument.replace(/^\[/, "[IPv6:")];
      assert.ok(
        names.some((name) => lines[0]?.includes(` greets ${name} [`)),
        `not the reply to this command: ${say}`,
      );
    }
    this.#hello = true;
    this.#transaction = undefined;
    assert.equal(
      lines.includes("STARTTLS"),
      lines.length > 1 && this.#script.tls && !this.#tls,
      "STARTTLS is announced where it can be done",
    );
  }

  /** A client that writes a path other than RFC 5321 does gets a hint, and no other. */
  #hint(argument: string, lines: readonly string[], say: string): void {
    assert.equal(/ the syntax is /.test(lines[0] ?? ""), !/^[a-z]+:</i.test(argument), say);
  }

  #mail(argument: string, { code, status, lines }: Reply, say: string): void {
    if (!/^FROM:/i.test(argument)) return assert.equal(code, 501, say);
    if (!this.#hello || this.#transaction) return assert.equal(code, 503, say);
    assert.ok([250, 501, 550, 552, 555, 452].includes(code), say);
    const [, plain] = PLAIN_PATH.exec(argument) ?? [];
    if (plain !== undefined) assert.equal(code, 250, say);
    if (code !== 250) return;
    assert.equal(status, "2.1.0", say);
    this.#hint(argument, lines, say);
    const from = this.#outcome.senders[this.#senders++];
    assert.ok(
      from !== undefined && isPathIn(argument, from),
      `${say}: not of ${from}`,
    );
    this.#transaction = { from, to: [], chunks: undefined };
  }

  #rcpt(argument: string, { code, status, lines }: Reply, say: string): void {
    const transaction = this.#transaction;
    if (!/^TO:/i.test(argument)) return assert.equal(code, 501, say);
    if (!transaction || transaction.chunks !== undefined) return assert.equal(code, 503, say);
    const full = transaction.to.length >= this.#script.maxRecipients;
    assert.ok([250, 501, 550, 553, 555, 452, 451].includes(code), say);
    if (/^TO:[ \t]*(<(alice|bob|r1)@here\.example>|(alice|bob|r1)@here\.example)$/i.test(argument)) {
      assert.equal(code, full ? 452 : 250, say);
    }
    if (/@(elsewhere\.test|\[127)/.test(argument)) assert.notEqual(code, 250, say);
    if (code !== 250) return;
    assert.ok(!full, say);
    assert.equal(status, "2.1.5", say);
    this.#hint(argument, lines, say);
    const to = this.#outcome.recipients[this.#recipients++];
    assert.ok(to !== undefined && isPathIn(argument, to), `${say}: not of ${to}`);
    transaction.to.push(to);
  }

  /** Whether a message cannot begin now; what the delivery refuses, it refuses by the name of a recipient. */
  #cannotBegin(): 503 | 452 | 451 | undefined {
    const transaction = this.#transaction;
    if (!transaction || transaction.to.length === 0) return 503;
    if (transaction.chunks !== undefined) return undefined;
    const trouble = this.#trouble(transaction);
    return trouble === "no-begin" ? 452 : trouble === "bad-begin" ? 451 : undefined;
  }

  #trouble({ to }: Transaction): string {
    return to.map((path) => path.split("@")[0] ?? "").find((name) => /^(no|bad)-/.test(name)) ?? "";
  }

  #data(argument: string, { code }: Reply, say: string): boolean {
    const transaction = this.#transaction;
    const refusal = argument !== ""
      ? 501
      : this.#cannotBegin() ?? (transaction?.chunks !== undefined ? 503 : 354);
    assert.equal(code, refusal, say);
    if (code !== 354 || !transaction) {
      this.#behindRefusedData = true;
      return true;
    }
    const rest = `\r\n${this.#input.slice(this.#at)}`;
    const end = rest.indexOf("\r\n.\r\n");
    const raw = rest.slice(2, end < 0 ? undefined : Math.max(2, end + 2));
    const repair = this.#script.bareLineEndings === "repair";
    // A CR at the end of what has come so far may be half a line end.
    const bare = !repair && isBare(raw, { more: end < 0 });
    const reply = this.#reply();
    if (end < 0) return this.#cutOff(reply, bare);
    this.#at += end + 3;
    if (!reply) {
      assert.ok(this.#mayBeSilent(), "no reply to the end of the data");
      return false;
    }
    if (this.#isLastWord(reply)) return false;
    const text = stored(raw, { dots: true, repair });
    this.#ended(reply, transaction, { text, bare, tooBig: text.length > this.#script.maxMessageSize });
    return true;
  }

  #chunk(argument: string, reply: Reply, say: string): boolean {
    const [, digits, last] = /^(\d{1,19})( +LAST)?$/i.exec(argument) ?? [];
    if (digits === undefined) {
      assert.equal(reply.code, 501, say);
      return false;
    }
    const octets = Number(digits);
    const { maxMessageSize, bareLineEndings } = this.#script;
    const refusal = this.#cannotBegin();
    if (octets > 1024 ** 3) {
      assert.equal(reply.code, refusal ?? 552, say);
      return false;
    }
    const chunk = this.#input.slice(this.#at, this.#at + octets);
    const whole = chunk.length === octets;
    this.#at += chunk.length;
    const transaction = this.#transaction;
    if (refusal !== undefined || !transaction) {
      // The reply comes after the chunk.
      if (!whole) return this.#cutOff(reply, false);
      if (this.#isLastWord(reply)) return false;
      assert.equal(reply.code, refusal, say);
      if (COUNTED_AS_ERROR.includes(reply.code)) this.#errors++;
      if (refusal !== 503) this.#transaction = undefined;
      return true;
    }
    const repair = bareLineEndings === "repair";
    const before = transaction.chunks ?? "";
    const raw = before + chunk;
    const bare = !repair && isBare(raw, { more: last === undefined || !whole });
    if (!whole) return this.#cutOff(reply, bare);
    if (this.#isLastWord(reply)) return false;
    transaction.chunks = raw;
    const held = repair && last === undefined ? raw.replace(/\r$/, "") : raw;
    const text = stored(held, { dots: false, repair });
    const had = stored(repair ? before.replace(/\r$/, "") : before, { dots: false, repair });
    const tooBig = text.length > maxMessageSize || had.length + octets > maxMessageSize;
    if (last !== undefined) {
      this.#ended(reply, transaction, { text, bare, tooBig });
    } else if (bare || tooBig || this.#failsToWrite(transaction, text)) {
      // With little data, what is wrong may show only at the end.
      if (reply.code === 250 && !bare && !tooBig) return true;
      this.#refused(reply, transaction, { text, bare, tooBig });
    } else {
      assert.equal(`${reply.code} ${reply.lines[0]}`, `250 ${octets} octets received`, say);
    }
    return true;
  }

  /** The data did not come to its end. */
  #cutOff(reply: Reply | undefined, bare: boolean): false {
    if (!reply) return false;
    // Of several things that are wrong, the one that was seen first is told.
    if (bare && [550, 552, 452, 451].includes(reply.code)) {
      assert.ok(this.#outcome.late, "expired although no time has passed");
    } else assert.ok(this.#isLastWord(reply), `unfinished data got ${reply.code} ${reply.lines[0]}`);
    return false;
  }

  #failsToWrite(transaction: Transaction, text: string): boolean {
    return /-write$/.test(this.#trouble(transaction)) && text !== "";
  }

  /** The data came to its end: one message is stored and answered 250, or refused and nothing is. */
  #ended(
    reply: Reply,
    transaction: Transaction,
    message: { readonly text: string; readonly bare: boolean; readonly tooBig: boolean },
  ): void {
    const { text, bare, tooBig } = message;
    const fails = bare || tooBig || this.#failsToWrite(transaction, text) ||
      /-commit$/.test(this.#trouble(transaction));
    if (fails) return this.#refused(reply, transaction, message);
    this.#transaction = undefined;
    const found = this.#outcome.stored[this.#messages++];
    assert.equal(`${reply.code} ${reply.status} ${reply.lines[0]}`, `250 2.0.0 ${found?.id} accepted`);
    assert.ok(found !== undefined, "a 250 for a message that is not stored");
    assert.equal(found.content, begun(text), "what is stored is what was sent");
    assert.equal(found.envelope.reversePath?.text ?? "", transaction.from);
    assert.deepEqual(found.envelope.recipients.map(({ forwardPath }) => forwardPath.text), transaction.to);
  }

  #refused(
    { code, status, lines }: Reply,
    transaction: Transaction,
    { bare, tooBig }: { readonly text: string; readonly bare: boolean; readonly tooBig: boolean },
  ): void {
    this.#transaction = undefined;
    const allowed = [
      ...(bare ? ["550 5.5.2"] : []),
      ...(tooBig ? ["552 5.3.4"] : []),
      ...(/^no-/.test(this.#trouble(transaction)) ? ["452 4.3.1"] : []),
      ...(/^bad-/.test(this.#trouble(transaction)) ? ["451 4.3.0"] : []),
    ];
    assert.ok(
      allowed.includes(`${code} ${status}`),
      `a message to be refused with ${allowed} got ${code} ${lines[0]}`,
    );
    if (bare && this.#outcome.late) this.#patienceMayBeOver = true;
  }

  /** After 220, or before the greeting: nothing that came in the clear counts any more. */
  #startTls(): boolean {
    const upgrade = this.#outcome.upgrades[this.#upgrades++];
    if (!upgrade) {
      assert.ok(this.#outcome.lost, "no handshake after 220");
      return false;
    }
    assert.ok(upgrade.begun >= this.#at, "the handshake begins after STARTTLS");
    if (upgrade.done === undefined) return false;
    this.#input = encrypted(this.#outcome.sent.slice(upgrade.done));
    this.#at = 0;
    const rest = this.#output.slice(this.#heardAt);
    if (!rest.startsWith(SERVER_HELLO)) {
      assert.ok(this.#outcome.lost, "something in the clear after 220");
      this.#heardAt = this.#output.length;
      return false;
    }
    this.#output = encrypted(rest.slice(SERVER_HELLO.length));
    this.#heardAt = 0;
    this.#tls = true;
    this.#hello = false;
    this.#transaction = undefined;
    return true;
  }
}
