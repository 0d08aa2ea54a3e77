/**
 * One message on its way into one Maildir: written in `tmp/`, synced, renamed into `new/`.
 *
 * @module
 */
import type { DirectorySyncer } from "../storage/directory_syncer.ts";
import type { NewFile } from "../storage/new_file.ts";
import type { UniqueName } from "./unique_name.ts";

/** What a message needs of its Maildir. */
export interface MaildirMessageOptions {
  /** The new file in `tmp/`. */
  readonly file: NewFile;
  /** What it is called, without its sizes. */
  readonly name: UniqueName;
  /** `new/`. */
  readonly directory: string;
  /** Shared by all Maildirs. */
  readonly syncer: DirectorySyncer;
  /** Sees to it that `new/` is what it should be. */
  readonly prepareNew: () => Promise<void>;
}

/** A message on its way into one Maildir; made by Maildir.create(). */
export class MaildirMessage {
  readonly #file: NewFile;
  readonly #options: MaildirMessageOptions;
  #published: string | undefined;

  /** @ignore Made by the Maildir. */
  constructor(options: MaildirMessageOptions) {
    this.#file = options.file;
    this.#options = options;
  }

  /** Octets written so far. */
  get size(): number {
    return this.#file.size;
  }

  /** Where it is at present; `tmp/` until it has been published. */
  get path(): string {
    return this.#published ?? this.#file.path;
  }

  /** Whether it has been renamed into `new/`. */
  get published(): boolean {
    return this.#published !== undefined;
  }

  /**
   * Appends bytes as they are to stand on the disk.
   * @throws {StorageError} the file is gone then
   */
  write(data: Uint8Array): Promise<void> {
    return this.#file.write(data);
  }

  /**
   * Syncs and closes the file.
   * @throws {StorageError} the file is gone then
   */
  finish(): Promise<void> {
    return this.#file.finish();
  }

  /**
   * Renames it into `new/`. Durable after {@linkcode MaildirMessage.settle}.
   * @param sizes `wire`: octets with CRLF
   * @throws {StorageError} the file is gone then
   */
  async publish(sizes: { readonly wire: number }): Promise<void> {
    const { name, directory, prepareNew } = this.#options;
    const path = `${directory}/${name.withSizes({ disk: this.#file.size, wire: sizes.wire })}`;
    try {
      await prepareNew();
      await this.#file.publish(path);
    } catch (error) {
      await this.#file.discard();
      throw error;
    }
    this.#published = path;
  }

  /**
   * Syncs `new/`, sharing that with others.
   * @throws {StorageError}
   */
  settle(): Promise<void> {
    return this.#options.syncer.sync(this.#options.directory);
  }

  /** Removes the file from `tmp/`, or from `new/` if no reader has taken it yet; does not fail. */
  async discard(): Promise<void> {
    await this.#file.discard();
    if (this.#published !== undefined) await Deno.remove(this.#published).catch(() => {});
  }
}
