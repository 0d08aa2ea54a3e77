/**
 * What belongs to the spool's directory as a whole: its lock, its version, its paths, and what is put aside.
 *
 * @module
 */
import { basename, join } from "node:path";
import type { Logger } from "../../base/log.ts";
import type { DirectorySyncer } from "../../storage/directory_syncer.ts";
import type { FileSystem } from "../../storage/file_system.ts";
import { NewFile } from "../../storage/new_file.ts";
import { errorCode, isFull, StorageError } from "../../storage/storage_error.ts";
import { SpoolFormatError } from "../stored/format_values.ts";

/** Another process has this spool open. */
export class SpoolLockedError extends Error {
  /** That process, where it could be told. */
  readonly pid: number | undefined;

  /** Names the spool and the process that has it open. */
  constructor(directory: string, pid: number | undefined) {
    super(`the spool ${directory} is in use by ${pid === undefined ? "another process" : `process ${pid}`}`);
    this.name = "SpoolLockedError";
    this.pid = pid;
  }
}

/** The spool was written by a version that this one does not know. */
export class SpoolVersionError extends Error {
  /** Names the spool and the content of its file `format`. */
  constructor(directory: string, found: string) {
    super(
      `${join(directory, "format")} says ${
        JSON.stringify(found.slice(0, 80))
      }; this program reads "${FORMAT.trim()}"`,
    );
    this.name = "SpoolVersionError";
  }
}

/** Something else stands where a file or directory of the spool belongs. */
export class SpoolPathError extends Error {
  /** Names the path, and what belongs there. */
  constructor(path: string, wanted: "a regular file" | "a directory") {
    super(`${path} is not ${wanted}, as it must be; move it away`);
    this.name = "SpoolPathError";
  }
}

const FORMAT = "mailapp spool 1\n";
/** The spool's own directories; the first is the spool. */
const DIRECTORIES = ["", "incoming", "spare", "messages", "states", "damaged"];
const FILES = ["lock", "format", "journal", "time"];

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Makes the directories that are missing.
 * @throws {SpoolPathError} when something else stands in the place of a directory or file: opening a pipe would wait
 */
export async function makeDirectories(directory: string): Promise<void> {
  const directories = [...DIRECTORIES, "index", "reserve"].map((name) => join(directory, name));
  for (const path of directories) {
    const found = lstat(path);
    if (found !== undefined && !(found.isSymlink ? isDirectory(path) : found.isDirectory)) {
      throw new SpoolPathError(path, "a directory");
    }
  }
  for (const name of FILES) {
    const path = join(directory, name);
    if (lstat(path)?.isFile === false) throw new SpoolPathError(path, "a regular file");
  }
  for (const name of DIRECTORIES) {
    await Deno.mkdir(join(directory, name), { recursive: true, mode: 0o700 });
  }
}

/** Whether a path leads to a directory, symbolic links followed. */
function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The lock on a spool; closing it gives it back, and so does the end of the process. */
export interface SpoolLock {
  /** Gives it back. */
  close(): void;
}

/**
 * Takes the lock. It is on the directory, which cannot be removed or replaced while the spool is in it; the file `lock`
 * tells who has it, and is locked too, as older versions look only there.
 * @throws {SpoolLockedError} when another process has it
 */
export async function takeLock(directory: string): Promise<SpoolLock> {
  using opened = new DisposableStack();
  const root = opened.use(await Deno.open(directory));
  // NFS locks only what is open for writing, as no directory can be: there the file's lock alone has to do.
  const isFree = await root.tryLock(true).catch(() => true);
  if (!isFree) throw new SpoolLockedError(directory, readPid(directory));
  const file = opened.use(
    await Deno.open(join(directory, "lock"), { create: true, read: true, write: true, mode: 0o600 }),
  );
  if (!await file.tryLock(true)) throw new SpoolLockedError(directory, readPid(directory));
  try {
    await file.truncate();
    await file.write(encoder.encode(`${Deno.pid}\n`));
  } catch (error) {
    // On a full disk a second process is not told who has it, no more.
    if (!isFull(error)) throw error;
  }
  const kept = opened.move();
  return { close: () => kept.dispose() };
}

