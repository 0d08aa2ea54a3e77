/**
 * Finds a message that was stored in a Maildir: readers move and rename files.
 *
 * @module
 */
import { basename, dirname, join } from "@std/path";
import { errorText } from "../../base/error_text.ts";

/** Upper bound of the names searched in one Maildir. */
const MAX_NAMES = 500_000;

/** The present state of a stored file. */
export interface StoredFile {
  /** Where serve-in put it. */
  readonly path: string;
  /** Where it is now; absent if it is gone. */
  readonly now?: string;
  /** In which folder; empty for the inbox. */
  readonly folder?: string;
  /** Whether a reader has seen it: it is in `cur/`. */
  readonly seen?: boolean;
  /** Why it could not be looked for. */
  readonly error?: string;
}

/** Looks for a file of `new/` or `cur/` in its Maildir, even if it was renamed. */
export async function findStored(path: string): Promise<StoredFile> {
  const unique = basename(path).split(/[,:]/, 1)[0] ?? "";
  const folder = dirname(dirname(path));
  const isFolder = basename(folder).startsWith(".");
  const maildir = isFolder ? dirname(folder) : folder;
  let left = MAX_NAMES;
  try {
    const folders = [isFolder ? basename(folder) : ""];
    for await (const { name, isDirectory } of Deno.readDir(maildir)) {
      if (isDirectory && name.startsWith(".") && !folders.includes(name)) folders.push(name);
    }
    if (!folders.includes("")) folders.push("");
    for (const name of folders) {
      for (const part of ["new", "cur"]) {
        const directory = join(maildir, name, part);
        try {
          for await (const entry of Deno.readDir(directory)) {
            if (left-- === 0) return { path, error: "the Maildir has too many files to search" };
            if (entry.name.split(/[,:]/, 1)[0] !== unique) continue;
            return { path, now: join(directory, entry.name), folder: name.slice(1), seen: part === "cur" };
          }
        } catch (error) {
          if (!(error instanceof Deno.errors.NotFound)) throw error;
        }
      }
    }
    return { path };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { path };
    return { path, error: errorText(error) };
  }
}
