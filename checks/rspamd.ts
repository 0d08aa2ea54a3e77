/**
 * Rspamd as a filter, by its HTTP protocol (`/checkv2`).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Clock } from "../base/clock.ts";
import type { HeaderEdit } from "../message/header_edits.ts";
import type { HeaderSection } from "../message/header_section.ts";
import type { Header } from "../smtp/delivery.ts";
import { type Reply, reply } from "../smtp/reply.ts";
import {
  type Filter,
  type FilteredMessage,
  type FilterOpinion,
  type FilterSession,
  foldedValue,
  isFieldName,
} from "./filter.ts";

/** How to reach Rspamd. */
export interface RspamdOptions {
  /** A name or an IP address. */
  readonly host: string;
  /** Its port, 11333 as a rule. */
  readonly port: number;
  /** Measures the waits. */
  readonly clock: Clock;
  /** For each part of the message that it takes, and for its answer. */
  readonly timeoutMs: number;
}

/** Octets of an answer. */
const MAX_ANSWER = 256 * 1024;
/** Symbols that are looked at, and those that are named in the message: what weighs most. */
const MAX_SEEN = 1000;
const MAX_SYMBOLS = 20;
const MAX_FIELDS = 50;
const MAX_TEXT = 200;

/** Asks an Rspamd about messages. */
export class RspamdFilter implements Filter {
  /** The name in the log and the metrics; see {@linkcode Filter}. */
  readonly name: string;
  readonly #options: RspamdOptions;
  readonly #url: string;

  /** Asks nothing yet. */
  constructor(options: RspamdOptions) {
    const { host, port } = options;
    const authority = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    this.name = `rspamd ${authority}`;
    this.#options = options;
    this.#url = `http://${authority}/checkv2`;
  }

  /** The name in the log and the metrics; see {@linkcode Filter}. The connection is made while the message comes. */
  open(message: FilteredMessage): Promise<FilterSession> {
    return Promise.resolve(new RspamdSession(this.#url, { ...this.#options, message }));
  }
}

class RspamdSession implements FilterSession {
  readonly #options: RspamdOptions;
  readonly #abort = new AbortController();
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #response: Promise<Response>;

  constructor(url: string, options: RspamdOptions & { readonly message: FilteredMessage }) {
    this.#options = options;
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    this.#writer = writable.getWriter();
    this.#response = fetch(url, {
      method: "POST",
      body: readable,
      headers: requestHeaders(options.message),
      redirect: "error",
      signal: this.#abort.signal,
    });
    // Whoever writes or waits hears of it.
    this.#response.catch((error) => this.#writer.abort(error).catch(() => {}));
    this.#writer.closed.catch(() => {});
  }

  async header({ fields }: HeaderSection): Promise<void> {
    await this.#write(Buffer.from(`${fields.map(({ text }) => `${text}\r\n`).join("")}\r\n`, "latin1"));
  }

  async body(chunk: Uint8Array): Promise<void> {
    // What was written may wait to be sent.
    await this.#write(chunk.slice());
  }

  async finish(): Promise<FilterOpinion> {
    return await this.#inTime(async () => {
      await this.#writer.close();
      const response = await this.#response;
      const text = await readText(response);
      if (response.status !== 200) throw new Error(`it answers ${response.status}`);
      return readAnswer(text);
    });
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
    this.#writer.abort().catch(() => {});
  }

  async #write(bytes: Uint8Array): Promise<void> {
    // A connection that failed says more than the stream to it.
    await this.#inTime(() =>
      Promise.race([
        this.#writer.write(bytes),
        this.#response.then(() => Promise.reject(new Error("it answered too early"))),
      ])
    );
  }

  async #inTime<T>(call: () => Promise<T>): Promise<T> {
    const { clock, timeoutMs } = this.#options;
    let late = false;
    const timer = clock.after(timeoutMs, () => {
      late = true;
      this.#abort.abort();
    });
    try {
      return await call();
    } catch (error) {
      if (late) throw new Error("no answer in time", { cause: error });
      throw error;
    } finally {
      timer.cancel();
    }
  }
}

