/**
 * One Maildir on the disk (https://cr.yp.to/proto/maildir.html): made, checked, delivered into, cleaned.
 *
 * All access is by path, so no directory on the path may be one that another account could swap for a symbolic
 * link: below the trusted root each must be a true directory of this process's user (or root) that not everyone may
 * write to.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { denoFileSystem, type FileSystem } from "../storage/file_system.ts";
import { NewFile } from "../storage/new_file.ts";
import { errorCode, storageCall, StorageError } from "../storage/storage_error.ts";
import {
  type DirectoryIdentity,
  examineDirectory,
  isSame,
  MAILDIR_MODE,
  makeDirectory,
} from "./directories.ts";
import { Folder } from "./folder.ts";
import { type MaildirFolder, MaildirMessage } from "./maildir_message.ts";
import type { UniqueNames } from "./unique_name.ts";

/** The directories above a Maildir: searchable by the group, writable only by the owner. */
const PARENT_MODE = 0o2750;
/** Read and write for the user and the group, less the umask. */
const FILE_MODE = 0o660;

/** Age in milliseconds from which a file in `tmp/` belongs to no delivery any more: 36 hours. */
export const TMP_LIFETIME = 36 * 60 * 60 * 1000;
/** Entries of `tmp/` that are checked in one batch. */
const CLEAN_LIMIT = 10_000;
/** How long the checks of one delivery hold for recipients and later deliveries, in milliseconds. */
const SEEN_LIFETIME = 1000;

/** What a Maildir needs. */
export interface MaildirOptions {
  /** The trusted directory above the Maildir; absolute. */
  readonly root: string;
  /** Whether {@linkcode makeDurableMailRoot} has synced its name; else that is done here, which takes more rights. */
  readonly rootIsDurable?: boolean;
  /** Makes the file names. */
  readonly names: UniqueNames;
  /** Shared by all Maildirs, so that deliveries into the same one share its syncs. */
  readonly syncer?: DirectorySyncer;
  /** The account that may own the directories, besides root; this process's if absent. */
  readonly uid?: number;
  /** Milliseconds that never jump; the system's if absent. */
  readonly monotonic?: () => number;
  /** For tests. */
  readonly fileSystem?: FileSystem;
}

/** A Maildir. It is made when the first message comes. */
export class Maildir {
  /** Where it is; absolute. */
  readonly path: string;
  readonly #root: string;
  readonly #rootIsDurable: boolean;
  /** The directories between the root and the Maildir. */
  readonly #parents: readonly string[];
  readonly #tmp: string;
  readonly #new: string;
  readonly #names: UniqueNames;
  readonly #syncer: DirectorySyncer;
  readonly #fileSystem: FileSystem;
  readonly #uid: number | null;
  readonly #monotonic: () => number;
  readonly #inbox: MaildirFolder;
  readonly #folders = new Map<string, Folder>();
  /** `new/` when it was last checked. */
  #seenNew: DirectoryIdentity | undefined;
  /** `new/` when all names on its path were last synced. */
  #durableNew: DirectoryIdentity | undefined;
  #making: Promise<void> | undefined;
  /** Whether a step has failed since the last probe. */
  #failed = false;
  /** Whether a file could be made, and no step has failed since. */
  #proven = false;
  /** When a delivery last checked every directory and found it in order and guarded. */
  #seenAt = -Infinity;

