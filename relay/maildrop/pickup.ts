/**
 * Moves messages from the maildrop into the queue: at the start, and every few seconds.
 *
 * Any account may put anything there. What is not a message of ours is removed, or left alone where that fails; nothing
 * there is followed, executed, or held in memory whole.
 *
 * @module
 */
import { join } from "@std/path";
import type { Clock, Timer } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { Logger } from "../../base/log.ts";
import type { HandedOver } from "../../smtp/hand_over.ts";
import type { RecipientResult } from "../../smtp/send_result.ts";
import { DROPPED_NAME } from "./directory.ts";
import { DroppedFile, NotAMessageError, NotReadyError } from "./dropped_file.ts";
import { Progress } from "./progress.ts";

/** The sender of a message: the owner of its file. */
export interface Dropper {
  /** The account. */
  readonly uid: number;
  /** Its name, where it has one. */
  readonly account?: string;
}

/** What a {@linkcode MaildropPickup} needs. */
export interface PickupOptions {
  /** The maildrop. */
  readonly directory: string;
  /**
   * Submits a message to the server, as any program does; one result for each recipient.
   * @throws what is in the way of handing over anything now
   */
  readonly handOver: (message: HandedOver, from: Dropper) => Promise<readonly RecipientResult[]>;
  /**
   * Tells the sender of recipients that the server refuses for good.
   * @throws as `handOver`
   */
  readonly notify: (message: HandedOver, refused: readonly Refused[]) => Promise<void>;
  /** Finds the name of an account. */
  readonly accountName: (uid: number) => string | undefined;
  /** Tells the time. */
  readonly clock: Clock;
  /** Takes `maildrop.…`. */
  readonly logger: Logger;
}

/** A recipient that the server does not take. */
export interface Refused {
  /** As the program named it. */
  readonly address: string;
  /** What the server said. */
  readonly result: RecipientResult & { readonly kind: "refused" };
}

/** Milliseconds between two scans; up to the longer while the server takes nothing. */
const POLL_INTERVAL = 5_000;
const MAX_POLL_INTERVAL = 60_000;
/** A scan takes at most this part of the time. */
const SHARE = 1 / 20;
/** Milliseconds after which an unfinished file is given up. */
const ABANDONED = 36 * 3_600_000;
/** Messages that one scan takes, and other entries that it tries to remove; the rest waits for the next. */
const MAX_AT_ONCE = 1000;
/** Deferred messages of one account after which a scan skips that account. */
const MAX_PUT_OFF = 10;
/** The most entries that cannot be removed and are logged once each. */
const MAX_TOLD = 1000;

/** This message cannot be taken now; others may be. */
class PutOffError extends Error {}

/** @throws {PutOffError} */
function putOff(error: unknown): never {
  throw new PutOffError(errorText(error), { cause: error });
}

/** Scans the maildrop until it is disposed. */
export class MaildropPickup implements AsyncDisposable {
  readonly #options: PickupOptions;
  /** Entries that could not be removed, and were logged. */
  readonly #told = new Set<string>();
  /** Of messages whose progress could not be written. */
  readonly #progress = new Map<string, Progress>();
  #wait = POLL_INTERVAL;
  #timer: Timer | undefined;
  #polling: Promise<void> | undefined;
  #stopped = false;

  /** Does not scan yet. */
  constructor(options: PickupOptions) {
    this.#options = options;
  }

  /** Starts scanning. */
  start(): void {
    this.#polling = this.poll().finally(() => this.#sleep());
  }

