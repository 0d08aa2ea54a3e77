/**
 * The answers of DNS that a decision was made by, for the log, and read back from it.
 *
 * A zone belongs to a stranger: what is written of it is bounded.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Answer, MxRecord, Resolver, TlsaRecord } from "./resolver.ts";
import type { Query, RecordType } from "./wire_answer.ts";
import { WrappedResolver } from "./wrapped_resolver.ts";

/** Of one decision; those of the policies of DMARC come on top. */
const MAX_NOTED = 300;
/** Characters of one answer; an RSA key of 2,048 bits has about 400. */
const MAX_ANSWER = 512;
const MAX_REASON = 200;

interface Noted {
  readonly query: Query;
  readonly answer: Answer<unknown>;
}

/** Collects questions and answers; writes nothing before it is asked to. */
export class NotedAnswers {
  readonly #noted: Noted[] = [];
  readonly #others: string[] = [];

  /** Adds an answer. A question that was asked before counts once, with the latest answer, in {@linkcode lines}. */
  note(query: Query, answer: Answer<unknown>): void {
    if (this.#noted.length < MAX_NOTED || query.name.startsWith("_dmarc.")) {
      this.#noted.push({ query, answer });
    }
  }

  /** Adds something else that the decision was made by, as the log is to have it. */
  noteLine(line: string | undefined): void {
    if (line !== undefined) this.#others.push(line.slice(0, MAX_ANSWER));
  }

  /** Whether there is nothing. */
  get isEmpty(): boolean {
    return this.#noted.length === 0 && this.#others.length === 0;
  }

  /**
   * One line for each answer, as {@linkcode readAnswer} takes it, up to `limit` characters in all: policies of DMARC
   * first, then keys, then the others as they were asked for.
   * @param now by the monotonic clock of the resolver
   */
  lines({ now, limit }: { readonly now: number; readonly limit: number }): string[] {
    const latest = new Map<string, Noted>();
    for (const noted of this.#noted) {
      const { query: { type, name } } = noted;
      const key = `${type} ${name}`;
      const before = latest.get(key)?.answer;
      // A quick question that found nothing may be followed by one that says more.
      if (before?.kind !== "found") latest.set(key, noted);
    }
    const sorted = latest.size < 2
      ? [...latest.values()]
      : [...latest.values()].sort((a, b) => weight(a.query) - weight(b.query));
    const lines = [...this.#others];
    let octets = lines.reduce((sum, { length }) => sum + length, 0);
    for (const [index, { query, answer }] of sorted.entries()) {
      const line = showAnswer(query, { answer, now });
      octets += line.length;
      if (octets > limit) {
        lines.push(`… ${sorted.length - index} more`);
        break;
      }
      lines.push(line);
    }
    return lines;
  }
}

function weight({ name }: Query): number {
  return name.startsWith("_dmarc.") ? 0 : name.includes("._domainkey.") ? 1 : 2;
}

/** `MX example.net 12s 10 mx.example.net`: type, name, age, records. */
function showAnswer(
  { type, name }: Query,
  { answer, now }: { answer: Answer<unknown>; now: number },
): string {
  const plain = /^[\x21\x23-\x7e]+$/.test(name) ? name : JSON.stringify(name);
  const { at } = answer;
  const age = at === undefined ? "-" : `${Math.max(0, Math.round((now - at) / 1000))}s`;
  return `${type} ${cut(plain, MAX_ANSWER)} ${age} ${showResult(type, answer)}`;
}

function showResult(type: RecordType, answer: Answer<unknown>): string {
  switch (answer.kind) {
    case "none":
      return "none";
    case "no-such-name":
      return "no such name";
    case "failed":
      return `failed: ${cut(answer.reason, MAX_REASON)}`;
    case "found":
      return cut(showRecords(type, answer.records), MAX_ANSWER);
  }
}

function showRecords(type: RecordType, records: readonly unknown[]): string {
  switch (type) {
    case "MX":
      return (records as MxRecord[]).map(({ preference, exchange }) => `${preference} ${exchange || "?"}`)
        .join(", ");
    case "TXT":
      return showTexts(records as string[]);
    case "TLSA":
      return (records as TlsaRecord[]).map(({ usage, selector, matchingType, data }) =>
        `${usage} ${selector} ${matchingType} ${Buffer.from(data.subarray(0, MAX_ANSWER)).toString("hex")}`
      ).join(", ");
    default:
      return records.join(", ");
  }
}

/** Texts of other uses stand beside a policy at the name of a domain: where one is there, they are only counted. */
function showTexts(texts: readonly string[]): string {
  const policies = texts.filter((text) => /^v=/i.test(text));
  const shown = policies.length > 0 ? policies : texts;
  const others = texts.length - shown.length;
  return shown.map((text) => JSON.stringify(text)).join(" ") + (others > 0 ? ` +${others}` : "");
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

/** An answer of the log. */
export interface LoggedAnswer {
  /** What was asked. */
  readonly query: Query;
  /** What came. */
  readonly answer: Answer<unknown>;
  /** Seconds; absent where it was not known. */
  readonly age?: number;
}

const LINE = /^(MX|A|AAAA|TXT|PTR|CNAME|TLSA) ("(?:[^"\\]|\\.)*"|\S+) (?:(\d+)s|-) ([^]*)$/s;

/** Reads a line of {@linkcode NotedAnswers}; `undefined` where it is none, or was cut. */
export function readAnswer(line: string): LoggedAnswer | undefined {
  const [, type = "", written = "", seconds, result = ""] = LINE.exec(line) ?? [];
  if (type === "" || written.endsWith("…") || result.endsWith("…")) return undefined;
  const name = written.startsWith('"') ? readText(written) : written;
  if (name === undefined) return undefined;
  const answer = readResult(type as RecordType, result);
  return answer && {
    query: { type: type as RecordType, name },
    answer,
    ...(seconds !== undefined && { age: Number(seconds) }),
  };
}

function readResult(type: RecordType, result: string): Answer<unknown> | undefined {
  if (result === "none") return { kind: "none", authenticated: false };
  if (result === "no such name") return { kind: "no-such-name", authenticated: false };
  if (result.startsWith("failed: ")) return { kind: "failed", reason: result.slice("failed: ".length) };
  const records = readRecords(type, result);
  return records && { kind: "found", records, authenticated: false };
}

function readRecords(type: RecordType, result: string): unknown[] | undefined {
  if (type === "TXT") {
    const texts = result.match(/"(?:[^"\\]|\\.)*(?:"|$)/gs)?.map(readText);
    return texts?.every((text) => text !== undefined) ? texts : undefined;
  }
  const parts = result.split(", ");
  if (type === "MX") {
    return parts.map((part): MxRecord => {
      const [preference, exchange = ""] = part.split(" ");
      return { preference: Number(preference), exchange: exchange === "?" ? "" : exchange };
    });
  }
  if (type !== "TLSA") return parts;
  return parts.map((part): TlsaRecord => {
    const [usage, selector, matchingType, data = ""] = part.split(" ");
    return {
      usage: Number(usage),
      selector: Number(selector),
      matchingType: Number(matchingType),
      data: new Uint8Array(Buffer.from(data, "hex")),
    };
  });
}

function readText(quoted: string): string | undefined {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return undefined;
  }
}

