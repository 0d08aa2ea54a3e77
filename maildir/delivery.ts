/**
 * Takes messages for local mailboxes and stores each as a file in a Maildir per mailbox.
 *
 * @module
 */
import type { Logger } from "../observe/log.ts";
import { type Clock, systemClock } from "../smtp/clock.ts";
import type { Delivery, Header, PendingMessage, RecipientDecision } from "../smtp/delivery.ts";
import type { Envelope, Recipient } from "../smtp/envelope.ts";
import { type Reply, reply, SmtpError } from "../smtp/reply.ts";
import type { Session } from "../smtp/session.ts";
import { concat } from "../storage/concat.ts";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { denoFileSystem, type FileSystem } from "../storage/file_system.ts";
import { freeSpace } from "../storage/free_space.ts";
import { Slots } from "../storage/slots.ts";
import type { StagedMessage, StagingArea } from "../storage/staging.ts";
import { StorageError, type StorageFault } from "../storage/storage_error.ts";
import { LineEndingConverter } from "./line_endings.ts";
import { Maildir, type MaildirMessage } from "./maildir.ts";
import { GrowingCopy } from "./growing_copy.ts";
import type { Mailbox, Mailboxes } from "./mailboxes.ts";
import { UniqueNames } from "./unique_name.ts";

/** How many copies of one message are written at once. */
const COPIES_AT_ONCE = 8;
/** How many files all messages together have open at once. */
const FILES_AT_ONCE = 256;
/** From so many octets on a message for one mailbox goes there as it comes: no more are kept in memory. */
const GROWS_FROM = 256 * 1024;
/** So many messages may do that at once; others wait in a file of their own, as do those for several mailboxes. */
const GROWING_AT_ONCE = 64;
/** How long a look at the free space is good for, in milliseconds. */
const SPACE_LIFETIME = 1000;

/** What a delivery into Maildirs needs. */
export interface MaildirDeliveryOptions {
  /** Who is local. */
  readonly mailboxes: Mailboxes;
  /** This server's name; stands in the file names, and decides whose Authentication-Results are forged. */
  readonly hostname: string;
  /** Where larger messages wait for their end. */
  readonly staging: StagingArea;
  /** Octets that must stay free where the Maildirs are, and where messages wait. */
  readonly minFreeSpace: number;
  /** Where events go. */
  readonly log: Logger;
  /** The system's clock if absent. */
  readonly clock?: Clock;
  /** The counter common to all workers; see `createCounter`. */
  readonly counter?: BigUint64Array<SharedArrayBuffer>;
  /** Octets free at a path; asks the system if absent. */
  readonly freeSpace?: (path: string) => Promise<number>;
  /** For tests. */
  readonly fileSystem?: FileSystem;
}

/**
 * A {@linkcode Delivery} into Maildirs. A message is answered for only when every copy, its name and the directories on
 * the way are synced.
 */
export class MaildirDelivery implements Delivery {
  /** None. */
  readonly extensions: readonly [] = [];
  /** What comes from the Internet and has a bare CR or LF is refused. */
  readonly bareLineEndings = "refuse";
  /** Addresses come complete. */
  readonly completesAddresses = false;
  /** A Maildir is where mail leaves SMTP. */
  readonly addsReturnPath = true;
  readonly #hostname: string;
  readonly #staging: StagingArea;
  readonly #minFreeSpace: number;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #freeSpace: (path: string) => Promise<number>;
  readonly #fileSystem: FileSystem;
  readonly #names: UniqueNames;
  readonly #syncer: DirectorySyncer;
  readonly #slots = new Slots(FILES_AT_ONCE);
  readonly #growing = new Slots(GROWING_AT_ONCE);
  readonly #maildirs = new Map<string, Maildir>();
  #mailboxes: Mailboxes;
  #space: { readonly until: number; readonly lowest: Promise<Space | undefined> } | undefined;

  /** Touches nothing on the disk yet. */
  constructor(options: MaildirDeliveryOptions) {
    this.#mailboxes = options.mailboxes;
    this.#hostname = options.hostname.toLowerCase();
    this.#staging = options.staging;
    this.#minFreeSpace = options.minFreeSpace;
    this.#log = options.log;
    const clock = this.#clock = options.clock ?? systemClock;
    this.#freeSpace = options.freeSpace ?? freeSpace;
    this.#fileSystem = options.fileSystem ?? denoFileSystem;
    const { hostname, counter } = options;
    this.#names = new UniqueNames({ hostname, now: () => clock.now(), ...(counter && { counter }) });
    this.#syncer = new DirectorySyncer({ fileSystem: this.#fileSystem });
  }

