/**
 * The greylist on disk: a line for each change, added as it happens, and the whole list rewritten, under another name
 * first, when the lines have become many.
 *
 * It is worth no sync: what a power cut takes costs some senders a second retry.
 *
 * @module
 */
import { readOwnFile } from "../storage/own_file.ts";
import { dirname } from "@std/path";
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import { writeAll } from "../base/write_all.ts";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { NewFile } from "../storage/new_file.ts";
import { Greylist, type GreylistDecision, type GreylistEntry, type GreylistSender } from "./greylist.ts";

/** Where the list is kept. */
export interface GreylistFileOptions {
  /** The file; its directory must be there. */
  readonly path: string;
  /** Tells the time. */
  readonly clock: Clock;
  /** Logs failures to write. */
  readonly logger: Logger;
}

const HEADER = "mailapp greylist 1";
const LINE = /^([sk]) (\d{1,12}) ([0-9a-f.:/-]{1,60}) ([a-z0-9._*<>-]{1,255})$/;
// Octets. The longest list there can be is smaller.
const LONGEST_FILE = 64 * 1024 * 1024;
const SPARE_LINES = 10_000;

/** A {@linkcode Greylist} that outlives its process. No method fails for want of a disk: the list is in memory then. */
export class GreylistFile implements AsyncDisposable {
  readonly #options: GreylistFileOptions;
  readonly #list: Greylist;
  #waiting: string[] = [];
  #writing: Promise<void> | undefined;
  #file: Deno.FsFile | undefined;
  #lines = 0;
  #failed = false;

  private constructor(options: GreylistFileOptions) {
    this.#options = options;
    this.#list = new Greylist({ now: () => options.clock.now(), changed: (entry) => this.#note(entry) });
  }

  /** Reads the file, whatever is in it, and writes it again. */
  static async open(options: GreylistFileOptions): Promise<GreylistFile> {
    const file = new GreylistFile(options);
    try {
      const { size } = await Deno.stat(options.path);
      if (size <= LONGEST_FILE) restore(file.#list, await readOwnFile(options.path));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) file.#reportFailure(error);
    }
    await file.#attempt(() => file.#writeAnew());
    return file;
  }

  ask(sender: GreylistSender): GreylistDecision {
    return this.#list.ask(sender);
  }

  /** Resolves when every change so far has been handed to the system. */
  async flushed(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  /** Writes what is left, and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.flushed();
    this.#file?.close();
    this.#file = undefined;
  }

  #note(entry: GreylistEntry): void {
    this.#waiting.push(lineOf(entry));
    this.#writing ??= this.#write();
  }

  async #write(): Promise<void> {
    // What changes in this turn of the event loop goes into one write.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      await this.#attempt(async () => {
        this.#lines += lines.length;
        if (this.#file === undefined || this.#lines > 2 * this.#list.size + SPARE_LINES) {
          await this.#writeAnew();
        } else await writeAll(this.#file, new TextEncoder().encode(lines.join("")));
      });
    }
    this.#writing = undefined;
  }

  async #writeAnew(): Promise<void> {
    this.#file?.close();
    this.#file = undefined;
    const { path } = this.#options;
    const encoder = new TextEncoder();
    const file = await NewFile.createAnew(`${path}.new`, { mode: 0o600 });
    await file.write(encoder.encode(`${HEADER}\n`));
    this.#lines = 0;
    let lines = "";
    for (const entry of this.#list.entries()) {
      lines += lineOf(entry);
      this.#lines++;
      if (lines.length < 65_536) continue;
      await file.write(encoder.encode(lines));
      lines = "";
    }
    await file.write(encoder.encode(lines));
    await file.finish();
    await file.publish(path);
    await new DirectorySyncer().sync(dirname(path));
    this.#file = await Deno.open(path, { append: true });
  }

  async #attempt(step: () => Promise<void>): Promise<void> {
    try {
      await step();
      this.#failed = false;
    } catch (error) {
      this.#file?.close();
      this.#file = undefined;
      this.#reportFailure(error);
    }
  }

  /** Once, until it works again. */
  #reportFailure(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#options.logger.warn("greylist.not_kept", { path: this.#options.path, error: errorText(error) });
  }
}

/**
 * The list in a file, for inspection.
 * @throws {Deno.errors.NotFound | Deno.errors.PermissionDenied} among others
 */
export async function readGreylist(path: string, { now }: { readonly now: () => number }): Promise<Greylist> {
  const list = new Greylist({ now });
  restore(list, await readOwnFile(path));
  return list;
}

/** Reads what there is of a file that may be damaged. */
function restore(list: Greylist, text: string): void {
  const [header, ...lines] = text.split("\n");
  if (header !== HEADER) return;
  // What is after the last line end was cut.
  lines.pop();
  for (const line of lines) {
    const [, state, time, network = "", domain = ""] = LINE.exec(line) ?? [];
    if (state === undefined) continue;
    list.restore({ state: state === "k" ? "known" : "seen", time: Number(time), network, domain });
  }
}

function lineOf({ state, time, network, domain }: GreylistEntry): string {
  return `${state === "known" ? "k" : "s"} ${time} ${network} ${domain}\n`;
}
