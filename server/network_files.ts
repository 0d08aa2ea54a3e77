/**
 * The files under /proc with the machine's routes and addresses, for a process that gives up its permissions:
 * opening them needs all permissions, but open files can be read again and again.
 *
 * @module
 */
import type { NetworkIo } from "../net/interfaces.ts";

/** The text of each file by its path; those that are not there are left out. */
export type NetworkTexts = Readonly<Record<string, string>>;

const PATHS = [
  "/proc/net/route",
  "/proc/net/ipv6_route",
  "/proc/net/if_inet6",
  "/proc/sys/net/ipv6/bindv6only",
];

/** The files, kept open until disposed. */
export class NetworkFiles implements Disposable {
  readonly #files = new Map<string, Deno.FsFile>();

  /** Opens them. */
  constructor() {
    for (const path of PATHS) {
      try {
        this.#files.set(path, Deno.openSync(path));
      } catch (error) {
        // A unit may hide them; the lack is logged when they are needed.
        if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) {
          throw error;
        }
      }
    }
  }

  /** Reads their present contents. */
  read(): NetworkTexts {
    return Object.fromEntries([...this.#files].map(([path, file]) => [path, readAgain(file)]));
  }

  /** Closes them. */
  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file.close();
  }
}

function readAgain(file: Deno.FsFile): string {
  file.seekSync(0, Deno.SeekMode.Start);
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(64 * 1024);
  let text = "";
  for (;;) {
    const length = file.readSync(buffer);
    if (length === null) return text;
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
}

/** The network as another thread has read it; interfaces can be read in this thread. */
export class ToldNetwork implements NetworkIo {
  /** The latest. */
  texts: NetworkTexts = {};
  #interfaces: ReturnType<NetworkIo["interfaces"]> | undefined;

  interfaces(): ReturnType<NetworkIo["interfaces"]> {
    try {
      return this.#interfaces = Deno.networkInterfaces();
    } catch (error) {
      // Reading them takes a descriptor, and clients may have taken them all.
      if (this.#interfaces === undefined) throw error;
      return this.#interfaces;
    }
  }

  read(path: string): string | undefined {
    return this.texts[path];
  }
}