  /** Who is local. May be replaced at any time; it is looked at anew for each recipient. */
  get mailboxes(): Mailboxes {
    return this.#mailboxes;
  }

  /** Replaces who is local. */
  set mailboxes(mailboxes: Mailboxes) {
    this.#mailboxes = mailboxes;
    this.#maildirs.clear();
  }

  /** Return-Path is ours to write (RFC 5321 §4.4); Authentication-Results in our name would be believed (RFC 8601 §5). */
  readonly unwantedField = (name: string, value: string): boolean => {
    if (name === "return-path") return true;
    if (name !== "authentication-results") return false;
    const id = authservId(value);
    // Whose it is cannot be told when the name hides behind more white space and comments than are looked at.
    return id === this.#hostname || id === "" || id.startsWith("(");
  };

  /** Refuses when there is not enough room for the message as it was announced. */
  async checkSender(envelope: Omit<Envelope, "recipients">, session: Session): Promise<void> {
    await this.#checkSpace(envelope.size ?? 0, session);
  }

  /** Accepts recipients whose mailboxes are local and can be written to. */
  async checkRecipient({ forwardPath }: Recipient, session: Session): Promise<RecipientDecision> {
    const resolution = this.#mailboxes.resolve(forwardPath);
    if (resolution.kind === "not-local") {
      return refuse(reply(550, "5.7.1", "Relaying denied: this server takes mail for its own domains only"));
    }
    if (resolution.kind === "unknown") return refuse(reply(550, "5.1.1", "No such mailbox here"));
    for (const mailbox of resolution.mailboxes) {
      try {
        await this.#maildir(mailbox).check();
      } catch (error) {
        const fault = error instanceof StorageError ? error.fault : "other";
        this.#log.error("mailbox.unwritable", {
          session: session.id,
          mailbox: mailbox.address,
          path: mailbox.path,
          error: describe(error),
        });
        return refuse(UNWRITABLE[fault] ?? unwritable);
      }
    }
    return { accepted: true };
  }

  /** Begins a message for all mailboxes of the envelope, each once. */
  async begin(
    envelope: Envelope,
    session: Session,
    top?: () => readonly Header[],
  ): Promise<PendingMessage> {
    await this.#checkSpace(envelope.size ?? 0, session);
    const targets = new Map<string, Target>();
    for (const { forwardPath } of envelope.recipients) {
      const resolution = this.#mailboxes.resolve(forwardPath);
      if (resolution.kind !== "local") {
        // It was accepted at RCPT; who is local has been reloaded since.
        throw new SmtpError(reply(451, "4.3.0", "A mailbox has just been removed; try again"));
      }
      for (const mailbox of resolution.mailboxes) {
        targets.set(mailbox.path, { mailbox, maildir: this.#maildir(mailbox) });
      }
    }
    const id = this.#names.nextId();
    return new PendingMaildirMessage({
      id,
      targets: [...targets.values()],
      staged: this.#staging.stage(),
      top,
      slots: this.#slots,
      growing: this.#growing,
      log: this.#log.with({ session: session.id, id }),
    });
  }

  /**
   * Removes old files from the `tmp/` of every mailbox. To be called at the start and about twice a day.
   * Resolves to the number of files removed; a Maildir where that fails is logged.
   */
  async cleanTmp(): Promise<number> {
    let removed = 0;
    for (const mailbox of this.#mailboxes.all()) {
      try {
        const count = await this.#maildir(mailbox).clean({ now: this.#clock.now() });
        if (count > 0) this.#log.info("maildir.cleaned", { path: mailbox.path, files: count });
        removed += count;
      } catch (error) {
        this.#log.warn("maildir.not_cleaned", { path: mailbox.path, error: describe(error) });
      }
    }
    return removed;
  }

  #maildir({ root, path }: Mailbox): Maildir {
    let maildir = this.#maildirs.get(path);
    if (maildir === undefined) {
      maildir = new Maildir(path, {
        root,
        names: this.#names,
        syncer: this.#syncer,
        monotonic: () => this.#clock.monotonic(),
        fileSystem: this.#fileSystem,
      });
      this.#maildirs.set(path, maildir);
    }
    return maildir;
  }

  async #checkSpace(size: number, session: Session): Promise<void> {
    const now = this.#clock.monotonic();
    if (this.#space === undefined || this.#space.until <= now) {
      this.#space = { until: now + SPACE_LIFETIME, lowest: this.#lowestSpace() };
    }
    const lowest = await this.#space.lowest;
    if (lowest === undefined || lowest.free - size >= this.#minFreeSpace) return;
    this.#log.warn("storage.low_space", {
      session: session.id,
      path: lowest.path,
      free: lowest.free,
      size,
      min_free_space: this.#minFreeSpace,
    });
    throw new SmtpError(reply(452, "4.3.1", "Not enough room for this message; try again later"));
  }

  /** The path with the least room; `undefined` where that cannot be seen, and writing will show it. */
  async #lowestSpace(): Promise<Space | undefined> {
    let lowest: Space | undefined;
    for (const path of [this.#mailboxes.root, this.#staging.directory]) {
      try {
        const free = await this.#freeSpace(path);
        if (lowest === undefined || free < lowest.free) lowest = { path, free };
      } catch (error) {
        this.#log.warn("storage.space_unknown", { path, error: describe(error) });
      }
    }
    return lowest;
  }
}