  /** Does not touch the disk. `path` must be below the root. */
  constructor(path: string, options: MaildirOptions) {
    this.path = path;
    this.#root = options.root;
    this.#rootIsDurable = options.rootIsDurable ?? false;
    this.#parents = between(options.root, path);
    this.#tmp = join(path, "tmp");
    this.#new = join(path, "new");
    this.#names = options.names;
    this.#uid = options.uid ?? Deno.uid();
    this.#monotonic = options.monotonic ?? (() => performance.now());
    this.#fileSystem = options.fileSystem ?? denoFileSystem;
    this.#syncer = options.syncer ?? new DirectorySyncer({ fileSystem: this.#fileSystem });
    this.#inbox = {
      directory: this.#new,
      prepare: () =>
        this.#noting(async () => {
          if (!this.#isNewReady()) await this.#ensure();
        }),
    };
  }

  /**
   * Finds out whether a message could be delivered, as far as that can be known beforehand. Only making a file in
   * `tmp/` proves permissions, quotas and a writable file system; that is tried once, and again after a
   * failed delivery. A missing Maildir is only made here if making it has failed before. While deliveries
   * succeed, checks of less than a second ago are reused: the next delivery checks again itself.
   * @throws {StorageError} the reason why not
   */
  check(): Promise<void> {
    const seen = this.#proven && this.#monotonic() - this.#seenAt < SEEN_LIFETIME;
    return seen ? Promise.resolve() : this.#tryOut();
  }

  async #tryOut(): Promise<void> {
    const missing = this.#firstMissing() !== undefined;
    await this.#noting(async () => {
      if (missing && this.#failed) await this.#ensure();
      else if (!missing && !this.#proven) await this.#probe();
    });
    this.#failed = false;
  }

  /**
   * Begins a message: a new file in `tmp/`, in a Maildir that is made, with everything on the way to it durable, if
   * it is not there.
   * @param options `readable`: for {@linkcode MaildirMessage.readBack}
   * @throws {StorageError}
   */
  async create({ readable = false }: { readonly readable?: boolean } = {}): Promise<MaildirMessage> {
    const name = this.#names.next();
    const file = await this.#noting(async () => {
      if (!this.#isReady()) await this.#ensure();
      return this.#createFile(name.temporary, readable);
    });
    return new MaildirMessage({
      file,
      name,
      inbox: this.#inbox,
      syncer: this.#syncer,
      fileSystem: this.#fileSystem,
    });
  }

  /**
   * Makes the Maildir, if it is missing.
   * @returns whether it was made
   * @throws {StorageError} also where what is there is not as it must be
   */
  async prepare(): Promise<boolean> {
    if (this.#firstMissing() === undefined) return false;
    await this.#noting(() => this.#ensure());
    return true;
  }

  /** A Maildir++ folder of this name, such as `Junk` in `.Junk`; made when the first message comes. */
  folder(name: string): MaildirFolder {
    let folder = this.#folders.get(name);
    if (folder === undefined) {
      folder = new Folder(name, {
        maildir: this.path,
        names: this.#names,
        syncer: this.#syncer,
        fileSystem: this.#fileSystem,
        uid: this.#uid,
      });
      this.#folders.set(name, folder);
    }
    return folder;
  }

  /**
   * Removes what deliveries that never ended have left in `tmp/`. Resolves to the number of files removed.
   * @param options `now`: milliseconds since the epoch
   * @throws {StorageError}
   */
  async clean(options: { readonly now: number }): Promise<number> {
    if (this.#firstMissing() !== undefined) return 0;
    const directory = this.#tmp;
    let removed = 0;
    let seen = 0;
    await storageCall("clean", directory, async () => {
      for await (const entry of this.#fileSystem.readDir(directory)) {
        if (++seen > CLEAN_LIMIT) break;
        if (!entry.isFile) continue;
        const path = join(directory, entry.name);
        try {
          const { mtime, isFile } = await this.#fileSystem.lstat(path);
          if (!isFile || mtime === null || options.now - mtime.getTime() <= TMP_LIFETIME) continue;
          await this.#fileSystem.remove(path);
          removed++;
        } catch (error) {
          // Its delivery has just ended.
          if (errorCode(error) !== "ENOENT") throw error;
        }
      }
    });
    return removed;
  }

  #createFile(name: string, readable = false): NewFile {
    return NewFile.create(`${this.#tmp}/${name}`, {
      mode: FILE_MODE,
      readable,
      fileSystem: this.#fileSystem,
      failed: this.#noteFailure,
    });
  }

  async #probe(): Promise<void> {
    const file = this.#createFile(this.#names.next().temporary);
    try {
      await file.write(new Uint8Array(1));
    } finally {
      await file.discard();
    }
    this.#proven = true;
  }

  /** Runs a step of a delivery, and notes if it fails. */
  async #noting<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      this.#noteFailure();
      throw error;
    }
  }

  /** A step has failed: earlier checks do not count any more. */
  readonly #noteFailure = (): void => {
    this.#failed = true;
    this.#proven = false;
    this.#seenAt = -Infinity;
  };

  async #ensure(): Promise<void> {
    this.#making ??= this.#make().finally(() => this.#making = undefined);
    await this.#making;
  }

  /**
   * Whether a file can be made. Checked for each message, since a Maildir may be moved away, or swapped by its readers,
   * while the server runs. Where only this account and root may change the directories above, a check per second is
   * enough there. These calls hit the kernel's dentry cache, and are not worth a thread.
   */
  #isReady(): boolean {
    const now = this.#monotonic();
    if (now - this.#seenAt < SEEN_LIFETIME) return this.#look(this.#tmp);
    if (this.#firstMissing() !== undefined || !this.#isNewDurable()) return false;
    if (this.#isGuarded()) this.#seenAt = now;
    return true;
  }

  /** Whether a message can be moved into `new/`; between its beginning and its end that may have been swapped, too. */
  #isNewReady(): boolean {
    return this.#look(this.#new) && this.#isNewDurable();
  }

  #isNewDurable(): boolean {
    return isSame(this.#seenNew, this.#durableNew);
  }

  /** Whether no group may swap the Maildir, or a directory above it, for something else. */
  #isGuarded(): boolean {
    return [this.#root, ...this.#parents].every((path) =>
      ((this.#fileSystem.statSync(path).mode ?? 0o777) & 0o022) === 0
    );
  }

  async #make(): Promise<void> {
    const fileSystem = this.#fileSystem;
    await makeMailRoot(this.#root, { syncer: this.#syncer, fileSystem });
    if (!this.#rootIsDurable) await syncIfReadable(dirname(this.#root), this.#syncer);
    for (const path of this.#parents) await makeDirectory(path, { mode: PARENT_MODE, fileSystem });
    const inside = ["tmp", "new", "cur"].map((name) => join(this.path, name));
    for (const path of [this.path, ...inside]) {
      await makeDirectory(path, { mode: MAILDIR_MODE, fileSystem });
    }
    this.#firstMissing();
    const seen = this.#seenNew;
    // All of them, not only those just made: an earlier process may have made one and ended before its sync.
    for (const path of [this.#root, ...this.#parents, this.path]) await this.#syncer.sync(path);
    this.#durableNew = seen;
  }

  /** Checks these, or everything below the root. Returns the first missing directory. */
  #firstMissing(
    paths: readonly string[] = [...this.#parents, this.path, this.#tmp, this.#new],
  ): string | undefined {
    return paths.find((path) => !this.#look(path));
  }

  /** Whether the directory is there. */
  #look(path: string): boolean {
    const seen = examineDirectory(path, { uid: this.#uid, fileSystem: this.#fileSystem });
    if (path === this.#new) this.#seenNew = seen;
    return seen !== undefined;
  }
}

/**
 * Makes the directory that Maildirs are in, with its parents, and makes their names durable. It may be anything that an
 * administrator has set up, also a symbolic link.
 * @throws {StorageError}
 */
export async function makeMailRoot(
  path: string,
  options: { readonly fileSystem?: FileSystem; readonly syncer?: DirectorySyncer } = {},
): Promise<void> {
  const { fileSystem = denoFileSystem, syncer = new DirectorySyncer({ fileSystem }) } = options;
  try {
    fileSystem.statSync(path);
    return;
  } catch (cause) {
    if (errorCode(cause) !== "ENOENT") throw new StorageError("look at", { path, cause });
  }
  await makeMailRoot(dirname(path), { fileSystem, syncer });
  await makeDirectory(path, { mode: PARENT_MODE, fileSystem });
  await syncer.sync(dirname(path));
}

/**
 * Makes the root where it is missing, and every name on the way to it durable: an earlier process may have made one of
 * them and ended before its sync. To be called before a server gives up its permissions, which do not include the
 * directories above.
 * @throws {StorageError}
 */
export async function makeDurableMailRoot(
  path: string,
  options: { readonly fileSystem?: FileSystem } = {},
): Promise<void> {
  const { fileSystem = denoFileSystem } = options;
  const syncer = new DirectorySyncer({ fileSystem });
  await makeMailRoot(path, { fileSystem, syncer });
  for (let at = path; dirname(at) !== at; at = dirname(at)) await syncIfReadable(dirname(at), syncer);
}

/** A directory that this account may not read existed before. */
async function syncIfReadable(path: string, syncer: DirectorySyncer): Promise<void> {
  try {
    await syncer.sync(path);
  } catch (error) {
    if (!(error instanceof StorageError && error.fault === "denied")) throw error;
  }
}

/** The directories between a trusted root and what is below it, from the top down. */
function between(root: string, below: string): string[] {
  const parents: string[] = [];
  for (let path = dirname(below); path !== root; path = dirname(path)) parents.unshift(path);
  return parents;
}
