/**
 * Reads and runs wire transcripts; README.md describes the format.
 *
 * @module
 */
import assert from "node:assert/strict";
import { defaultLimits, type ServerLimits, SmtpServer } from "../../smtp/server.ts";
import type { ServerPolicy } from "../../smtp/server_policy.ts";
import type { Credentials } from "../../sasl/credentials.ts";
import { SaslAuthenticator } from "../../sasl/mod.ts";
import type { UpgradeToTls } from "../../net/transport.ts";
import { bytesOf, textOf } from "../support/bytes.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { MemoryTransport } from "../support/memory_transport.ts";
import { RecordingDelivery, type StoredMessage } from "../support/recording_delivery.ts";
import { type LogEvent, RecordingLog } from "../support/recording_log.ts";

/** The account `user` with the password `pencil`; `broken` cannot be looked up, `paused` has had too many guesses. */
const ACCOUNTS: Credentials = {
  check(login, password) {
    if (login === "broken") return Promise.resolve({ kind: "unavailable", why: "no accounts" });
    if (login === "paused") return Promise.resolve({ kind: "paused", why: "too many failed logins" });
    return Promise.resolve(
      login === "user" && password === "pencil"
        ? { kind: "right", login }
        : { kind: "wrong", why: login === "user" ? "wrong password" : "unknown login" },
    );
  },
  scram: (login) => Promise.resolve({ login, salt: new Uint8Array(16), iterations: 4096, keys: [] }),
};

/** One line of a transcript that does something. */
export interface Step {
  /** What stands at the beginning of the line. */
  readonly kind: "S" | "C" | "c" | "M" | "T" | "L" | "wait" | "end" | "closed";
  /** What is after it. */
  readonly text: string;
  /** For messages, such as `quit.txt:7`. */
  readonly where: string;
}

/** A dialogue, read from a file. */
export interface Transcript {
  /** The first comment. */
  readonly title: string;
  /** In their order. */
  readonly steps: readonly Step[];
  /** Limits that the file sets. */
  readonly limits: Partial<ServerLimits>;
  /** Whether there is TLS, and when. */
  readonly tls: "none" | "starttls" | "implicit";
  /** In what the server's policy differs from the usual one. */
  readonly policy: ReadonlySet<string>;
  /** Whether clients log in. */
  readonly login: boolean;
  /** Whether bytes that come together must stay together. */
  readonly uncut: boolean;
}

/** Reads a transcript. */
export function parseTranscript(source: string, file: string): Transcript {
  const steps: Step[] = [];
  const limits: Record<string, number> = {};
  const policy = new Set<string>();
  let title: string | undefined;
  let tls: Transcript["tls"] = "none";
  let login = false;
  let uncut = false;
  for (const [index, line] of source.split("\n").entries()) {
    const where = `${file}:${index + 1}`;
    if (line.startsWith("#!")) {
      const [option, ...values] = line.slice(2).trim().split(/\s+/);
      if (option === "tls") tls = "starttls";
      else if (option === "implicit-tls") tls = "implicit";
      else if (option === "login") login = true;
      else if (option === "uncut") uncut = true;
      else if (option === "policy") {
        for (const value of values) {
          if (!["repair", "completes", "dsn", "submission"].includes(value)) {
            throw new Error(`${where}: no policy ${value}`);
          }
          policy.add(value);
        }
      } else if (option === "limits") {
        for (const value of values) {
          const [, name, number] = /^(\w+)=(\d+)$/.exec(value) ?? [];
          if (name === undefined || !(name in defaultLimits)) throw new Error(`${where}: no limit ${value}`);
          limits[name] = Number(number);
        }
      } else throw new Error(`${where}: no option ${option}`);
    } else if (line.startsWith("#")) {
      title ??= line.slice(1).trim();
    } else if (line.trim() !== "") {
      const [, letter, said, word, argument] =
        /^(?:([SCcMTL]):(?: (.*))?|(wait|end|closed)(?: +(\d+))?)$/.exec(line) ?? [];
      const kind = (letter ?? word) as Step["kind"] | undefined;
      if (kind === undefined || (kind === "wait") !== (argument !== undefined)) {
        throw new Error(`${where}: not a step: ${line}`);
      }
      steps.push({ kind, text: said ?? argument ?? "", where });
    }
  }
  if (title === undefined) throw new Error(`${file}: the first line says what it shows`);
  return { title, steps, limits, tls, policy, login, uncut };
}

