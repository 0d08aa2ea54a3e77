/**
 * The body of a message as DKIM hashes it: simple and relaxed canonicalization (RFC 6376 §3.4.3, §3.4.4) while the
 * bytes stream by.
 *
 * @module
 */
import { createHash } from "node:crypto";

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;

// What is held back for later, line ends and one space, is written in blocks of this size at most.
const BLOCK = 16 * 1024;
/** Where the relaxed form is written: nothing stays in it after a call, so one is enough. */
const block = new Uint8Array(BLOCK);

const CRLF = Uint8Array.of(CR, LF);
/** How many line ends are given out at once. */
const LINE_ENDS = BLOCK / 2;
const MANY_CRLF = new Uint8Array(BLOCK).map((_, at) => at % 2 === 0 ? CR : LF);

/** Takes canonical bytes; they are valid only during the call. */
export type TakeBytes = (bytes: Uint8Array) => void;

/**
 * A state machine that yields a body in its relaxed form: white space at the ends of lines gone, other white space
 * one space, empty lines at the end gone, a line end at the end of what is not empty. Memory is bounded whatever comes.
 */
export class RelaxedBody {
  readonly #take: TakeBytes;
  #used = 0;
  /** Line ends that count only if something follows. */
  #lineEnds = 0;
  #space = false;
  /** A CR that may be half of a line end. */
  #cr = false;
  #empty = true;

  /** `take` gets the canonical bytes, cut anywhere. */
  constructor(take: TakeBytes) {
    this.#take = take;
  }

  /** Takes bytes of the body, cut anywhere. */
  push(chunk: Uint8Array): void {
    const { length } = chunk;
    // Fields would cost as much, at each octet, as all the rest.
    let [used, space, cr] = [this.#used, this.#space, this.#cr];
    for (let i = 0; i < length; i++) {
      const byte = chunk[i] as number;
      if (cr && byte === LF) {
        cr = space = false;
        this.#lineEnds++;
      } else if (!cr && (byte === SPACE || byte === TAB)) {
        space = true;
      } else if (!cr && byte === CR) {
        cr = true;
      } else if (!cr && this.#lineEnds === 0 && used < BLOCK - 1) {
        if (space) block[used++] = SPACE;
        space = false;
        block[used++] = byte;
        // Most of a body is runs of such octets.
        for (let next = chunk[i + 1] ?? 0; next > SPACE && used < BLOCK; next = chunk[i + 1] ?? 0) {
          block[used++] = next;
          i++;
        }
      } else {
        [this.#used, this.#space] = [used, space];
        if (cr) {
          // It was not a half of a line end; this octet is looked at once more.
          this.#text(CR);
          cr = false;
          i--;
        } else this.#text(byte);
        [used, space] = [this.#used, this.#space];
      }
    }
    if (used > 0) this.#empty = false;
    [this.#used, this.#space, this.#cr] = [used, space, cr];
    this.#flush();
  }

  /** The body is over: yields what is left. */
  finish(): void {
    if (this.#cr) this.#text(CR);
    this.#cr = false;
    if (!this.#empty || this.#used > 0) {
      this.#put(CR);
      this.#put(LF);
    }
    this.#flush();
  }

  /** A byte that is not white space, and what was held back before it. */
  #text(byte: number): void {
    for (; this.#lineEnds > 0; this.#lineEnds--) {
      this.#put(CR);
      this.#put(LF);
    }
    if (this.#space) this.#put(SPACE);
    this.#space = false;
    this.#put(byte);
  }

  #put(byte: number): void {
    if (this.#used === BLOCK) this.#flush();
    block[this.#used++] = byte;
    this.#empty = false;
  }

  #flush(): void {
    if (this.#used > 0) this.#take(block.subarray(0, this.#used));
    this.#used = 0;
  }
}

/**
 * The same for the simple form (RFC 6376 §3.4.3): empty lines at the end gone, and one line end at the end, also of an
 * empty body. Yields the chunks as they are.
 */
export class SimpleBody {
  readonly #take: TakeBytes;
  /** Line ends that count only if something follows. */
  #lineEnds = 0;
  /** A CR that may be half of a line end. */
  #cr = false;

  /** `take` gets the canonical bytes, cut anywhere. */
  constructor(take: TakeBytes) {
    this.#take = take;
  }

  /** Takes bytes of the body, cut anywhere. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    let start = 0;
    if (this.#cr) {
      this.#cr = false;
      if (chunk[0] === LF) {
        this.#lineEnds++;
        start = 1;
      } else {
        this.#giveLineEnds();
        this.#take(CRLF.subarray(0, 1));
      }
    }
    let end = chunk.length;
    const cr = end > start && chunk[end - 1] === CR;
    if (cr) end--;
    const kept = end;
    while (end - 2 >= start && chunk[end - 2] === CR && chunk[end - 1] === LF) end -= 2;
    if (end > start) {
      this.#giveLineEnds();
      this.#take(chunk.subarray(start, end));
    }
    this.#lineEnds += (kept - end) / 2;
    this.#cr = cr;
  }

  /** The body is over: yields what is left. */
  finish(): void {
    if (this.#cr) {
      this.#giveLineEnds();
      this.#take(CRLF.subarray(0, 1));
    }
    this.#cr = false;
    this.#lineEnds = 0;
    this.#take(CRLF);
  }

  #giveLineEnds(): void {
    for (; this.#lineEnds > 0; this.#lineEnds -= Math.min(this.#lineEnds, LINE_ENDS)) {
      this.#take(MANY_CRLF.subarray(0, 2 * Math.min(this.#lineEnds, LINE_ENDS)));
    }
  }
}

/** The SHA-256 of a body in relaxed form: what `bh=` tells. */
export class RelaxedBodyHash {
  readonly #hash = createHash("sha256");
  readonly #body = new RelaxedBody((bytes) => void this.#hash.update(bytes));

  /** Takes bytes of the body, cut anywhere. */
  push(chunk: Uint8Array): void {
    this.#body.push(chunk);
  }

  /** The hash in base64; to be asked once, when the body is over. */
  digest(): string {
    this.#body.finish();
    return this.#hash.digest("base64");
  }
}