/** The resolver itself, or one that asks it and notes its answers where `noted` is given. */
export function notingResolver(resolver: Resolver, noted: NotedAnswers | undefined): Resolver {
  return noted === undefined ? resolver : new NotingResolver(resolver, noted);
}

class NotingResolver extends WrappedResolver {
  readonly #noted: NotedAnswers;

  constructor(resolver: Resolver, noted: NotedAnswers) {
    super(resolver);
    this.#noted = noted;
  }

  protected override async around<T>(query: Query, ask: () => Promise<Answer<T>>): Promise<Answer<T>> {
    const answer = await ask();
    this.#noted.note(query, answer);
    return answer;
  }
}

/** Answers from a log; what that does not have is answered `failed`. */
export class LoggedResolver implements Resolver {
  readonly #answers = new Map<string, Answer<unknown>>();

  /** Takes the answers. */
  constructor(answers: readonly LoggedAnswer[]) {
    for (const { query, answer } of answers) this.#answers.set(keyOf(query), answer);
  }

  mx(name: string): Promise<Answer<MxRecord>> {
    return this.#find({ type: "MX", name });
  }

  a(name: string): Promise<Answer<string>> {
    return this.#find({ type: "A", name });
  }

  aaaa(name: string): Promise<Answer<string>> {
    return this.#find({ type: "AAAA", name });
  }

  txt(name: string): Promise<Answer<string>> {
    return this.#find({ type: "TXT", name });
  }

  ptr(address: string): Promise<Answer<string>> {
    return this.#find({ type: "PTR", name: address });
  }

  cname(name: string): Promise<Answer<string>> {
    return this.#find({ type: "CNAME", name });
  }

  tlsa(name: string): Promise<Answer<TlsaRecord>> {
    return this.#find({ type: "TLSA", name });
  }

  #find<T>(query: Query): Promise<Answer<T>> {
    const answer = this.#answers.get(keyOf(query));
    return Promise.resolve((answer ?? { kind: "failed", reason: "not in the log" }) as Answer<T>);
  }
}

function keyOf({ type, name }: Query): string {
  return `${type} ${name.toLowerCase().replace(/\.$/, "")}`;
}
