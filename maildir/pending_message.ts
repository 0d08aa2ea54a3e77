/**
 * One message on its way into one or several Maildirs.
 *
 * @module
 */
import { counters } from "../base/counters.ts";
import type { Logger } from "../base/log.ts";
import type { Filing, Header, PendingMessage, TopForecast } from "../smtp/delivery.ts";
import { noRoom } from "../smtp/replies.ts";
import { reply, SmtpError } from "../smtp/reply.ts";
import { SpareBuffers } from "../base/spare_buffers.ts";
import { concat, concatInto } from "../base/concat.ts";
import type { Slots } from "../base/slots.ts";
import type { MessageOnDisk, SpaceClaim } from "../storage/space_reserve.ts";
import type { StagedMessage } from "../storage/staging.ts";
import { StorageError } from "../storage/storage_error.ts";
import { GrowingCopy } from "./growing_copy.ts";
import { LineEndingConverter } from "./line_endings.ts";
import { formatHead } from "./message_head.ts";
import type { Maildir } from "./maildir.ts";
import type { MaildirMessage } from "./maildir_message.ts";
import type { Mailbox } from "./mailboxes.ts";
import { errorText } from "../base/error_text.ts";

const deliveries = counters("mailapp_maildir_deliveries_total", {
  help: "Copies of messages in Maildirs, by where they were filed",
  labels: ["filing"],
});
const inboxDeliveries = deliveries.with("inbox");
const junkDeliveries = deliveries.with("junk");

/** How many copies of one message are written at once. */
const COPIES_AT_ONCE = 8;
/** Octets from which a message for one mailbox is written there as it comes, instead of kept in memory. */
const GROWS_FROM = 256 * 1024;

/** The index of the Maildirs in a {@linkcode SpaceClaim}. */
export const MAIL = 0;
/** The index of the staging directory. */
export const STAGING = 1;

/** Where a message goes. */
export interface CopyTarget {
  /** Whose it is. */
  readonly mailbox: Mailbox;
  /** The mailbox on the disk. */
  readonly maildir: Maildir;
}

interface Copy extends CopyTarget {
  readonly message: MaildirMessage;
  /** Octets with CRLF. */
  readonly wire: number;
}

/** What a {@linkcode PendingMaildirMessage} needs. */
export interface PendingOptions {
  /** The delivery's id of the message. */
  readonly id: string;
  /** At least one; each Maildir once. */
  readonly targets: readonly CopyTarget[];
  /** The staged message, where it is staged. */
  readonly staged: StagedMessage;
  /** Claims room for it: in the Maildirs ({@linkcode MAIL}), and where it is staged ({@linkcode STAGING}). */
  readonly claim: SpaceClaim;
  /** Forecasts the fields on top, as given to `begin()` of smtp/delivery.ts. */
  readonly forecast: TopForecast | undefined;
  /** The folder for junk; absent: none. */
  readonly junkFolder: string | undefined;
  /** For files that are open while a message is stored. */
  readonly slots: Slots;
  /** For files that are open while a message comes. */
  readonly growing: Slots;
  /** Names session and message. */
  readonly logger: Logger;
}

/** A copy that is written as the message comes. */
interface Growing extends CopyTarget {
  readonly copy: GrowingCopy;
  /** The fields on top, until others are known. */
  readonly head: Uint8Array;
  readonly slot: Disposable;
}

/** One message for some mailboxes. */
export class PendingMaildirMessage implements PendingMessage, MessageOnDisk {
  readonly id: string;
  readonly #options: PendingOptions;
  readonly #targets: readonly CopyTarget[];
  readonly #staged: StagedMessage;
  readonly #claim: SpaceClaim;
  readonly #logger: Logger;
  readonly #converter = new LineEndingConverter();
  #growing: Growing | undefined;

  constructor(options: PendingOptions) {
    this.id = options.id;
    this.#options = options;
    this.#targets = options.targets;
    this.#staged = options.staged;
    const claim = this.#claim = options.claim;
    claim.message = this;
    this.#logger = options.logger;
  }

  writtenIn(path: number): number {
    return path === MAIL ? this.#growing?.copy.message.size ?? 0 : this.#staged.octetsInFile;
  }

  write(chunk: Uint8Array): Promise<void> | void {
    const bytes = this.#converter.push(chunk);
    const hasRoom = this.#claim.grow(MAIL, bytes.length * this.#targets.length);
    const taken = hasRoom === true ? this.#take(bytes) : withRoom(hasRoom, () => this.#take(bytes));
    return taken?.catch((error) => {
      throw failure(error);
    });
  }