/** Plays the client's part, and holds the server's against the file. */
export async function runTranscript(
  transcript: Transcript,
  { cut }: { readonly cut: boolean },
): Promise<void> {
  const clock = new FakeClock(Date.UTC(2026, 10, 24, 6, 0, 0));
  const logger = new RecordingLog();
  const delivery = new RecordingDelivery();
  const { policy: rules } = transcript;
  const policy: Partial<ServerPolicy> = {
    extensions: rules.has("dsn") ? ["DSN"] : [],
    bareLineEndings: rules.has("repair") ? "repair" : "refuse",
    completesAddresses: rules.has("completes"),
    ...(rules.has("submission") && { submissionAdvice: ["No AUTH here: it is not needed"] }),
    unwantedField: ({ name }) => name === "return-path",
  };
  const transport = new MemoryTransport({ clock });
  // The handshake is not played: what is left in the pipe when it begins was not TLS.
  const upgradeToTls: UpgradeToTls = () =>
    transport.unread > 0
      ? Promise.reject(new Error("not TLS"))
      : Promise.resolve({ transport, tls: { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" } });
  const server = new SmtpServer({
    hostname: "mx.here.example",
    delivery,
    policy,
    logger,
    clock,
    limits: transcript.limits,
    ...(transcript.tls === "none" ? {} : { upgradeToTls }),
    ...(transcript.login && { authenticator: new SaslAuthenticator(() => ACCOUNTS, { scram: true }) }),
  });
  let done: Promise<void> | undefined;
  const start = () => done ??= server.handle(transport, { implicitTls: transcript.tls === "implicit" });

  let output = "";
  let messages = 0;
  let pending = "";
  const send = async () => {
    transport.send(bytesOf(pending), cut ? [1] : []);
    pending = "";
    start();
    await transport.waiting();
  };
  const listen = () => {
    output += new TextDecoder("utf-8", { fatal: true }).decode(transport.take());
  };
  const silent = (where: string) => {
    listen();
    assert.equal(output, "", `${where}: the server has said more`);
  };

  // Who talks before the greeting has said so before the server begins.
  if (!/^c$/i.test(transcript.steps[0]?.kind ?? "")) {
    start();
    await transport.waiting();
  }
  for (const [index, { kind, text, where }] of transcript.steps.entries()) {
    switch (kind) {
      case "C":
      case "c": {
        if (pending === "") silent(where);
        pending += textOf(unescape(text)) + (kind === "C" ? "\r\n" : "");
        const next = transcript.steps[index + 1]?.kind;
        if (next !== "C" && next !== "c") await send();
        break;
      }
      case "S":
        listen();
        output = expectReply(output, text, where);
        break;
      case "M": {
        const message = delivery.stored[messages++];
        assert.ok(message, `${where}: no message was stored`);
        assertMatches(describeMessage(message), text, where);
        break;
      }
      case "T": {
        const fields = delivery.stored[messages - 1]?.headers ?? [];
        assert.deepEqual(fields.map(({ name }) => name), ["Received"], where);
        for (const { value } of fields) assertMatches(show(unfold(value)), text, where);
        break;
      }
      case "L": {
        const events = logger.events.map(describeEvent);
        assert.ok(
          events.some((event) => wildcard(text).test(event)),
          `${where}: not in the log:\n${text}\nbut:\n${events.join("\n")}`,
        );
        break;
      }
      case "wait":
        await clock.advance(Number(text) * 1000);
        await transport.waiting();
        break;
      case "end":
        silent(where);
        transport.end();
        await done;
        break;
      case "closed":
        silent(where);
        assert.ok(transport.closed || transport.writeClosed, `${where}: the connection is open`);
        transport.end();
        await done;
        break;
    }
  }
  silent(`${transcript.title}, at its end`);
  assert.equal(
    delivery.stored.slice(messages).map(describeMessage).join("\n"),
    "",
    "a message was stored that the transcript does not mention",
  );
  transport.end();
  await done;
  assert.equal(delivery.open, 0, "a message was left open");
  assert.ok(transport.closed, "the connection was left open");
  assert.equal(clock.pending, 0, "a timer was left running");
  assert.equal(server.connectionCount, 0);
}

/** Takes the expected reply off the output. */
function expectReply(output: string, pattern: string, where: string): string {
  const whole = /^\d\d\d\*/.test(pattern);
  for (let rest = output;;) {
    const end = rest.indexOf("\r\n");
    assert.ok(end >= 0, `${where}: the server has not said ${pattern}, but ${JSON.stringify(rest)}`);
    const line = rest.slice(0, end);
    assertMatches(line, pattern, where);
    rest = rest.slice(end + 2);
    if (!whole || line[3] === " ") return rest;
  }
}

function assertMatches(actual: string, pattern: string, where: string): void {
  assert.ok(wildcard(pattern).test(actual), `${where}:\nexpected ${pattern}\n     got ${actual}`);
}

function wildcard(pattern: string): RegExp {
  const parts = pattern.split("*").map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`, "su");
}

function describeMessage({ envelope, content }: StoredMessage): string {
  const to = envelope.recipients.map(({ forwardPath }) => `<${forwardPath.text}>`).join(", ");
  return `<${envelope.reversePath?.text ?? ""}> -> ${to}: ${show(content)}`;
}

function describeEvent({ event, fields }: LogEvent): string {
  const values = Object.entries(fields).map(([name, value]) => `${name}=${value}`);
  return [event, ...values].join(" ");
}

function unfold(value: string): string {
  return value.replace(/\r\n[ \t]/g, " ");
}

/** Makes all bytes visible. */
function show(text: string): string {
  return text.replace(/[^ -[\]-~]/g, (character) => {
    const named = { "\r": "\\r", "\n": "\\n", "\t": "\\t", "\0": "\\0", "\\": "\\\\" }[character];
    return named ?? `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

/** The bytes of a client line. */
function unescape(text: string): Uint8Array {
  const encoder = new TextEncoder();
  const named: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t", 0: "\0", "\\": "\\" };
  const parts: string[] = [];
  const pattern = /\\x([0-9a-f]{2})|\\\{(.+?)\*(\d+)\}|\\(.)|([^\\]+)/gu;
  for (const [escape, hex, repeated, times, letter, plain] of text.matchAll(pattern)) {
    if (plain !== undefined) parts.push(textOf(encoder.encode(plain)));
    else if (hex !== undefined) parts.push(String.fromCharCode(parseInt(hex, 16)));
    else if (repeated !== undefined) parts.push(textOf(unescape(repeated)).repeat(Number(times)));
    else {
      const character = named[letter ?? ""];
      if (character === undefined) throw new Error(`no escape ${escape}`);
      parts.push(character);
    }
  }
  return bytesOf(parts.join(""));
}
