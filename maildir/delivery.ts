/**
 * Takes messages for local mailboxes and stores each as a file in a Maildir per mailbox.
 *
 * @module
 */
import type { Logger } from "../base/log.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { sameAddress } from "../net/ip_address.ts";
import type { Delivery, Origin, PendingMessage, RecipientDecision, TopForecast } from "../smtp/delivery.ts";
import type { Envelope, MailboxAddress, Recipient } from "../smtp/envelope.ts";
import { noRoom } from "../smtp/replies.ts";
import { type Reply, reply, SmtpError } from "../smtp/reply.ts";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { denoFileSystem, type FileSystem } from "../storage/file_system.ts";
import type { FreeRoom } from "../storage/free_space.ts";
import type { SharedClaims } from "../storage/shared_claims.ts";
import { SpaceReserve } from "../storage/space_reserve.ts";
import { Slots } from "../base/slots.ts";
import type { StagingArea } from "../storage/staging.ts";
import { StorageError, type StorageFault } from "../storage/storage_error.ts";
import { Maildir } from "./maildir.ts";
import type { Mailbox, Mailboxes, Resolution } from "./mailboxes.ts";
import { type CopyTarget, PendingMaildirMessage } from "./pending_message.ts";
import { type NameParts, UniqueNames } from "./unique_name.ts";
import { errorText } from "../base/error_text.ts";
import { Seldom } from "../base/seldom.ts";

/** The most files that all messages together have open. */
const FILES_AT_ONCE = 256;
/**
 * The most messages that are written into their mailboxes as they come; others are staged in a file, as are those for
 * several mailboxes.
 */
const GROWING_AT_ONCE = 64;

/** What a delivery into Maildirs needs. */
export interface MaildirDeliveryOptions {
  /** Who is local. */
  readonly mailboxes: Mailboxes;
  /** As a {@linkcode Maildir} takes it. */
  readonly rootIsDurable?: boolean;
  /** This server's name; is in the file names, and decides whose Authentication-Results are forged. */
  readonly hostname: string;
  /** Where larger messages are staged until they are complete. */
  readonly staging: StagingArea;
  /** The Maildir++ folder for junk, without the dot before it; absent: junk goes where all mail goes. */
  readonly junkFolder?: string | undefined;
  /** Octets that must stay free where the Maildirs are, and where messages wait. */
  readonly minFreeSpace: number;
  /** Where events go. */
  readonly logger: Logger;
  /** The system's clock if absent. */
  readonly clock?: Clock;
  /** What all threads of the process use for unique names; see `createNameParts`. */
  readonly nameParts?: NameParts;
  /** What other threads claim where the Maildirs are and where messages wait, in this order. */
  readonly claims?: SharedClaims;
  /** The part of the files at once that this thread may have open, above 0 to 1; 1 if absent. */
  readonly share?: number;
  /** Tells the free room at a path; asks the system if absent. */
  readonly room?: (path: string) => Promise<FreeRoom>;
  /** For tests. */
  readonly fileSystem?: FileSystem;
}

/**
 * A {@linkcode Delivery} into Maildirs. A message is acknowledged only when every copy, its name and the directories on
 * its path are synced.
 */
export class MaildirDelivery implements Delivery {
  readonly #staging: StagingArea;
  /** The folder for junk; `undefined`: it goes to the inbox. May be changed at any time. */
  junkFolder: string | undefined;
  /** Octets that must stay free where the Maildirs are, and where messages wait. May be changed at any time. */
  minFreeSpace: number;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #reserve: SpaceReserve;
  readonly #fileSystem: FileSystem;
  readonly #names: UniqueNames;
  readonly #syncer: DirectorySyncer;
  readonly #slots: Slots;
  readonly #growing: Slots;
  readonly #maildirs = new Map<string, Maildir>();
  readonly #unwritableWarning: Seldom;
  readonly #rootIsDurable: boolean;
  #mailboxes: Mailboxes;