  #take(bytes: Uint8Array): Promise<void> | void {
    if (this.#growing !== undefined) return this.#growing.copy.write(bytes);
    if (this.#staged.size + bytes.length <= GROWS_FROM) return this.#stage(bytes);
    const { forecast, growing } = this.#options;
    const [target, second] = this.#targets;
    const { pieces } = this.#staged;
    const mayGrow = second === undefined && growing.free > 0;
    const reserve = mayGrow ? forecast?.reserve() : undefined;
    if (pieces === undefined || target === undefined || forecast === undefined || reserve === undefined) {
      return this.#stage(bytes);
    }
    const known = formatHead(forecast.fields(), target.mailbox).bytes;
    const head = new Uint8Array(known.length + reserve).fill(SPACE);
    head.set(known);
    return this.#beginToGrow(target, { head, pieces: [...pieces, bytes] });
  }

  /** Stages it, in memory or in a file, which takes room of its own. */
  #stage(bytes: Uint8Array): Promise<void> | void {
    if (!this.#staged.willBeInFile(bytes.length)) return this.#staged.write(bytes);
    const octets = this.#staged.size + bytes.length - this.#claim.claimed(STAGING);
    const hasRoom = this.#claim.grow(STAGING, octets);
    return hasRoom === true ? this.#staged.write(bytes) : withRoom(hasRoom, () => this.#staged.write(bytes));
  }

  /** Writes what there is into the mailbox's `tmp/`, where the rest will follow. */
  async #beginToGrow(
    target: CopyTarget,
    { head, pieces }: { readonly head: Uint8Array; readonly pieces: readonly Uint8Array[] },
  ): Promise<void> {
    const slot = await this.#options.growing.take(1);
    try {
      const copy = new GrowingCopy(await target.maildir.create({ readable: true }));
      this.#growing = { ...target, copy, head, slot };
      for (const piece of [head, ...pieces]) await copy.write(piece);
    } finally {
      if (this.#growing === undefined) slot[Symbol.dispose]();
      this.#staged[Symbol.dispose]();
    }
  }

  async commit(prepend: readonly Header[], { junk = false, header }: Filing = {}): Promise<void> {
    const copies: Copy[] = [];
    try {
      await this.#take(this.#converter.finish());
      const top = { prepend, header };
      const growth = growthBy(header) * this.#targets.length;
      if (growth > 0) await this.#needRoom(growth);
      if (this.#growing !== undefined) await this.#finishGrowing(this.#growing, { ...top, copies });
      else await this.#prepareAll(top, copies);
      // From here on every copy is on the disk, and only its name is missing.
      await inGroups(copies, (copy) => this.#publish(copy, junk));
      await inGroups(copies, ({ message }) => message.settle());
      this.#claim.settle([copies.reduce((sum, { message }) => sum + message.size, 0)]);
    } catch (error) {
      throw await this.#withdraw(copies, error);
    } finally {
      this.#growing?.slot[Symbol.dispose]();
      this.#growing = undefined;
    }
    (junk ? junkDeliveries : inboxDeliveries).add(copies.length);
    for (const { mailbox, message } of copies) {
      this.#logger.info("message.delivered", {
        mailbox: mailbox.address,
        file: message.path,
        bytes: message.size,
      });
    }
  }

  /** Drops what was not committed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#staged[Symbol.dispose]();
    this.#converter[Symbol.dispose]();
    const growing = this.#growing;
    this.#growing = undefined;
    growing?.slot[Symbol.dispose]();
    try {
      await growing?.copy.message.discard();
    } finally {
      this.#claim[Symbol.dispose]();
    }
  }

  async #finishGrowing(
    { mailbox, maildir, copy, head }: Growing,
    { prepend, header, copies }: Top & { readonly copies: Copy[] },
  ): Promise<void> {
    const padded = header === undefined ? formatHead(prepend, mailbox, head.length) : undefined;
    const { bytes, lines } = padded ?? formatHead(prepend, mailbox);
    const wire = copy.size - head.length + bytes.length + lines + this.#converter.lines + growthBy(header);
    copies.push({ mailbox, maildir, message: copy.message, wire });
    if (padded === undefined) {
      return await this.#copyAnew({ mailbox, maildir, copy, head }, { top: bytes, header, wire, copies });
    }
    if (Buffer.compare(bytes, head) !== 0) {
      await copy.flush();
      await copy.message.overwriteStart(bytes);
    }
    await copy.finish();
  }

  /** The fields do not fit into the reserved room: a second copy, with the new fields on top. */
  async #copyAnew(
    { mailbox, maildir, copy, head }: Omit<Growing, "slot">,
    { top, header, wire, copies }: {
      readonly top: Uint8Array;
      readonly header: Filing["header"];
      readonly wire: number;
      readonly copies: Copy[];
    },
  ): Promise<void> {
    await copy.flush();
    await this.#needRoom(copy.size);
    const message = await maildir.create();
    copies.push({ mailbox, maildir, message, wire });
    await message.write(top);
    for await (const chunk of withHeader(copy.message.readBack(head.length), header)) {
      await message.write(chunk);
    }
    await message.finish();
    copies.shift();
    await copy.message.discard();
  }

  async #needRoom(octets: number): Promise<void> {
    if (!await this.#claim.grow(MAIL, octets)) throw new SmtpError(noRoom);
  }