interface Space {
  readonly path: string;
  /** Octets. */
  readonly free: number;
}

interface Target {
  readonly mailbox: Mailbox;
  readonly maildir: Maildir;
}

interface Copy extends Target {
  readonly message: MaildirMessage;
  /** Octets with CRLF. */
  readonly wire: number;
}

interface PendingOptions {
  readonly id: string;
  readonly targets: readonly Target[];
  readonly staged: StagedMessage;
  readonly top: (() => readonly Header[]) | undefined;
  /** For files that are open while a message is stored. */
  readonly slots: Slots;
  /** For files that are open while a message comes. */
  readonly growing: Slots;
  readonly log: Logger;
}

/** A copy that is written as the message comes. */
interface Growing extends Target {
  readonly copy: GrowingCopy;
  /** Lines of what stands on top. */
  readonly headLines: number;
  readonly slot: Disposable;
}

/** One message for some mailboxes. */
class PendingMaildirMessage implements PendingMessage {
  readonly id: string;
  readonly #options: PendingOptions;
  readonly #targets: readonly Target[];
  readonly #staged: StagedMessage;
  readonly #log: Logger;
  readonly #converter = new LineEndingConverter();
  #growing: Growing | undefined;

  constructor(options: PendingOptions) {
    this.id = options.id;
    this.#options = options;
    this.#targets = options.targets;
    this.#staged = options.staged;
    this.#log = options.log;
  }

  write(chunk: Uint8Array): Promise<void> | void {
    return this.#take(this.#converter.push(chunk))?.catch((error) => {
      throw failure(error);
    });
  }

  #take(bytes: Uint8Array): Promise<void> | void {
    if (this.#growing !== undefined) return this.#growing.copy.write(bytes);
    const { top, growing } = this.#options;
    const [target, ...others] = this.#targets;
    const tooLarge = this.#staged.size + bytes.length > GROWS_FROM;
    if (!tooLarge || target === undefined || others.length > 0 || top === undefined || growing.free === 0) {
      return this.#staged.write(bytes);
    }
    const { pieces } = this.#staged;
    if (pieces === undefined) return this.#staged.write(bytes);
    return this.#beginToGrow(target, { head: formatHead(top(), target.mailbox), pieces: [...pieces, bytes] });
  }

  /** Puts what there is into the mailbox's `tmp/`, where the rest will follow. */
  async #beginToGrow(
    target: Target,
    { head, pieces }: { readonly head: Head; readonly pieces: readonly Uint8Array[] },
  ): Promise<void> {
    const slot = await this.#options.growing.take(1);
    try {
      const copy = new GrowingCopy(await target.maildir.create());
      this.#growing = { ...target, copy, headLines: head.lines, slot };
      await copy.write(concat(head.bytes, ...pieces));
    } finally {
      if (this.#growing === undefined) slot[Symbol.dispose]();
      this.#staged[Symbol.dispose]();
    }
  }

  async commit(prepend: readonly Header[]): Promise<void> {
    const copies: Copy[] = [];
    try {
      await this.#take(this.#converter.finish());
      if (this.#growing !== undefined) await this.#finishGrowing(this.#growing, copies);
      else await this.#prepareAll(prepend, copies);
      // From here on every copy is on the disk, and only its name is missing.
      await inGroups(copies, ({ message, wire }) => message.publish({ wire }));
      await inGroups(copies, ({ message }) => message.settle());
    } catch (error) {
      throw await this.#withdraw(copies, error);
    } finally {
      this.#growing?.slot[Symbol.dispose]();
      this.#growing = undefined;
    }
    for (const { mailbox, message } of copies) {
      this.#log.info("message.delivered", {
        mailbox: mailbox.address,
        file: message.path,
        bytes: message.size,
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#staged[Symbol.dispose]();
    const growing = this.#growing;
    this.#growing = undefined;
    growing?.slot[Symbol.dispose]();
    await growing?.copy.message.discard();
  }

  async #finishGrowing({ mailbox, maildir, copy, headLines }: Growing, copies: Copy[]): Promise<void> {
    copies.push({
      mailbox,
      maildir,
      message: copy.message,
      wire: copy.size + headLines + this.#converter.lines,
    });
    await copy.finish();
  }

  async #prepareAll(prepend: readonly Header[], copies: Copy[]): Promise<void> {
    for (let at = 0; at < this.#targets.length; at += COPIES_AT_ONCE) {
      await this.#prepare(this.#targets.slice(at, at + COPIES_AT_ONCE), { prepend, copies });
    }
  }

  /** Writes and syncs one group of copies; each is in `copies` from the moment that its file is there. */
  async #prepare(
    group: readonly Target[],
    { prepend, copies }: { readonly prepend: readonly Header[]; readonly copies: Copy[] },
  ): Promise<void> {
    using _slots = await this.#options.slots.take(group.length);
    const open = await all(group.map(async (target) => {
      const head = formatHead(prepend, target.mailbox);
      const message = await target.maildir.create();
      const wire = head.bytes.length + head.lines + this.#staged.size + this.#converter.lines;
      copies.push({ ...target, message, wire });
      return { head: head.bytes, message };
    }));
    const { pieces } = this.#staged;
    if (pieces === undefined) {
      await all(open.map(({ head, message }) => message.write(head)));
      for await (const chunk of this.#staged.chunks()) {
        await all(open.map(({ message }) => message.write(chunk)));
      }
    } else {
      await all(open.map(({ head, message }) => message.write(concat(head, ...pieces))));
    }
    await all(open.map(({ message }) => message.finish()));
  }

  /** Takes back all copies; they have not been answered for. Returns what to tell the client. */
  async #withdraw(copies: readonly Copy[], cause: unknown): Promise<SmtpError> {
    const published = copies.filter(({ message }) => message.published).map(({ message }) => message.path);
    await inGroups(copies, ({ message }) => message.discard());
    if (published.length === 0) return failure(cause);
    // A reader may have seen one of these by now, and the client will send the message again.
    this.#log.error("message.withdrawn", { files: published, error: describe(cause) });
    return new SmtpError(storageFailed, { cause });
  }
}

