/**
 * Filters that others keep: each sees a message as it comes, and has its say at the end. One that is down, slow or talks
 * nonsense must cost neither mail nor the server.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import { Watchdog } from "../base/watchdog.ts";
import type { HeaderEdit } from "../message/header_edits.ts";
import type { HeaderSection } from "../message/header_section.ts";
import type { MilterEnvelope } from "../milter/milter.ts";
import type { Header } from "../smtp/delivery.ts";
import type { Reply } from "../smtp/reply.ts";

/** What a filter of any kind is told of a message beforehand: what the milter protocol knows of it. */
export type FilteredMessage = MilterEnvelope;

/** What a filter makes of a message. */
export interface FilterOpinion {
  /** `junk` accepts it, too. */
  readonly action: "accept" | "junk" | "refuse" | "defer";
  /** What to tell the client of a message that is refused or deferred. */
  readonly reply?: Reply;
  /** Fields to put on top. */
  readonly fields: readonly Header[];
  /** Changes of the header section. */
  readonly edits: readonly HeaderEdit[];
  /** In a few words, for the log. */
  readonly about: string;
}

/** A filter. */
export interface Filter {
  /** For the log, such as `rspamd 127.0.0.1:11333`. */
  readonly name: string;
  /** Begins with a message. @throws {Error} when the filter cannot be reached */
  open(message: FilteredMessage): Promise<FilterSession>;
}

/** One message at one filter; any failure rejects. */
export interface FilterSession extends Disposable {
  /** Shows the header section. */
  header(section: HeaderSection): Promise<void>;
  /** Shows a part of the body, which is only valid until the promise settles. */
  body(chunk: Uint8Array): Promise<void>;
  /** The message is over. */
  finish(): Promise<FilterOpinion>;
}

/** The outcome of one filter. */
export type FilterOutcome = { readonly opinion: FilterOpinion } | { readonly failure: string };

/**
 * For all that a filter does about one message, in milliseconds: what it does to one part has its own bound, but a
 * message has many. Its client waits for ten minutes (RFC 5321 §4.5.3.2.6).
 */
const TIMEOUT = 120_000;

/** What a {@linkcode FilterRun} depends on. */
export interface FilterRunOptions {
  /** What the filter is told. */
  readonly message: Promise<FilteredMessage>;
  /** Hears, once, that the filter failed, or that it did its work. */
  readonly ended: (failure: string | undefined) => void;
  /** Measures the waits. */
  readonly clock: Clock;
}

/** Shows one message to one filter. Never rejects: after a failure nothing more is shown. */
export class FilterRun implements Disposable {
  /** Which one. */
  readonly filter: Filter;
  readonly #ended: (failure: string | undefined) => void;
  readonly #clock: Clock;
  readonly #watchdog: Watchdog;
  /** Ends the wait for the step that is being done. */
  #giveUp: (error: Error) => void = () => {};
  #left = TIMEOUT;
  #session: FilterSession | undefined;
  #failure: string | undefined;
  #disposed = false;
  /** What was done so far, one step after the other. */
  #steps: Promise<void>;

  /** Begins at once. */
  constructor(filter: Filter, { message, ended, clock }: FilterRunOptions) {
    this.filter = filter;
    this.#ended = ended;
    this.#clock = clock;
    this.#watchdog = new Watchdog(clock, () => this.#giveUp(new Error(`more than ${TIMEOUT / 1000} s`)));
    this.#steps = this.#guard(async () => {
      const session = await filter.open(await message);
      if (this.#disposed) session[Symbol.dispose]();
      else this.#session = session;
    });
  }

  /** Shows the header section. */
  header(section: HeaderSection): void {
    this.#steps = this.#then((session) => session.header(section));
  }

  /** Shows a part of the body; resolves when the filter has taken it. */
  body(chunk: Uint8Array): Promise<void> | void {
    if (this.#failure === undefined) return this.#steps = this.#then((session) => session.body(chunk));
  }

  /** The outcome. */
  async finish(): Promise<FilterOutcome> {
    let opinion: FilterOpinion | undefined;
    await this.#then(async (session) => void (opinion = await session.finish()));
    if (opinion === undefined) return { failure: this.#failure ?? "it was closed" };
    this.#ended(undefined);
    return { opinion };
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#watchdog.cancel();
    this.#session?.[Symbol.dispose]();
    this.#session = undefined;
  }

  async #then(step: (session: FilterSession) => Promise<void>): Promise<void> {
    await this.#steps;
    const session = this.#session;
    if (session !== undefined) await this.#guard(() => step(session));
  }

  async #guard(step: () => Promise<void>): Promise<void> {
    const began = this.#clock.monotonic();
    const late = Promise.withResolvers<never>();
    this.#giveUp = late.reject;
    this.#watchdog.deadline = began + this.#left;
    try {
      await Promise.race([step(), late.promise]);
      this.#left -= this.#clock.monotonic() - began;
      // What the client takes its time for is not the filter's fault.
      this.#watchdog.deadline = Infinity;
    } catch (error) {
      // What was closed on purpose did not fail.
      if (!this.#disposed && this.#failure === undefined) this.#ended(this.#failure = errorText(error));
      this[Symbol.dispose]();
    }
  }
}

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f]/g;

/** A field's value as a filter gave it, folded with CRLF; white space at the beginning and empty lines go. */
export function foldedValue(text: string): string {
  const lines = text.split(/\r\n|\r|\n/).map((line) => line.replace(CONTROL, "?")).filter((line) =>
    /[^ \t]/.test(line)
  );
  return lines.map((line, index) =>
    index === 0 ? line.replace(/^[ \t]+/, "") : /^[ \t]/.test(line) ? line : `\t${line}`
  ).join("\r\n");
}

/** Whether a text can be the name of a field. */
export function isFieldName(name: string): boolean {
  return /^[!-9;-~]{1,200}$/.test(name);
}
