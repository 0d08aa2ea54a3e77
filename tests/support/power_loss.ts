/**
 * A file system that remembers what a crash or a loss of power would leave after each of its steps.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import { denoFileSystem, type FileSystem, type OpenFile } from "../../storage/file_system.ts";

/** What is left: paths relative to the root, `null` for a directory. */
export type Remains = ReadonlyMap<string, Uint8Array | null>;

/** What a crash after one step leaves, in the three worst ways. */
export interface CrashPoint {
  /** The step, such as `sync incoming/x`. */
  readonly step: string;
  /** The process was killed: all that was done is there. */
  readonly killed: Remains;
  /** The power went, and with it every name and every byte that was not synced. */
  readonly nothingUnsynced: Remains;
  /** The power went: names are there, but bytes that were not synced are not. */
  readonly namesOnly: Remains;
}

interface Node {
  readonly inode: string;
  readonly directory: boolean;
}

/** Does what the real one does, and calls back after each step that changes something. */
export class PowerLossFileSystem implements FileSystem {
  readonly #root: string;
  readonly #after: (point: CrashPoint) => void;
  /** By inode. */
  readonly #syncedContent = new Map<string, Uint8Array>();
  /** Where a file is that was renamed after it was opened, by inode. */
  readonly #renamed = new Map<string, string>();
  /** By path of the directory. */
  readonly #syncedNames = new Map<string, ReadonlyMap<string, Node>>();

  /** Watches what happens below `root`, which must exist. */
  constructor(root: string, after: (point: CrashPoint) => void) {
    this.#root = root;
    this.#after = after;
  }

  readonly lstat = denoFileSystem.lstat;
  readonly lstatSync = denoFileSystem.lstatSync;
  readonly statSync = denoFileSystem.statSync;
  readonly chmod = denoFileSystem.chmod;
  readonly readDir = denoFileSystem.readDir;

  async mkdir(path: string, options: Deno.MkdirOptions): Promise<void> {
    await denoFileSystem.mkdir(path, options);
    this.#step(`mkdir ${path}`);
  }

  openSync(path: string, options: Deno.OpenOptions): OpenFile {
    const file = denoFileSystem.openSync(path, options);
    if (options.create || options.createNew) this.#step(`create ${path}`);
    return this.#watch(file, path);
  }

  renameSync(from: string, to: string): void {
    denoFileSystem.renameSync(from, to);
    this.#renamed.set(identity(Deno.lstatSync(to)), to);
    this.#step(`rename ${from} ${to}`);
  }

  async remove(path: string): Promise<void> {
    await denoFileSystem.remove(path);
    this.#step(`remove ${path}`);
  }

  #watch(file: OpenFile, path: string): OpenFile {
    const stat = Deno.lstatSync(path);
    const inode = identity(stat);
    return {
      read: (buffer) => file.read(buffer),
      write: async (data) => {
        const written = await file.write(data);
        this.#step(`write ${path}`);
        return written;
      },
      writeSync: (data) => {
        const written = file.writeSync(data);
        this.#step(`write ${path}`);
        return written;
      },
      truncateSync: (length) => {
        file.truncateSync(length);
        this.#step(`truncate ${path}`);
      },
      seek: (offset, whence) => file.seek(offset, whence),
      sync: async () => {
        // What it was when the sync began; what comes meanwhile may be lost.
        const names = stat.isDirectory ? listNames(path) : undefined;
        const content = stat.isDirectory ? undefined : contentOf(this.#renamed.get(inode) ?? path, inode);
        await file.sync();
        if (names !== undefined) this.#syncedNames.set(path, names);
        if (content !== undefined) this.#syncedContent.set(inode, content);
        this.#step(`sync ${path}`);
      },
      stat: () => file.stat(),
      close: () => file.close(),
    };
  }

  #step(step: string): void {
    const killed = new Map<string, Uint8Array | null>();
    const namesOnly = new Map<string, Uint8Array | null>();
    this.#collect("", {
      names: (path) => listNames(path),
      file: (path, node) => {
        killed.set(path, contentOf(join(this.#root, path), node.inode) ?? new Uint8Array());
        namesOnly.set(path, this.#syncedContent.get(node.inode) ?? new Uint8Array());
      },
      directory: (path) => {
        killed.set(path, null);
        namesOnly.set(path, null);
      },
    });
    const nothingUnsynced = new Map<string, Uint8Array | null>();
    this.#collect("", {
      names: (path) => this.#syncedNames.get(path) ?? new Map(),
      file: (path, node) =>
        nothingUnsynced.set(path, this.#syncedContent.get(node.inode) ?? new Uint8Array()),
      directory: (path) => nothingUnsynced.set(path, null),
    });
    this.#after({ step: step.replaceAll(`${this.#root}/`, ""), killed, nothingUnsynced, namesOnly });
  }

  #collect(
    relative: string,
    visit: {
      names: (path: string) => ReadonlyMap<string, Node>;
      file: (path: string, node: Node) => void;
      directory: (path: string) => void;
    },
  ): void {
    for (const [name, node] of visit.names(join(this.#root, relative))) {
      const path = join(relative, name);
      if (node.directory) {
        visit.directory(path);
        this.#collect(path, visit);
      } else visit.file(path, node);
    }
  }
}

/** Writes what is left into a new directory. */
export async function restore(remains: Remains): Promise<string> {
  const root = await Deno.makeTempDir();
  for (const [path, content] of remains) {
    const full = join(root, path);
    await Deno.mkdir(content === null ? full : dirname(full), { recursive: true });
    if (content !== null) await Deno.writeFile(full, content);
  }
  return root;
}

function listNames(path: string): Map<string, Node> {
  const names = new Map<string, Node>();
  for (const { name, isDirectory } of Deno.readDirSync(path)) {
    names.set(name, { inode: identity(Deno.lstatSync(join(path, name))), directory: isDirectory });
  }
  return names;
}

function contentOf(path: string, inode: string): Uint8Array | undefined {
  try {
    return identity(Deno.lstatSync(path)) === inode ? Deno.readFileSync(path) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** The number of an inode is used again as soon as its file is gone; its time of birth is not. */
function identity({ ino, birthtime }: Deno.FileInfo): string {
  return `${ino} ${birthtime?.getTime()}`;
}