function readPid(directory: string): number | undefined {
  const pid = Number.parseInt(readTextIfThere(join(directory, "lock")) ?? "", 10);
  return Number.isNaN(pid) ? undefined : pid;
}

/**
 * Writes the version into a new spool, checks it in an old one.
 * @throws {SpoolVersionError}
 */
export async function checkFormat(
  directory: string,
  { fileSystem, syncer }: { fileSystem: FileSystem; syncer: DirectorySyncer },
): Promise<void> {
  const path = join(directory, "format");
  const found = readTextIfThere(path);
  if (found === FORMAT) return;
  if (found !== undefined) throw new SpoolVersionError(directory, found);
  const temporary = join(directory, "incoming", "format");
  const file = await NewFile.createAnew(temporary, { mode: 0o600, fileSystem });
  await file.write(encoder.encode(FORMAT));
  await file.finish();
  await file.publish(path);
  await syncer.sync(directory);
}

// Queue ids, states, and the names that storage/staging.ts gives for a moment.
const INCOMING = /^(?:format|journal|[0-9a-z]{8,32}(?:\.json)?|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/**
 * Empties `incoming/` or `spare/`: whatever stands there once we have the lock was never committed, or has left the
 * queue.
 */
export async function clear(
  folder: "incoming" | "spare",
  { directory, fileSystem, logger }: { directory: string; fileSystem: FileSystem; logger: Logger },
): Promise<void> {
  for (const { name, isFile } of Deno.readDirSync(join(directory, folder))) {
    const path = join(directory, folder, name);
    if (isFile && INCOMING.test(name)) await removeIfThere(fileSystem, path);
    else putAside(path, { directory, reason: "not a name of ours", logger });
  }
}

/** Moves a file to `damaged/` and logs it; returns its new path, or nothing when it could not be moved. */
export function putAside(
  path: string,
  { directory, reason, logger }: { directory: string; reason: string; logger: Logger },
): string | undefined {
  const kept = freeName(directory, basename(path));
  try {
    Deno.renameSync(path, kept);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      logger.error("queue.damaged", { file: path, reason, error: `it could not be moved: ${error}` });
    }
    return undefined;
  }
  logger.error("queue.damaged", { file: path, reason, kept });
  return kept;
}

/** A path in `damaged/` that is not taken. */
export function freeName(directory: string, name: string): string {
  const first = join(directory, "damaged", name);
  let path = first;
  for (let n = 1; lstat(path) !== undefined; n++) path = `${first}.${n}`;
  return path;
}

/** The directory that an entry lives in, by its id. */
export function shardOf(id: string): string {
  return id.slice(-2);
}

/** Where the message of an id is. */
export function messagePath(directory: string, id: string): string {
  return `${directory}/messages/${shardOf(id)}/${id}`;
}

/** Where the state of an id is. */
export function statePath(directory: string, id: string): string {
  return `${directory}/states/${shardOf(id)}/${id}.json`;
}

/**
 * Decodes UTF-8.
 * @throws {SpoolFormatError} when it is none
 */
export function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new SpoolFormatError("not UTF-8");
  }
}

/**
 * Reads a text file; `undefined` when it is not there.
 * @throws {SpoolFormatError} when it is not UTF-8
 */
export function readTextIfThere(path: string): string | undefined {
  let bytes: Uint8Array;
  try {
    bytes = Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return decodeText(bytes);
}

/** What is at a path, symbolic links not followed; `undefined` when nothing is. */
export function lstat(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Whether there is a regular file at this path. */
export function isFile(path: string): boolean {
  return lstat(path)?.isFile ?? false;
}

/**
 * Removes a file; not an error when it is gone.
 * @throws {StorageError}
 */
export async function removeIfThere(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    await fileSystem.remove(path);
  } catch (cause) {
    if (errorCode(cause) !== "ENOENT") throw new StorageError("remove", { path, cause });
  }
}
