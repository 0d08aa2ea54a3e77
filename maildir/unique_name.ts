/**
 * Unique names for files in a Maildir.
 *
 * rename(2) replaces silently, so the name alone must keep two messages apart: in one process by the counter, in
 * others by the random part, which is drawn once per process, since pids repeat in containers and clocks are set back.
 *
 * @module
 */

/** What all threads of a process have in common; plain data, to be sent to each of them. */
export interface NameParts {
  /** Counts the names. */
  readonly counter: BigUint64Array<SharedArrayBuffer>;
  /** Sets them apart from those of other processes. */
  readonly random: string;
}

/** How names are made. */
export interface UniqueNamesOptions {
  /** This host's name; characters that a file name may not have are escaped. */
  readonly hostname: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The counter shared by all threads of the process, from {@linkcode createCounter}; a new one if absent. */
  readonly counter?: BigUint64Array<SharedArrayBuffer>;
  /** The process id; this one's if absent. */
  readonly pid?: number;
  /** At least 8 hexadecimal digits in lower case; drawn again if absent. */
  readonly random?: string;
}

/** A name before and after the sizes are known. */
export interface UniqueName {
  /** The name in `tmp/`. */
  readonly temporary: string;
  /**
   * The name in `new/`.
   * @param sizes `disk`: octets of the file; `wire`: octets with CRLF
   */
  withSizes(sizes: { readonly disk: number; readonly wire: number }): string;
}

/** A counter that workers share when it is posted to them. */
export function createCounter(): BigUint64Array<SharedArrayBuffer> {
  return new BigUint64Array(new SharedArrayBuffer(8));
}

/** Draws what the threads of this process have in common. */
export function createNameParts(): NameParts {
  return { counter: createCounter(), random: drawRandom() };
}

/** Makes names. */
export class UniqueNames {
  readonly #host: string;
  readonly #now: () => number;
  readonly #counter: BigUint64Array<SharedArrayBuffer>;
  readonly #pid: number;
  readonly #random: string;

  /** Draws the random part of the names. */
  constructor(options: UniqueNamesOptions) {
    this.#host = escapeHost(options.hostname);
    this.#now = options.now;
    this.#counter = options.counter ?? createCounter();
    this.#pid = options.pid ?? Deno.pid;
    this.#random = options.random ?? drawRandom();
  }

  /** A new file name: `<unix seconds>.M<µs>P<pid>Q<counter>R<random>.<host>`, at most 255 octets with its sizes. */
  next(): UniqueName {
    const { seconds, microseconds } = this.#time();
    const count = this.#count();
    const micro = String(microseconds).padStart(6, "0");
    const temporary = `${seconds}.M${micro}P${this.#pid}Q${count}R${this.#random}.${this.#host}`;
    return { temporary, withSizes: ({ disk, wire }) => `${temporary},S=${disk},W=${wire}` };
  }

  /** A short id of a message, from the same parts: letters and digits only, so it is an atom in Received. */
  nextId(): string {
    const count = this.#count();
    return `${this.#time().seconds.toString(36)}Q${count.toString(36)}R${this.#random.slice(0, 8)}`;
  }

  /** A number that no other thread gets. */
  #count(): number {
    return Number(Atomics.add(this.#counter, 0, 1n));
  }

  #time(): { seconds: number; microseconds: number } {
    const now = Math.max(0, this.#now());
    const seconds = Math.floor(now / 1000);
    return { seconds, microseconds: Math.floor((now - seconds * 1000) * 1000) };
  }
}

function drawRandom(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A file name has 255 octets, and everything but the host needs up to 120 of them.
const MAX_HOST = 128;

/** The Maildir format writes `/` and `:` as octal escapes; `,` would begin the sizes, and the rest would be awkward. */
function escapeHost(hostname: string): string {
  let host = "";
  for (const byte of new TextEncoder().encode(hostname)) {
    const character = String.fromCharCode(byte);
    const next = /[A-Za-z0-9._-]/.test(character) ? character : `\\${byte.toString(8).padStart(3, "0")}`;
    if (host.length + next.length > MAX_HOST) break;
    host += next;
  }
  return host === "" ? "localhost" : host;
}