  /** Stops, after the message that is being taken. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#polling;
  }

  #sleep(): void {
    if (!this.#stopped) this.#timer = this.#options.clock.after(this.#wait, () => this.start());
  }

  /** Scans once. Never rejects. */
  async poll(): Promise<void> {
    const { directory, clock, logger } = this.#options;
    const began = clock.monotonic();
    let messages = 0;
    let others = 0;
    const putOff = new PutOff();
    try {
      for await (const { name, isFile } of Deno.readDir(directory)) {
        if (this.#stopped || messages >= MAX_AT_ONCE) break;
        if (isFile && DROPPED_NAME.test(name)) {
          if (await this.#take(name, putOff)) messages++;
        } else if (others < MAX_AT_ONCE && !(isFile && await this.#isOurs(name))) {
          others++;
          await this.#remove(name, { reason: "it was not made by sendmail" });
        }
      }
      if (messages > 0) await syncDirectory(directory);
      else if (putOff.first !== undefined) throw putOff.first;
      this.#wait = Math.max(POLL_INTERVAL, (clock.monotonic() - began) / SHARE);
      if (putOff.first !== undefined) logger.info("maildrop.deferred", { error: putOff.first.message });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      // The server cannot be reached, or takes nothing.
      if (this.#wait < MAX_POLL_INTERVAL) logger.info("maildrop.deferred", { error: errorText(error) });
      this.#wait = Math.max(
        Math.min(2 * this.#wait, MAX_POLL_INTERVAL),
        (clock.monotonic() - began) / SHARE,
      );
    }
  }

  /** Whether this is the progress file of a message that is still there. */
  async #isOurs(name: string): Promise<boolean> {
    const message = Progress.messageOf(name);
    if (message === undefined) return false;
    const path = join(this.#options.directory, message);
    return await Deno.lstat(path).then(({ isFile }) => isFile, () => false);
  }

  /**
   * Takes a message, or removes what is not one. Whether it is gone.
   * @throws what is in the way of taking any
   */
  async #take(name: string, putOff: PutOff): Promise<boolean> {
    const path = join(this.#options.directory, name);
    let file: DroppedFile;
    try {
      file = await DroppedFile.open(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      if (error instanceof NotReadyError) {
        if (this.#options.clock.now() - error.changedAt < ABANDONED) return false;
        return await this.#remove(name, { reason: "it was never finished", uid: error.uid });
      }
      if (!(error instanceof NotAMessageError)) throw error;
      return await this.#remove(name, {
        reason: error.message,
        ...(error.uid !== undefined && { uid: error.uid }),
      });
    }
    try {
      if (putOff.count(file.uid) >= MAX_PUT_OFF) return false;
      await this.#submit(file, name);
      return true;
    } catch (error) {
      if (!(error instanceof PutOffError)) throw error;
      putOff.add(file.uid, error);
      return false;
    } finally {
      file.close();
    }
  }

  /** @throws {PutOffError} */
  async #submit(file: DroppedFile, name: string): Promise<void> {
    const { directory, handOver, notify, logger } = this.#options;
    const { head, uid } = file;
    const from = this.#dropper(uid);
    const progress = this.#progress.get(name) ?? await Progress.read(join(directory, name)).catch(putOff);
    const recipients = [...new Set(head.recipients)].filter((address) => !progress.done.has(address));
    const message: HandedOver = {
      ...head,
      recipients,
      size: file.size,
      eightBit: true,
      chunks: () => file.chunks(),
    };
    const accepted: string[] = [];
    const refused: Refused[] = [];
    let obstacle: string | undefined;
    if (recipients.length > 0) {
      let results: readonly RecipientResult[];
      try {
        results = await handOver(message, from);
      } catch (error) {
        // Addresses that no client of ours sends.
        if (error instanceof RangeError) return void await this.#remove(name, { reason: error.message, uid });
        throw error;
      }
      for (const [index, result] of results.entries()) {
        const address = recipients[index] ?? "";
        if (result.kind === "relayed") accepted.push(address);
        else if (result.kind === "refused" && result.reply.code >= 500) refused.push({ address, result });
        else obstacle = result.kind === "lost" ? result.error : result.reply.lines.join(" ");
      }
    }
    if (accepted.length > 0) {
      logger.info("maildrop.accepted", { ...from, from: head.sender, to: accepted, size: file.size });
    }
    for (const { address, result: { reply } } of refused) {
      const said = `${reply.code} ${reply.lines.join(" ")}`;
      logger.warn("maildrop.refused", { ...from, from: head.sender, to: [address], reply: said });
    }
    const tells = refused.length > 0 && head.sender !== "";
    // Whatever fails from here on, these must not get it again.
    if (tells || obstacle !== undefined) await this.#note(name, { progress, done: accepted });
    if (tells) {
      await notify(message, refused).catch(putOff);
    }
    if (obstacle !== undefined) {
      await this.#note(name, { progress, done: refused.map(({ address }) => address) });
      throw new PutOffError(obstacle);
    }
    await Deno.remove(join(directory, name)).catch((error) => {
      // Its owner may have done so meanwhile.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    this.#progress.delete(name);
    await progress.remove();
  }

  /** Records recipients that are done; in memory where that cannot be written. */
  async #note(
    name: string,
    { progress, done }: { readonly progress: Progress; readonly done: readonly string[] },
  ): Promise<void> {
    if (done.length === 0) return;
    try {
      await progress.add(done);
      this.#progress.delete(name);
    } catch (error) {
      if (this.#progress.size < MAX_TOLD) this.#progress.set(name, progress);
      this.#options.logger.warn("maildrop.not_noted", { file: name, error: errorText(error) });
    }
  }

  #dropper(uid: number): Dropper {
    const account = this.#options.accountName(uid);
    return { uid, ...(account !== undefined && { account }) };
  }

  async #remove(
    name: string,
    { reason, uid }: { readonly reason: string; readonly uid?: number },
  ): Promise<boolean> {
    const { directory, logger } = this.#options;
    const whose = uid === undefined ? {} : this.#dropper(uid);
    try {
      // A directory of others only if it is empty.
      await Deno.remove(join(directory, name));
      logger.warn("maildrop.removed", { file: name, reason, ...whose });
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      if (this.#told.has(name) || this.#told.size >= MAX_TOLD) return false;
      this.#told.add(name);
      logger.warn("maildrop.not_removed", { file: name, reason, ...whose, error: errorText(error) });
      return false;
    }
  }
}

/** Messages that a scan has deferred, by account. */
class PutOff {
  /** Why the first one was. */
  first: PutOffError | undefined;
  readonly #counts = new Map<number, number>();

  add(uid: number, error: PutOffError): void {
    this.first ??= error;
    this.#counts.set(uid, this.count(uid) + 1);
  }

  count(uid: number): number {
    return this.#counts.get(uid) ?? 0;
  }
}

async function syncDirectory(path: string): Promise<void> {
  using directory = await Deno.open(path);
  await directory.sync();
}
