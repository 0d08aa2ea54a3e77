/**
 * The files of the certificate from the authority: each issue in its own directory, and a link to the one in
 * use. Replacing the link replaces both files at once, so that a crash never leaves a mismatched pair.
 *
 * @module
 */
import { basename, join } from "@std/path";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { NewFile } from "../storage/new_file.ts";

/** The link, in the directory. */
const CURRENT = "current";
/** The directory of the stand-in until the first certificate is issued. */
const NONE_YET = "none-yet";
const NEXT_KEY = "next.key";
const NEXT_KEY_SEEN = "next.key.seen";
const ISSUE = /^issue-\d{8}T\d{6}Z-[0-9a-f]{8}$/;
/** What a crash leaves of a link or file that was to replace another. */
const UNFINISHED = /^(?:current|next\.key(?:\.seen)?)\.[0-9a-f-]{36}(?:\.tmp)?$/;

/** A certificate with its key, PEM. */
export interface Pair {
  /** The certificate first, then the intermediate ones. */
  readonly cert: string;
  readonly key: string;
}

/** The record of the next key in DNS. Milliseconds. */
export interface PublishedKey {
  /** When it was first seen, since the epoch. */
  readonly since: number;
  /** The TTL of the records. */
  readonly ttl: number;
}

/** When resolvers no longer have an answer without the record (RFC 7671 §8.1), in milliseconds since the epoch. */
export function usableFrom({ since, ttl }: PublishedKey): number {
  return since + 2 * ttl;
}

/** The files of one directory, which belongs to this account. */
export class CertificateFiles {
  readonly #directory: string;

  /** Touches no file yet. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Which pair counts: `issued` also where that cannot be seen, which whoever reads the pair then tells. */
  async state(): Promise<"issued" | "stand-in" | "none"> {
    const link = join(this.#directory, CURRENT);
    try {
      await Deno.stat(join(link, "cert.pem"));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "none";
    }
    return await Deno.readLink(link).catch(() => "") === NONE_YET ? "stand-in" : "issued";
  }

  /** The pair in use; `undefined` if there is none. @throws what reading throws */
  async read(): Promise<Pair | undefined> {
    const at = join(this.#directory, CURRENT);
    try {
      return {
        cert: await Deno.readTextFile(join(at, "cert.pem")),
        key: await Deno.readTextFile(join(at, "key.pem")),
      };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /**
   * Stores a pair and puts it into use. Durable when this resolves; a crash before that leaves the previous one.
   * @param options `now`: milliseconds since the epoch, for the name
   * @throws {StorageError} or what the system throws
   */
  async save(pair: Pair, { now }: { readonly now: number }): Promise<void> {
    const name = `issue-${new Date(now).toISOString().replace(/[-:]|\.\d+/g, "")}-${
      crypto.getRandomValues(new Uint8Array(4)).toHex()
    }`;
    await this.#makeDirectory();
    const directory = join(this.#directory, name);
    await Deno.mkdir(directory, { mode: 0o750 });
    await write(join(directory, "key.pem"), { text: pair.key, mode: 0o640 });
    await write(join(directory, "cert.pem"), { text: pair.cert, mode: 0o644 });
    const before = await Deno.readLink(join(this.#directory, CURRENT)).catch(() => undefined);
    await this.#point(name);
    // A reader may have that before open.
    await this.#removeOld([name, ...(before === undefined ? [] : [before])]);
  }

  /** Uses other files as the pair until the first is issued; changes nothing if there is one. */
  async standIn(pair: { readonly cert: string; readonly key: string }): Promise<void> {
    if (await this.state() !== "none") return;
    const name = NONE_YET;
    const directory = join(this.#directory, name);
    await Deno.mkdir(directory, { mode: 0o750 }).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
    for (const [link, target] of [["cert.pem", pair.cert], ["key.pem", pair.key]] as const) {
      await replaceLink(join(directory, link), join("..", basename(target)));
    }
    await this.#point(name);
  }

  /** The key of the certificate after the next change of keys, PEM; `undefined`: none has been made. */
  async nextKey(): Promise<{ readonly key: string } | undefined> {
    try {
      const key = await Deno.readTextFile(join(this.#directory, NEXT_KEY));
      // A crash before dropNextKey() leaves the one that is in use.
      return (await this.read())?.key === key ? undefined : { key };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /** Stores that key. */
  async saveNextKey(key: string): Promise<void> {
    await this.#makeDirectory();
    await write(join(this.#directory, NEXT_KEY), { text: key, mode: 0o600 });
    await new DirectorySyncer().sync(this.#directory);
  }

  /** What is known of its record in DNS; `undefined`: it has not been seen there. */
  async nextKeySeen(): Promise<PublishedKey | undefined> {
    const text = await Deno.readTextFile(join(this.#directory, NEXT_KEY_SEEN)).catch(() => "");
    const [since = NaN, ttl = NaN] = text.split(" ").map(Number);
    return since > 0 && ttl >= 0 ? { since, ttl } : undefined;
  }

  /** Stores that. `undefined`: the record is not in DNS, or no longer. */
  async saveNextKeySeen(seen: PublishedKey | undefined): Promise<void> {
    const path = join(this.#directory, NEXT_KEY_SEEN);
    if (seen === undefined) return await remove(path);
    await write(path, { text: `${seen.since} ${seen.ttl}`, mode: 0o600 });
  }

  /** Removes it: it is in use now. */
  async dropNextKey(): Promise<void> {
    for (const name of [NEXT_KEY, NEXT_KEY_SEEN]) await remove(join(this.#directory, name));
  }

  async #makeDirectory(): Promise<void> {
    await Deno.mkdir(this.#directory, { mode: 0o700 }).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
  }

  async #point(name: string): Promise<void> {
    const syncer = new DirectorySyncer();
    await syncer.sync(join(this.#directory, name));
    await syncer.sync(this.#directory);
    await replaceLink(join(this.#directory, CURRENT), name);
    await syncer.sync(this.#directory);
  }

  /** Removes other issues, also unfinished ones. */
  async #removeOld(kept: readonly string[]): Promise<void> {
    const old: string[] = [];
    for await (const { name } of Deno.readDir(this.#directory)) {
      if ((ISSUE.test(name) && !kept.includes(name)) || UNFINISHED.test(name)) old.push(name);
    }
    for (const name of old) await Deno.remove(join(this.#directory, name), { recursive: true });
  }
}

async function remove(path: string): Promise<void> {
  await Deno.remove(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

async function replaceLink(path: string, target: string): Promise<void> {
  const fresh = `${path}.${crypto.randomUUID()}`;
  await Deno.symlink(target, fresh);
  await Deno.rename(fresh, path);
}

async function write(path: string, { text, mode }: { text: string; mode: number }): Promise<void> {
  const file = NewFile.create(`${path}.${crypto.randomUUID()}.tmp`, { mode });
  await file.write(new TextEncoder().encode(text));
  await file.finish();
  await file.publish(path);
}