  /** Does not touch the disk. */
  constructor(options: MaildirDeliveryOptions) {
    this.#mailboxes = options.mailboxes;
    this.#rootIsDurable = options.rootIsDurable ?? false;
    this.#staging = options.staging;
    this.junkFolder = options.junkFolder;
    this.minFreeSpace = options.minFreeSpace;
    this.#logger = options.logger;
    const clock = this.#clock = options.clock ?? systemClock;
    this.#unwritableWarning = new Seldom(clock);
    this.#reserve = new SpaceReserve({
      paths: () => [this.#mailboxes.root, this.#staging.directory],
      minFreeSpace: () => this.minFreeSpace,
      clock,
      logger: options.logger,
      ...(options.room && { room: options.room }),
      ...(options.claims && { shared: options.claims }),
    });
    this.#fileSystem = options.fileSystem ?? denoFileSystem;
    const { hostname, nameParts, share = 1 } = options;
    this.#slots = new Slots(Math.ceil(FILES_AT_ONCE * share));
    this.#growing = new Slots(Math.ceil(GROWING_AT_ONCE * share));
    this.#names = new UniqueNames({ hostname, now: () => clock.now(), ...nameParts });
    this.#syncer = new DirectorySyncer({ fileSystem: this.#fileSystem });
  }

  /** Who is local. May be replaced at any time; it is looked at again for each recipient. */
  get mailboxes(): Mailboxes {
    return this.#mailboxes;
  }

  /** Replaces the local mailboxes. */
  set mailboxes(mailboxes: Mailboxes) {
    this.#mailboxes = mailboxes;
    this.#maildirs.clear();
  }

  /** Refuses when there is not enough room for the message as it was announced. */
  checkSender(
    { size = 0 }: Omit<Envelope, "recipients">,
    { origin }: { readonly origin: Origin },
  ): Promise<void> | void {
    const hasRoom = this.#reserve.has({ octets: [size], files: [1] }, origin.id);
    if (hasRoom !== true) return needRoom(hasRoom);
  }

  /** Accepts recipients whose mailboxes are local and can be written to. */
  async checkRecipient(
    { forwardPath }: Recipient,
    { origin }: { readonly origin: Origin },
  ): Promise<RecipientDecision> {
    const resolution = this.#resolve(forwardPath, origin);
    if (resolution.kind === "not-local") {
      return refuse(reply(550, "5.7.1", "Relaying denied: this server takes mail for its own domains only"));
    }
    if (resolution.kind === "unknown") return refuse(reply(550, "5.1.1", "No such mailbox here"));
    for (const mailbox of resolution.mailboxes) {
      try {
        await this.#maildir(mailbox).check();
      } catch (error) {
        const fault = error instanceof StorageError ? error.fault : "other";
        this.#logger[this.#unwritableWarning.isDue(mailbox.path) ? "error" : "debug"]("mailbox.unwritable", {
          session: origin.id,
          mailbox: mailbox.address,
          path: mailbox.path,
          error: errorText(error),
        });
        return refuse(UNWRITABLE[fault] ?? unwritable);
      }
    }
    return { accepted: true };
  }

  /** Begins a message for all mailboxes of the envelope, each once. */
  async begin(
    envelope: Envelope,
    { origin, forecast }: { readonly origin: Origin; readonly forecast?: TopForecast },
  ): Promise<PendingMessage> {
    const targets = new Map<string, CopyTarget>();
    for (const { forwardPath } of envelope.recipients) {
      const resolution = this.#resolve(forwardPath, origin);
      if (resolution.kind !== "local") {
        // It was accepted at RCPT; the mailboxes have been reloaded since.
        throw new SmtpError(reply(451, "4.3.0", "A mailbox has just been removed; try again"));
      }
      for (const mailbox of resolution.mailboxes) {
        targets.set(mailbox.path, { mailbox, maildir: this.#maildir(mailbox) });
      }
    }
    const { size = 0 } = envelope;
    const staged = this.#staging.stage();
    const waits = targets.size > 1 && staged.willBeInFile(size);
    const needs = { octets: [size * targets.size, waits ? size : 0], files: [targets.size, waits ? 1 : 0] };
    const claim = await this.#reserve.claim(needs, origin.id);
    if (claim === undefined) throw new SmtpError(noRoom);
    const id = this.#names.nextId();
    return new PendingMaildirMessage({
      id,
      targets: [...targets.values()],
      staged,
      claim,
      forecast,
      junkFolder: this.junkFolder,
      slots: this.#slots,
      growing: this.#growing,
      logger: this.#logger.with({ session: origin.id, id }),
    });
  }

  /**
   * Makes missing Maildirs: a reader that finds none makes its own, which would belong to its
   * account. A Maildir that cannot be made, or has wrong rights, is logged; mail for it is deferred.
   * @param options `signal`: no further ones once it is aborted
   */
  async makeMaildirs({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const mailboxes = this.#mailboxes;
    for (const mailbox of mailboxes.all()) {
      // The mailboxes have been replaced meanwhile, or the server ends.
      if (mailboxes !== this.#mailboxes || signal?.aborted) return;
      const { address, path } = mailbox;
      try {
        if (await this.#maildir(mailbox).prepare()) {
          this.#logger.info("maildir.made", { mailbox: address, path });
        }
      } catch (error) {
        this.#logger.warn("maildir.not_made", { mailbox: address, path, error: errorText(error) });
      }
    }
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
        if (count > 0) this.#logger.info("maildir.cleaned", { path: mailbox.path, files: count });
        removed += count;
      } catch (error) {
        this.#logger.warn("maildir.not_cleaned", { path: mailbox.path, error: errorText(error) });
      }
    }
    return removed;
  }

  /**
   * Who gets mail for an address. Postmaster has one at the address that the client has connected to (RFC 1123
   * §5.2.17).
   */
  #resolve({ localPart, domain }: MailboxAddress, { local }: Origin): Resolution {
    const isHere = local !== undefined && domain.startsWith("[") &&
      localPart.toLowerCase() === "postmaster" &&
      sameAddress(domain.replace(/^\[(?:IPv6:)?|\]$/g, ""), local.address);
    return this.#mailboxes.resolve({ localPart, domain: isHere ? "" : domain });
  }

  #maildir({ root, path }: Mailbox): Maildir {
    let maildir = this.#maildirs.get(path);
    if (maildir === undefined) {
      maildir = new Maildir(path, {
        root,
        rootIsDurable: this.#rootIsDurable,
        names: this.#names,
        syncer: this.#syncer,
        monotonic: () => this.#clock.monotonic(),
        fileSystem: this.#fileSystem,
      });
      this.#maildirs.set(path, maildir);
    }
    return maildir;
  }
}

async function needRoom(hasRoom: Promise<boolean> | boolean): Promise<void> {
  if (!await hasRoom) throw new SmtpError(noRoom);
}

const unwritable = reply(450, "4.2.0", "The mailbox cannot be written to at the moment; try again later");
/** The replies for a mailbox that cannot be written to, by kind of fault. */
const UNWRITABLE: Partial<Record<StorageFault, Reply>> = {
  "no-space": noRoom,
  "over-quota": reply(452, "4.2.2", "The mailbox is over its quota; try again later"),
};

function refuse(reply: Reply): RecipientDecision {
  return { accepted: false, reply };
}
