/**
 * A file in the maildrop, opened safely although its owner may change or replace it.
 *
 * @module
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from "node:fs";
import { errorCode } from "../../storage/storage_error.ts";
import { DROPPED_MODE } from "./directory.ts";
import { type DroppedHead, DroppedHeadError, MAX_DROPPED_HEAD, parseDroppedHead } from "./dropped_head.ts";

/** It is not a message, and will never be one. */
export class NotAMessageError extends Error {
  /** Its owner, where that is known. */
  readonly uid: number | undefined;

  /** `message` says what it is. */
  constructor(message: string, uid?: number) {
    super(message);
    this.name = "NotAMessageError";
    this.uid = uid;
  }
}

/** It is not whole yet. */
export class NotReadyError extends Error {
  /** Whose it is. */
  readonly uid: number;
  /** When it was changed last, in milliseconds since the epoch. */
  readonly changedAt: number;

  /** By what lstat(2) says. */
  constructor({ uid, mtime }: Pick<Deno.FileInfo, "uid" | "mtime">) {
    super("it is not finished");
    this.name = "NotReadyError";
    this.uid = uid ?? 0;
    this.changedAt = mtime?.getTime() ?? 0;
  }
}

const PIECE = 64 * 1024;
/** Shortages on our side, which concern every file. */
const LACKS: ReadonlySet<string> = new Set(["EMFILE", "ENFILE", "ENOMEM"]);
const LF = 10;

/** A message in the maildrop; to be closed. */
export class DroppedFile {
  /** The envelope. */
  readonly head: DroppedHead;
  /** Octets of the message. */
  readonly size: number;
  /** Whose it is. */
  readonly uid: number;
  readonly #fd: number;
  readonly #from: number;

  private constructor(
    fd: number,
    { head, from, uid, end }: { head: DroppedHead; from: number; uid: number; end: number },
  ) {
    this.#fd = fd;
    this.head = head;
    this.#from = from;
    this.size = end - from;
    this.uid = uid;
  }

  /**
   * Opens one, and reads its first line.
   * @throws {NotReadyError} {@linkcode NotAMessageError}
   */
  static async open(path: string): Promise<DroppedFile> {
    const before = await Deno.lstat(path);
    if (!before.isFile) throw new NotAMessageError(`it is a ${kindOf(before)}`, before.uid ?? undefined);
    if (((before.mode ?? 0) & 0o777) !== DROPPED_MODE) throw new NotReadyError(before);
    let fd: number;
    try {
      // It may have been replaced meanwhile: a link is not followed, a FIFO not waited for.
      fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (errorCode(error) === "ENOENT") throw new Deno.errors.NotFound();
      if (errorCode(error) === "ELOOP") {
        throw new NotAMessageError("it is a symbolic link", before.uid ?? undefined);
      }
      if (LACKS.has(errorCode(error))) throw error;
      // By its owner's doing: it has another group, a lease is held on it, or a socket has taken its place.
      throw new NotReadyError(before);
    }
    try {
      const info = fstatSync(fd);
      checkFile(info);
      const { line, end } = readLine(fd, info.uid);
      const head = readHead(line, info.uid);
      return new DroppedFile(fd, { head, from: end, uid: info.uid, end: info.size });
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** The message. What its owner appends meanwhile is not read; a shortened file is an error. */
  async *chunks(): AsyncGenerator<Uint8Array, void, void> {
    const end = this.#from + this.size;
    for (let at = this.#from; at < end;) {
      const piece = new Uint8Array(Math.min(PIECE, end - at));
      const count = readSync(this.#fd, piece, 0, piece.length, at);
      if (count === 0) throw new Error("the file has become shorter");
      at += count;
      yield piece.subarray(0, count);
    }
  }

  /** Closes it. */
  close(): void {
    closeSync(this.#fd);
  }
}

function checkFile(info: Stats): void {
  const { uid, nlink } = info;
  if (!info.isFile()) throw new NotAMessageError("it is not a file", uid);
  // A file of someone else's can be linked into here.
  if (nlink !== 1) throw new NotAMessageError(`it has ${nlink} names`, uid);
}

function readLine(fd: number, uid: number): { line: string; end: number } {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < MAX_DROPPED_HEAD;) {
    const piece = new Uint8Array(PIECE);
    const count = readSync(fd, piece, 0, piece.length, at);
    if (count === 0) break;
    const found = piece.subarray(0, count).indexOf(LF);
    pieces.push(piece.subarray(0, found < 0 ? count : found));
    if (found >= 0) {
      const bytes = new Uint8Array(at + found);
      let filled = 0;
      for (const one of pieces) {
        bytes.set(one, filled);
        filled += one.length;
      }
      return { line: new TextDecoder().decode(bytes), end: at + found + 1 };
    }
    at += count;
  }
  throw new NotAMessageError("it has no first line", uid);
}

function readHead(line: string, uid: number): DroppedHead {
  try {
    return parseDroppedHead(line);
  } catch (error) {
    throw error instanceof DroppedHeadError ? new NotAMessageError(error.message, uid) : error;
  }
}

function kindOf({ isDirectory, isSymlink }: Deno.FileInfo): string {
  return isDirectory ? "directory" : isSymlink ? "symbolic link" : "special file";
}