const storageFailed = reply(451, "4.3.0", "The message could not be stored; try again later");
const noRoom = reply(452, "4.3.1", "Not enough room to store the message; try again later");

const unwritable = reply(450, "4.2.0", "The mailbox cannot be written to at the moment; try again later");
/** What a recipient is told whose mailbox cannot be written to, by the kind of fault. */
const UNWRITABLE: Partial<Record<StorageFault, Reply>> = {
  "no-space": noRoom,
  "over-quota": reply(452, "4.2.2", "The mailbox is over its quota; try again later"),
};

function failure(cause: unknown): SmtpError {
  const full = cause instanceof StorageError && (cause.fault === "no-space" || cause.fault === "over-quota");
  return new SmtpError(full ? noRoom : storageFailed, { cause });
}

function refuse(reply: Reply): RecipientDecision {
  return { accepted: false, reply };
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const encoder = new TextEncoder();

/** What is put on top of a message in one mailbox, as it stands on the disk. */
interface Head {
  readonly bytes: Uint8Array;
  readonly lines: number;
}

function formatHead(prepend: readonly Header[], mailbox: Mailbox): Head {
  const deliveredTo = { name: "Delivered-To", value: mailbox.address };
  const [first, ...others] = prepend;
  // Return-Path is the first of all fields (RFC 5321 §4.4).
  const fields = first?.name === "Return-Path" ? [first, deliveredTo, ...others] : [deliveredTo, ...prepend];
  const text = fields.map(({ name, value }) => `${name}: ${value.replaceAll("\r\n", "\n")}\n`).join("");
  return { bytes: encoder.encode(text), lines: text.split("\n").length - 1 };
}

/** The name of the server in an Authentication-Results field (RFC 8601 §2.2), behind any comments. */
function authservId(value: string): string {
  let rest = value;
  for (let shorter; rest !== (shorter = rest.replace(/\((?:[^()\\]|\\.)*\)/gs, " ")); rest = shorter);
  const [, quoted, plain] = /^\s*(?:"([^"]*)"|([^\s;]*))/.exec(rest) ?? [];
  return (quoted ?? plain ?? "").toLowerCase().replace(/\.$/, "");
}

/** Waits for all, also when one fails: nothing may go on behind the back of who cleans up. */
async function all<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const values: T[] = [];
  for (const result of await Promise.allSettled(promises)) {
    if (result.status === "rejected") throw result.reason;
    values.push(result.value);
  }
  return values;
}

async function inGroups<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += COPIES_AT_ONCE) {
    await all(items.slice(at, at + COPIES_AT_ONCE).map(run));
  }
}
