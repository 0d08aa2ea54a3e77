/**
 * Reads the spool's entries from their files and the journal, and puts damaged ones aside.
 *
 * @module
 */
import type { Logger } from "../../base/log.ts";
import type { Clock } from "../../base/clock.ts";
import type { Journal } from "./journal.ts";
import type { QueueEntry, QueueRecipient } from "../queue_entry.ts";
import { decodeText, isFile, messagePath, putAside, readTextIfThere, statePath } from "./directory.ts";
import { applyJournal, type DotSent } from "../stored/entry.ts";
import { decodeHead, decodeState, MAX_HEAD, type SpoolHead } from "../stored/format.ts";
import { SpoolFormatError } from "../stored/format_values.ts";

/** What a {@linkcode SpoolReader} needs. */
export interface SpoolReaderOptions {
  /** The spool's directory. */
  readonly directory: string;
  /** Where damage is logged, and dots that a crash left without an answer. */
  readonly logger: Logger;
  /** Tells the time. */
  readonly clock: Clock;
  /** What is known of entries beyond their files. */
  readonly journal: Journal;
  /** Milliseconds from a dot without an answer to the next attempt. */
  readonly resendAfter: () => number;
  /** Called with an entry that is there only because its removal was not finished. */
  readonly removed: (id: string) => void;
}

const READ_SIZE = 4096;

/** Reads entries of one spool. */
export class SpoolReader {
  readonly #options: SpoolReaderOptions;
  readonly #buffer = new Uint8Array(READ_SIZE);
  /** Dots of an earlier process whose missing answer is in the log. */
  readonly #told = new WeakSet<DotSent>();

  constructor(options: SpoolReaderOptions) {
    this.#options = options;
  }

  /**
   * Reads an entry; a damaged one is put aside and treated as gone.
   * @param hasState whether there is a state file; `undefined` = look
   */
  read(id: string, hasState?: boolean): QueueEntry | undefined {
    try {
      return this.#readEntry(id, hasState);
    } catch (error) {
      if (!(error instanceof SpoolFormatError)) throw error;
      this.putAside(id, error.message);
      return undefined;
    }
  }

  /**
   * Reads the head of an entry's message, and tells the octets that it takes up in the file.
   * @throws {SpoolFormatError} when it is damaged, or the message has not the size that it tells
   */
  readHead(id: string): { head: SpoolHead; length: number } | undefined {
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(messagePath(this.#options.directory, id));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    try {
      const { bytes, lf, whole } = this.#readFirstLine(file);
      const head = decodeHead(decodeText(bytes.subarray(0, lf)), id);
      const { entry, messageCheck } = head;
      const size = (whole ? bytes.length : file.statSync().size) - (lf + 1);
      // Without a check someone has edited the message, and its size with it.
      if (messageCheck === undefined) return { head: { entry: { ...entry, size } }, length: lf + 1 };
      if (size < entry.size) throw new SpoolFormatError(`cut short: ${size} of ${entry.size} octets`);
      if (size > entry.size) throw new SpoolFormatError(`too long: ${size} instead of ${entry.size} octets`);
      return { head, length: lf + 1 };
    } finally {
      file.close();
    }
  }

  /** Puts a damaged entry aside: message, state, and what the journal knows of it. */
  putAside(id: string, reason: string): void {
    const { directory, logger, journal } = this.#options;
    const records = journal.describe(id);
    // The message first: a message without its state looks as if it had never been tried.
    const kept = putAside(messagePath(directory, id), { directory, reason, logger });
    const state = statePath(directory, id);
    if (isFile(state)) putAside(state, { directory, reason, logger });
    if (records !== "" && kept !== undefined) Deno.writeTextFileSync(`${kept}.journal`, records);
    journal.forget(id);
  }

  #readEntry(id: string, hasState: boolean | undefined): QueueEntry | undefined {
    const { directory, clock, journal, resendAfter, removed } = this.#options;
    const known = journal.get(id);
    if (known?.removed) {
      removed(id);
      return undefined;
    }
    const entry = this.readHead(id)?.head.entry;
    if (entry === undefined) return undefined;
    if (hasState !== false) readState(statePath(directory, id), entry);
    if (known !== undefined) {
      const now = clock.now();
      for (const { recipient, dot } of applyJournal(entry, known, { now, resendAfter: resendAfter() })) {
        this.#tellUnanswered(id, { recipient, dot, now });
      }
    }
    return entry;
  }

  /** Reads a file up to the first LF at least; `whole` tells whether to its end. */
  #readFirstLine(file: Deno.FsFile): { bytes: Uint8Array; lf: number; whole: boolean } {
    let bytes = this.#buffer.subarray(0, file.readSync(this.#buffer) ?? 0);
    // A read comes short only at the end of the file, which then needs no stat.
    const whole = bytes.length < READ_SIZE;
    let lf = bytes.indexOf(10);
    while (lf < 0 && !whole && bytes.length < MAX_HEAD) {
      const longer = new Uint8Array(bytes.length * 4);
      longer.set(bytes);
      const read = file.readSync(longer.subarray(bytes.length)) ?? 0;
      if (read === 0) break;
      bytes = longer.subarray(0, bytes.length + read);
      lf = bytes.indexOf(10);
    }
    if (bytes.length === 0) throw new SpoolFormatError("empty");
    if (lf < 0) throw new SpoolFormatError("cut short: the head has no end");
    return { bytes, lf, whole };
  }

  /** Logs the attempt that the earlier process had no time to log, since a second copy may follow. */
  #tellUnanswered(
    id: string,
    { recipient, dot, now }: { recipient: QueueRecipient; dot: DotSent; now: number },
  ): void {
    if (this.#told.has(dot)) return;
    this.#told.add(dot);
    const { host, address, status, error } = recipient.attempts.at(-1) ?? {};
    this.#options.logger.info("attempt.deferred", {
      ...{ id, recipient: recipient.address, host, address, status, error },
      dot_sent_no_reply: true,
      attempts: recipient.attemptCount,
      again_ms: Math.max(0, recipient.nextAttemptAt - now),
    });
  }
}

/** Reads what has become of the recipients into the entry, where there is a file of it. */
function readState(path: string, entry: QueueEntry): void {
  const text = readTextIfThere(path);
  if (text === undefined) return;
  try {
    decodeState(text, entry);
  } catch (error) {
    if (error instanceof SpoolFormatError) throw new SpoolFormatError(`state file: ${error.message}`);
    throw error;
  }
}
