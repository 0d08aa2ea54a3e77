/**
 * Makes names durable: fsync of directories, shared by all who wait for the same one.
 *
 * @module
 */
import { denoFileSystem, type FileSystem, syncTime } from "./file_system.ts";
import { storageCall } from "./storage_error.ts";

const syncs = syncTime.with("directory");

interface Turn {
  running: Promise<void>;
  next: Promise<void> | undefined;
}

/**
 * Syncs directories. A call while a sync of that directory runs shares the next sync with all other calls
 * made meanwhile: a sync that began before a name was changed proves nothing about that name.
 */
export class DirectorySyncer {
  readonly #turns = new Map<string, Turn>();
  readonly #fileSystem: FileSystem;

  /**
   * Opens nothing.
   * @param options `fileSystem`: for tests
   */
  constructor(options: { fileSystem?: FileSystem } = {}) {
    this.#fileSystem = options.fileSystem ?? denoFileSystem;
  }

  /**
   * Resolves when every change made in this directory before the call is on the disk. `path` must be written the same
   * way each time for the syncs to be shared.
   * @throws {StorageError} to all who shared the failed sync
   */
  sync(path: string): Promise<void> {
    const turn = this.#turns.get(path);
    if (turn === undefined) return this.#start(path).running;
    turn.next ??= turn.running.catch(() => {}).then(() => this.#start(path).running);
    return turn.next;
  }

  #start(path: string): Turn {
    const turn: Turn = { running: this.#syncNow(path), next: undefined };
    this.#turns.set(path, turn);
    const done = () => {
      // With others waiting, the next sync takes this place in the map itself.
      if (turn.next === undefined) this.#turns.delete(path);
    };
    turn.running.then(done, done);
    return turn;
  }

  #syncNow(path: string): Promise<void> {
    return storageCall("sync directory", path, async () => {
      // Opened each time, since a directory may have been replaced; that touches no disk, so a thread would not pay.
      const directory = this.#fileSystem.openSync(path, { read: true });
      try {
        const since = performance.now();
        await directory.sync();
        syncs.observe((performance.now() - since) / 1000);
      } finally {
        directory.close();
      }
    });
  }
}