function requestHeaders({ hostname, id, client, clientName, helo, from, to }: FilteredMessage): Headers {
  const headers = new Headers({ "Content-Type": "application/octet-stream" });
  const put = (name: string, value: string) => {
    // Rspamd 3.4 was seen to misread the message after fields with other octets.
    if (/^[\x20-\x7e]+$/.test(value)) headers.append(name, value);
  };
  put("IP", client.address);
  if (clientName !== undefined) put("Hostname", clientName);
  put("Helo", helo);
  put("From", from);
  for (const recipient of to) put("Rcpt", recipient);
  put("MTA-Name", hostname);
  put("Queue-Id", id);
  return headers;
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > MAX_ANSWER) throw new Error(`an answer of more than ${MAX_ANSWER} octets`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** What an answer means. @throws {Error} where it makes no sense */
export function readAnswer(text: string): FilterOpinion {
  const answer = asRecord(JSON.parse(text));
  if (answer === undefined) throw new Error("an answer that is not an object");
  const { action } = answer;
  if (typeof action !== "string") throw new Error("an answer without an action");
  const score = asNumber(answer["score"]);
  const required = asNumber(answer["required_score"]);
  const about = `${oneLine(action)} ${score}/${required}`;
  const message = asRecord(answer["messages"])?.["smtp_message"];
  const said = typeof message === "string" && message !== "" ? oneLine(message) : undefined;
  const none = { fields: [], edits: [], about };
  switch (action) {
    case "reject":
      return { ...none, action: "refuse", reply: reply(554, "5.7.1", said ?? "The message looks like junk") };
    case "soft reject":
    case "greylist":
      return { ...none, action: "defer", reply: putOff(said) };
    case "add header":
    case "rewrite subject":
    case "quarantine":
    // What was answered 250 is never thrown away.
    case "discard":
    case "no action":
    case "accept":
      break;
    default:
      throw new Error(`an action ${JSON.stringify(oneLine(action))} that is unknown`);
  }
  const isJunk = action !== "no action" && action !== "accept";
  const milter = asRecord(answer["milter"]) ?? {};
  const subject = action === "rewrite subject" ? answer["subject"] : undefined;
  const verdict = `${isJunk ? "Yes" : "No"}, score=${score} required=${required}`;
  const status = { name: "X-Spam-Status", value: `${verdict}${symbolsOf(answer["symbols"])}` };
  return {
    action: isJunk ? "junk" : "accept",
    fields: [status, ...addedFields(milter["add_headers"])],
    edits: [
      ...(typeof subject === "string" ? [{ name: "Subject", index: 1, value: ` ${octets(subject)}` }] : []),
      ...removedFields(milter["remove_headers"]),
    ],
    about,
  };
}

function putOff(said: string | undefined): Reply {
  return reply(451, "4.7.1", said ?? "The message is deferred; try again later");
}

/** The symbols that weigh most, as a continuation of a field. */
function symbolsOf(symbols: unknown): string {
  const weights = Object.entries(asRecord(symbols) ?? {}).slice(0, MAX_SEEN).map(([name, symbol]) => ({
    name,
    weight: Math.abs(asNumber(asRecord(symbol)?.["score"])),
  })).filter(({ name, weight }) => weight > 0 && /^[A-Z0-9_]{1,60}$/i.test(name));
  weights.sort((a, b) => b.weight - a.weight);
  return weights.slice(0, MAX_SYMBOLS).map(({ name }, index) =>
    index === 0 ? `\r\n\ttests=${name}` : `,\r\n\t${name}`
  )
    .join("");
}

/** `{ "X-Name": "value" | { "value": "…" } | [ … ] }` */
function addedFields(headers: unknown): Header[] {
  const fields = Object.entries(asRecord(headers) ?? {}).slice(0, MAX_FIELDS).flatMap(([name, given]) =>
    (Array.isArray(given) ? given : [given]).flatMap((one) => {
      const value = typeof one === "string" ? one : asRecord(one)?.["value"];
      return typeof value === "string" && isFieldName(name) ? [{ name, value: foldedValue(value) }] : [];
    })
  );
  return fields.slice(0, MAX_FIELDS);
}

/** `{ "X-Name": 1 }`: the first one, counted from below where it is negative; 0: all. */
function removedFields(headers: unknown): HeaderEdit[] {
  return Object.entries(asRecord(headers) ?? {}).slice(0, MAX_FIELDS).flatMap(
    ([name, index]): HeaderEdit[] => {
      if (typeof index !== "number" || !Number.isInteger(index) || index < 0) return [];
      return [{ name, index: index === 0 ? "all" : index }];
    },
  );
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Readonly<Record<string, unknown>>
    : undefined;
}

/** To two digits. */
function asNumber(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? Math.round(value * 100) / 100 : 0;
}

function oneLine(text: string): string {
  return text.slice(0, MAX_TEXT).replace(/[^\x20-\x7e]+/g, " ").trim();
}

/** A text as octets of a header section. */
function octets(text: string): string {
  return Buffer.from(foldedValue(text.slice(0, 900))).toString("latin1");
}