  async #publish({ maildir, mailbox, message, wire }: Copy, junk: boolean): Promise<void> {
    const { junkFolder } = this.#options;
    if (!junk || junkFolder === undefined) return await message.publish({ wire });
    const folder = maildir.folder(junkFolder);
    try {
      await folder.prepare();
    } catch (error) {
      if (!(error instanceof StorageError) || error.fault !== "denied") throw error;
      // It is marked as junk, and is stored in the inbox rather than lost.
      this.#logger.warn("junk.not_filed", { mailbox: mailbox.address, error: errorText(error) });
      return await message.publish({ wire });
    }
    await message.publish({ wire, folder });
  }

  async #prepareAll(top: Top, copies: Copy[]): Promise<void> {
    for (let at = 0; at < this.#targets.length; at += COPIES_AT_ONCE) {
      await this.#prepare(this.#targets.slice(at, at + COPIES_AT_ONCE), { ...top, copies });
    }
  }

  /** Writes and syncs one group of copies; each is in `copies` as soon as its file exists. */
  async #prepare(
    group: readonly CopyTarget[],
    { prepend, header, copies }: Top & { readonly copies: Copy[] },
  ): Promise<void> {
    using _slots = await this.#options.slots.take(group.length);
    // A copy with another header section is written chunk by chunk.
    const pieces = header === undefined ? this.#staged.pieces : undefined;
    const open = await all(group, async (target) => {
      const head = formatHead(prepend, target.mailbox);
      const message = await target.maildir.create();
      const wire = head.bytes.length + head.lines + this.#staged.size + this.#converter.lines +
        growthBy(header);
      copies.push({ ...target, message, wire });
      await (pieces === undefined
        ? message.write(head.bytes)
        : writeAtOnce(message, [head.bytes, ...pieces]));
      return message;
    });
    if (pieces === undefined) {
      for await (const chunk of withHeader(this.#staged.chunks(), header)) {
        await all(open, (message) => message.write(chunk));
      }
    }
    await all(open, (message) => message.finish());
  }

  /** Withdraws all copies, which have not been acknowledged. Returns the error for the client. */
  async #withdraw(copies: readonly Copy[], cause: unknown): Promise<SmtpError> {
    const published = copies.filter(({ message }) => message.published).map(({ message }) => message.path);
    await inGroups(copies, ({ message }) => message.discard());
    if (published.length === 0) return failure(cause);
    // A reader may have seen one of these by now, and the client will send the message again.
    this.#logger.error("message.withdrawn", { files: published, error: errorText(cause) });
    return new SmtpError(storageFailed, { cause });
  }
}

/** The head above the body, once it is known. */
interface Top {
  readonly prepend: readonly Header[];
  readonly header: Filing["header"];
}

/** By how many octets with CRLF another header section makes the message longer. */
function growthBy(header: Filing["header"]): number {
  return header === undefined ? 0 : header.bytes.length - header.octets;
}

/** A message as it stands on the disk, with another header section. */
async function* withHeader(
  chunks: AsyncIterable<Uint8Array>,
  header: Filing["header"],
): AsyncIterable<Uint8Array> {
  if (header === undefined) return yield* chunks;
  using converter = new LineEndingConverter();
  yield converter.push(header.bytes);
  let left = header.octets;
  for await (const chunk of chunks) {
    let at = 0;
    // On the disk a line end is one octet.
    while (left > 0 && at < chunk.length) left -= chunk[at++] === LF ? 2 : 1;
    if (at < chunk.length) yield chunk.subarray(at);
  }
}

const storageFailed = reply(451, "4.3.0", "The message could not be stored; try again later");

/** Does what takes room, if there is some. */
async function withRoom(
  hasRoom: Promise<boolean> | boolean,
  work: () => Promise<void> | void,
): Promise<void> {
  if (!await hasRoom) throw new SmtpError(noRoom);
  await work();
}

function failure(cause: unknown): SmtpError {
  if (cause instanceof SmtpError) return cause;
  const full = cause instanceof StorageError && (cause.fault === "no-space" || cause.fault === "over-quota");
  return new SmtpError(full ? noRoom : storageFailed, { cause });
}

const LF = 10;
const SPACE = 32;

// Room for most messages.
const spare = new SpareBuffers(64 * 1024, 8);

/** Writes what is in memory by one call. */
async function writeAtOnce(message: MaildirMessage, pieces: readonly Uint8Array[]): Promise<void> {
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  if (size > spare.size) return await message.write(concat(...pieces));
  const buffer = spare.take();
  concatInto(buffer, pieces);
  await message.write(buffer.subarray(0, size));
  spare.give(buffer);
}

/** Runs them concurrently and waits for all, also when one fails: nothing may still run during cleanup. */
async function all<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const [first] = items;
  // Most messages go to one mailbox.
  if (items.length === 1 && first !== undefined) return [await run(first)];
  const values: R[] = [];
  for (const result of await Promise.allSettled(items.map(run))) {
    if (result.status === "rejected") throw result.reason;
    values.push(result.value);
  }
  return values;
}

async function inGroups<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += COPIES_AT_ONCE) {
    await all(items.slice(at, at + COPIES_AT_ONCE), run);
  }
}
