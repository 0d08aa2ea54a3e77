/**
 * What several threads have claimed of the same file systems and stored there, in shared memory: each writes its own
 * figures and reads those of the others.
 *
 * @module
 */

/** What the threads share: plain data, to be sent to each of them. */
export interface SharedClaimsData {
  /** The figures. */
  readonly words: Int32Array<SharedArrayBuffer>;
  /** How many threads have figures in it. */
  readonly threads: number;
  /** How many paths a `SpaceReserve` of them has. */
  readonly paths: number;
}

/** Octets and files in one path. */
export interface Room {
  /** Octets. */
  readonly octets: number;
  /** Files. */
  readonly files: number;
}

/** Octets are counted in such blocks, rounded up: a word then holds 8 TiB. */
const BLOCK = 4096;
// Words of a thread for a path: claimed blocks and files; blocks and files stored since the start, which wrap around.
const CLAIMED = 0;
const STORED = 2;
const SIZE = 4;

/** Makes empty figures. */
export function createSharedClaims(
  { threads, paths }: { readonly threads: number; readonly paths: number },
): SharedClaimsData {
  return { words: new Int32Array(new SharedArrayBuffer(4 * threads * paths * SIZE)), threads, paths };
}

/** The figures as one thread sees them. */
export class SharedClaims {
  readonly #data: SharedClaimsData;
  readonly #thread: number;
  /** Octets and files claimed by this thread in each path. */
  readonly #claimed: { octets: number; files: number }[];

  /** Begins with nothing claimed. `thread`: the number of this thread, from 0. */
  constructor(data: SharedClaimsData, thread: number) {
    this.#data = data;
    this.#thread = thread;
    this.#claimed = Array.from({ length: data.paths }, () => ({ octets: 0, files: 0 }));
    forgetClaims(data, thread);
  }

  /** Claims more, or less, in the path of this index. */
  claim(path: number, { octets, files }: Room): void {
    const claimed = this.#claimed[path];
    if (claimed === undefined) return;
    claimed.octets += octets;
    claimed.files += files;
    const at = this.#at(this.#thread, path) + CLAIMED;
    Atomics.store(this.#data.words, at, Math.ceil(claimed.octets / BLOCK));
    Atomics.store(this.#data.words, at + 1, claimed.files);
  }

  /** Something was stored in the path of this index. */
  store(path: number, { octets, files }: Room): void {
    if (path >= this.#data.paths) return;
    const at = this.#at(this.#thread, path) + STORED;
    Atomics.add(this.#data.words, at, Math.ceil(octets / BLOCK));
    Atomics.add(this.#data.words, at + 1, files);
  }

  /** Blocks and files that each other thread has stored in each path so far, for {@linkcode SharedClaims.ofOthers}. */
  mark(): Int32Array<ArrayBuffer> {
    const mark = new Int32Array(this.#data.words.length);
    mark.set(this.#data.words);
    return mark;
  }

  /**
   * What the other threads have claimed in a path, and stored there since a mark. Claims count in full, though part of
   * them may be on the disk already.
   */
  ofOthers(path: number, mark: Int32Array): Room {
    const { words, threads } = this.#data;
    let blocks = 0;
    let files = 0;
    for (let thread = 0; thread < threads; thread++) {
      if (thread === this.#thread) continue;
      const at = this.#at(thread, path);
      blocks += Atomics.load(words, at + CLAIMED);
      files += Atomics.load(words, at + CLAIMED + 1);
      blocks += (Atomics.load(words, at + STORED) - (mark[at + STORED] ?? 0)) | 0;
      files += (Atomics.load(words, at + STORED + 1) - (mark[at + STORED + 1] ?? 0)) | 0;
    }
    return { octets: blocks * BLOCK, files };
  }

  #at(thread: number, path: number): number {
    return (thread * this.#data.paths + path) * SIZE;
  }
}

/** The thread has ended: what it has claimed is free, but for what is on the disk. */
export function forgetClaims({ words, paths }: SharedClaimsData, thread: number): void {
  for (let path = 0; path < paths; path++) {
    const at = (thread * paths + path) * SIZE + CLAIMED;
    Atomics.store(words, at, 0);
    Atomics.store(words, at + 1, 0);
  }
}
