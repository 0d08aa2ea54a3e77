/**
 * A milter as a filter.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Clock } from "../base/clock.ts";
import type { HeaderEdit } from "../message/header_edits.ts";
import { HeaderSection } from "../message/header_section.ts";
import { type MilterAddress, MilterSession, type MilterVerdict } from "../milter/milter.ts";
import type { Header } from "../smtp/delivery.ts";
import { type EnhancedStatusCode, type Reply, reply } from "../smtp/reply.ts";
import {
  type Filter,
  type FilteredMessage,
  type FilterOpinion,
  type FilterSession,
  foldedValue,
} from "./filter.ts";

/** How to reach a milter. */
export interface MilterFilterOptions {
  /** Where it listens. */
  readonly address: MilterAddress;
  /** Measures the waits. */
  readonly clock: Clock;
  /** For the connection and each answer. */
  readonly timeoutMs: number;
}

const MAX_LINES = 10;
const MAX_LINE = 400;

/** Shows messages to a milter. */
export class MilterFilter implements Filter {
  /** The name in the log and the metrics; see {@linkcode Filter}. */
  readonly name: string;
  readonly #options: MilterFilterOptions;

  /** Makes a new connection for each message. */
  constructor(options: MilterFilterOptions) {
    const { address } = options;
    this.name = `milter ${"path" in address ? address.path : `${address.host}:${address.port}`}`;
    this.#options = options;
  }

  /** Connects to the milter for one message; see {@linkcode Filter}. */
  async open(message: FilteredMessage): Promise<FilterSession> {
    const session = await MilterSession.open(this.#options);
    try {
      await session.envelope(message);
      return new MilterFilterSession(session);
    } catch (error) {
      session[Symbol.dispose]();
      throw error;
    }
  }
}

class MilterFilterSession implements FilterSession {
  readonly #session: MilterSession;
  #section = new HeaderSection();

  constructor(session: MilterSession) {
    this.#session = session;
  }

  header(section: HeaderSection): Promise<void> {
    this.#section = section;
    return this.#session.header(section.fields);
  }

  body(chunk: Uint8Array): Promise<void> {
    return this.#session.body(chunk);
  }

  async finish(): Promise<FilterOpinion> {
    return opinionOf(await this.#session.finish(), this.#section);
  }

  [Symbol.dispose](): void {
    this.#session[Symbol.dispose]();
  }
}

function opinionOf(
  { action, reply, quarantine, changes }: MilterVerdict,
  section: HeaderSection,
): FilterOpinion {
  const none = { fields: [], edits: [] };
  switch (action) {
    case "reject":
      return { ...none, action: "refuse", about: "reject", reply: readReply(reply) ?? refused };
    case "defer":
      return { ...none, action: "defer", about: "defer", reply: readReply(reply) ?? putOff };
    case "discard":
      // What was answered 250 is never thrown away.
      return { ...none, action: "junk", about: "discard" };
  }
  const fields: Header[] = [];
  const edits: HeaderEdit[] = [];
  for (const { name, value, ...change } of changes) {
    // The first field counts as 1, and 0 means it, too.
    const index = change.kind === "change" ? Math.max(change.index, 1) : Infinity;
    const isThere = section.named(name.toLowerCase()).length >= index;
    if (value !== "" && !isThere) fields.push({ name, value: foldedValue(utf8(value)) });
    else if (isThere) edits.push({ name, index, ...(value !== "" && { value: ` ${foldedValue(value)}` }) });
  }
  const flagged = fields.some(({ name, value }) => /^x-spam(?:-flag)?$/i.test(name) && /^yes\b/i.test(value));
  const about = quarantine !== undefined ? "quarantine" : flagged ? "flagged" : "accept";
  return { action: about === "accept" ? "accept" : "junk", fields, edits, about };
}

const refused = reply(550, "5.7.1", "The message was refused by a filter");
const putOff = reply(451, "4.7.1", "A filter deferred the message; try again later");

/** A reply as a milter gives it, of one line or several; `undefined` for none. */
function readReply(text: string | undefined): Reply | undefined {
  if (text === undefined) return undefined;
  let code = 0;
  let enhanced: EnhancedStatusCode | undefined;
  const lines: string[] = [];
  for (const line of utf8(text).split(/\r\n|\r|\n/).slice(0, MAX_LINES)) {
    const [, digits, status, rest = ""] =
      /^(\d{3})(?:[ -](?:([45]\.\d{1,3}\.\d{1,3})(?: |$))?(.*))?$/s.exec(line) ?? [];
    if (digits === undefined) continue;
    code ||= Number(digits);
    if (status?.[0] === String(code)[0]) enhanced ??= status as EnhancedStatusCode;
    lines.push(rest.slice(0, MAX_LINE));
  }
  return code === 0
    ? undefined
    : reply(code, enhanced, ...lines.map((line) => line || "Refused by a filter"));
}

/** Octets, one character each, as the text that they are. */
function utf8(octets: string): string {
  return Buffer.from(octets, "latin1").toString("utf8");
}
