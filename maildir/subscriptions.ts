/**
 * The list of folders that mail programs show, as Dovecot keeps it in a Maildir (`subscriptions`).
 *
 * @module
 */
import { join } from "node:path";
import type { FileSystem, OpenFile } from "../storage/file_system.ts";
import { NewFile } from "../storage/new_file.ts";
import { errorCode } from "../storage/storage_error.ts";
import type { UniqueNames } from "./unique_name.ts";

/** Longer lists are left alone. */
const MAX_SIZE = 256 * 1024;
/** The first line, and an empty one, of what Dovecot writes since 2.3; without them it is a list of names. */
const HEADER = "V\t2\n\n";
const FILE_MODE = 0o660;

/** What to add, and how. */
export interface SubscribeOptions {
  /** Levels are parted by dots. */
  readonly folder: string;
  readonly names: UniqueNames;
  readonly fileSystem: FileSystem;
}

/**
 * Adds a folder to the list, if it is not in it. A list that cannot be read or written is left unchanged: delivery
 * matters more. The whole file is replaced; where Dovecot writes at the same moment, one of the changes is lost.
 */
export async function subscribe(maildir: string, options: SubscribeOptions): Promise<void> {
  const { folder, names, fileSystem } = options;
  const path = join(maildir, "subscriptions");
  let file: NewFile | undefined;
  try {
    const list = await readList(path, fileSystem) ?? HEADER;
    const line = list.startsWith(HEADER) ? folder.replaceAll(".", "\t") : folder;
    if (list.split("\n").includes(line)) return;
    const whole = list === "" || list.endsWith("\n") ? list : `${list}\n`;
    // In tmp/, where leftovers are cleaned up, and under a name that cannot be there already.
    file = NewFile.create(join(maildir, "tmp", names.next().temporary), { mode: FILE_MODE, fileSystem });
    await file.write(new TextEncoder().encode(`${whole}${line}\n`));
    await file.finish();
    await file.publish(path);
  } catch {
    await file?.discard();
  }
}

/** The list; `undefined` where there is none. Does not follow a symbolic link. */
async function readList(path: string, fileSystem: FileSystem): Promise<string | undefined> {
  let file: OpenFile;
  try {
    file = fileSystem.openSync(path, { read: true });
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const [opened, there] = [await file.stat(), await fileSystem.lstat(path)];
    if (!there.isFile || there.ino !== opened.ino || there.dev !== opened.dev) {
      throw new Error("it is a link");
    }
    if (opened.size > MAX_SIZE) throw new Error("it is too long");
    const bytes = new Uint8Array(opened.size);
    let length = 0;
    while (length < bytes.length) {
      const read = await file.read(bytes.subarray(length));
      if (read === null) break;
      length += read;
    }
    return new TextDecoder().decode(bytes.subarray(0, length));
  } finally {
    file.close();
  }
}
