/**
 * A folder of a Maildir, as Maildir++ and Dovecot have it: a directory `.Name` inside, itself a Maildir.
 *
 * @module
 */
import { join } from "node:path";
import type { DirectorySyncer } from "../storage/directory_syncer.ts";
import type { FileSystem } from "../storage/file_system.ts";
import { NewFile } from "../storage/new_file.ts";
import { errorCode, storageCallSync } from "../storage/storage_error.ts";
import {
  type DirectoryIdentity,
  examineDirectory,
  isSame,
  MAILDIR_MODE,
  makeDirectory,
} from "./directories.ts";
import type { MaildirFolder } from "./maildir_message.ts";
import { subscribe } from "./subscriptions.ts";
import type { UniqueNames } from "./unique_name.ts";

/** Tells readers of Maildir++ that the directory is a folder of the one above. */
const MARKER = "maildirfolder";
const FILE_MODE = 0o660;

/** What a folder needs. */
export interface FolderOptions {
  /** The Maildir that it is in. */
  readonly maildir: string;
  /** Makes the names of probe files. */
  readonly names: UniqueNames;
  /** Shared by all Maildirs. */
  readonly syncer: DirectorySyncer;
  readonly fileSystem: FileSystem;
  /** This account. */
  readonly uid: number | null;
}

/** A folder that messages are renamed into. It is made, and subscribed to, when the first one comes. */
export class Folder implements MaildirFolder {
  /** Its `new/`. */
  readonly directory: string;
  readonly #name: string;
  readonly #path: string;
  readonly #options: FolderOptions;
  /** `new/` when it was last found to be writable, and durable. */
  #ready: DirectoryIdentity | undefined;
  #making: Promise<void> | undefined;

  /** Does not touch the disk. `name` is the directory's, without its leading dot. */
  constructor(name: string, options: FolderOptions) {
    this.#name = name;
    this.#options = options;
    this.#path = join(options.maildir, `.${name}`);
    this.directory = join(this.#path, "new");
  }

  /**
   * Makes sure that the folder exists, and that a message can be renamed into it.
   * @throws {StorageError}
   */
  async prepare(): Promise<void> {
    const seen = this.#look();
    if (seen === undefined || !isSame(seen, this.#ready)) {
      await (this.#making ??= this.#make().finally(() => this.#making = undefined));
    }
  }

  /**
   * `new/`, if it and its parents exist. It may have been made by a reader: whoever is in the Maildir's group
   * could swap the folder, and controls the Maildir anyway.
   */
  #look(): DirectoryIdentity | undefined {
    const { maildir, uid, fileSystem } = this.#options;
    const gid = storageCallSync("look at", maildir, () => fileSystem.lstatSync(maildir).gid);
    const trust = { uid, gid, fileSystem };
    return examineDirectory(this.#path, trust) && examineDirectory(this.directory, trust);
  }

  async #make(): Promise<void> {
    const { maildir, syncer, fileSystem } = this.#options;
    const options = { mode: MAILDIR_MODE, fileSystem };
    this.#look();
    const isNew = await makeDirectory(this.#path, options);
    for (const name of ["tmp", "new", "cur"]) await makeDirectory(join(this.#path, name), options);
    this.#mark();
    const seen = this.#look();
    await this.#probe();
    for (const path of [maildir, this.#path]) await syncer.sync(path);
    // Without a subscription most mail programs do not show it. A later unsubscription is respected.
    if (isNew) await subscribe(maildir, { ...this.#options, folder: this.#name });
    this.#ready = seen;
  }

  #mark(): void {
    const path = join(this.#path, MARKER);
    storageCallSync("create", path, () => {
      try {
        this.#options.fileSystem.openSync(path, { write: true, createNew: true, mode: FILE_MODE }).close();
      } catch (error) {
        if (errorCode(error) !== "EEXIST") throw error;
      }
    });
  }

  /** Only making a file proves that one can be made. */
  async #probe(): Promise<void> {
    const { names, fileSystem } = this.#options;
    const path = join(this.#path, "tmp", names.next().temporary);
    await NewFile.create(path, { mode: FILE_MODE, fileSystem }).discard();
  }
}
