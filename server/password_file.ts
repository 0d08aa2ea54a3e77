/**
 * A file whose first line is a password, and which may be replaced while the server runs.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import { withoutByteOrderMark } from "../base/text_file.ts";

/** There is no password in the file; the message says why, and is to follow the file's name. */
export class PasswordFileError extends Error {
  /** `message` says why. */
  constructor(message: string, options: ErrorOptions = {}) {
    super(message, options);
    this.name = "PasswordFileError";
  }
}

// Milliseconds.
const RECHECK_AFTER = 1_000;
// No password is longer; a larger file is something else.
const MAX_SIZE = 65_536;

/** The current password of a file; the file is checked again on use, at most once a second. */
export class PasswordFile {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #password: string;
  #version: string;
  #checkedAt: number;

  /**
   * Reads it.
   * @throws {PasswordFileError}
   */
  constructor(path: string, { clock, logger }: { readonly clock: Clock; readonly logger: Logger }) {
    this.#path = path;
    this.#clock = clock;
    this.#logger = logger;
    this.#checkedAt = clock.monotonic();
    [this.#password, this.#version] = [readPassword(path), versionOf(path)];
  }

  /** The password; the previous one if the file cannot be read now (`route.password_kept`). */
  get password(): string {
    const now = this.#clock.monotonic();
    if (now - this.#checkedAt < RECHECK_AFTER) return this.#password;
    this.#checkedAt = now;
    const version = versionOf(this.#path);
    if (version === this.#version) return this.#password;
    try {
      this.#password = readPassword(this.#path);
    } catch (error) {
      this.#logger.warn("route.password_kept", { path: this.#path, error: errorText(error) });
    }
    this.#version = version;
    return this.#password;
  }
}

/** Changes whenever the path names another file or content. */
function versionOf(path: string): string {
  try {
    const { dev, ino, mtime, ctime, size } = Deno.statSync(path);
    return [dev, ino, mtime?.getTime(), ctime?.getTime(), size].join(" ");
  } catch (error) {
    return errorText(error);
  }
}

/** @throws {PasswordFileError} */
function readPassword(path: string): string {
  let text: string;
  try {
    const { isFile, size } = Deno.statSync(path);
    // A pipe would be waited for, and the whole server with it.
    if (!isFile) throw new Error("it is not a regular file");
    if (size > MAX_SIZE) throw new Error("it is too large for a password");
    text = Deno.readTextFileSync(path);
  } catch (cause) {
    throw new PasswordFileError(`cannot be read: ${errorText(cause)}`, { cause });
  }
  const [password = ""] = withoutByteOrderMark(text).split(/\r?\n/, 1);
  if (password === "") {
    throw new PasswordFileError("has an empty first line, where the password should stand");
  }
  // UTF-16 has NULs; and PLAIN ends a password at NUL (RFC 4616 §2).
  // deno-lint-ignore no-control-regex
  if (/[\0-\x1f\x7f\ufffd]/.test(password)) {
    throw new PasswordFileError("has a first line that is not text in UTF-8, or has control characters");
  }
  return password;
}
