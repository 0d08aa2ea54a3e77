/**
 * One message on its way into one Maildir: written in `tmp/`, synced, renamed into `new/`.
 *
 * @module
 */
import type { DirectorySyncer } from "../storage/directory_syncer.ts";
import type { FileSystem } from "../storage/file_system.ts";
import type { NewFile } from "../storage/new_file.ts";
import type { UniqueName } from "./unique_name.ts";

/** A place for whole messages: `new/` of a Maildir, or of a folder in it. */
export interface MaildirFolder {
  /** Its `new/`. */
  readonly directory: string;
  /**
   * Makes sure that `new/` exists and has the right owner and mode.
   * @throws {StorageError}
   */
  prepare(): Promise<void>;
}

/** What a message needs of its Maildir. */
export interface MaildirMessageOptions {
  /** The new file in `tmp/`. */
  readonly file: NewFile;
  /** Its name, without the sizes. */
  readonly name: UniqueName;
  /** The default folder. */
  readonly inbox: MaildirFolder;
  /** Shared by all Maildirs. */
  readonly syncer: DirectorySyncer;
  /** Where `new/` is. */
  readonly fileSystem: FileSystem;
}

/** A message on its way into one Maildir; made by Maildir.create(). */
export class MaildirMessage {
  readonly #file: NewFile;
  readonly #options: MaildirMessageOptions;
  #folder: MaildirFolder;
  #published: string | undefined;

  /** @ignore Made by the Maildir. */
  constructor(options: MaildirMessageOptions) {
    this.#file = options.file;
    this.#options = options;
    this.#folder = options.inbox;
  }

  /** Octets written so far. */
  get size(): number {
    return this.#file.size;
  }

  /** Its current path; in `tmp/` until it has been published. */
  get path(): string {
    return this.#published ?? this.#file.path;
  }

  /** Whether it has been renamed into `new/`. */
  get published(): boolean {
    return this.#published !== undefined;
  }

  /**
   * Appends bytes in the form for the disk.
   * @throws {StorageError} the file is gone then
   */
  write(data: Uint8Array): Promise<void> {
    return this.#file.write(data);
  }

  /**
   * Overwrites the beginning, as {@linkcode NewFile.overwriteStart} does.
   * @throws {StorageError} the file is gone then
   */
  overwriteStart(data: Uint8Array): Promise<void> {
    return this.#file.overwriteStart(data);
  }

  /**
   * Reads back what has been written, as {@linkcode NewFile.readBack} does.
   * @throws {StorageError} when it cannot be read
   */
  readBack(from: number): AsyncIterable<Uint8Array> {
    return this.#file.readBack(from);
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
   * @param options `wire`: octets with CRLF; `folder`: of the same Maildir, the inbox if absent
   * @throws {StorageError} the file is gone then
   */
  async publish({ wire, folder }: { readonly wire: number; readonly folder?: MaildirFolder }): Promise<void> {
    const { name, inbox } = this.#options;
    this.#folder = folder ?? inbox;
    const path = `${this.#folder.directory}/${name.withSizes({ disk: this.#file.size, wire })}`;
    try {
      await this.#folder.prepare();
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
    return this.#options.syncer.sync(this.#folder.directory);
  }

  /** Removes the file from `tmp/`, or from `new/` if no reader has taken it yet; does not fail. */
  async discard(): Promise<void> {
    await this.#file.discard();
    if (this.#published !== undefined) await this.#options.fileSystem.remove(this.#published).catch(() => {});
  }
}
