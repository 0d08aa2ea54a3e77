/**
 * Mail data on the wire (RFC 5321 §4.1.1.4, §4.5.2): finds its true end, removes dot-stuffing and
 * notices bare CR and LF. No I/O: bytes go in, pieces of them come out.
 *
 * @module
 */
import { LineEndScanner } from "../base/line_end_scanner.ts";
import { PieceJoiner } from "../base/piece_joiner.ts";

/** How to read mail data. */
export interface DataReaderOptions {
  /** Whether the data is dot-stuffed and ends with a lone dot (DATA), or is counted (BDAT). */
  readonly dotStuffed: boolean;
  /**
   * `refuse`: a bare CR or LF is noted in {@linkcode DataReader.bare} and never begins a line.
   * `repair`: bare LF becomes CRLF, bare CR a space, but for up to seven right before a CRLF, which go; what stands
   * after a repaired line end is not the end of data either.
   */
  readonly bareLineEndings: "refuse" | "repair";
}

const CR = 13;
const LF = 10;
const DOT = 46;
const CRLF = new Uint8Array([CR, LF]);
const ONE_DOT = new Uint8Array([DOT]);
const ONE_CR = new Uint8Array([CR]);
const SPACE = new Uint8Array([32]);
/**
 * A program that turns LF into CRLF once too often writes CR CR LF. This many CRs are held until it is clear
 * whether a line ends after them.
 */
export const MAX_HELD_CRS = 8;

// Where the last byte left us. Only CRLF begins a line: everything that smuggles a second message past us relies on
// a server that takes something else for the end of one (CVE-2023-51764 and its kin).
const LINE_START = 0;
const MIDDLE = 1;
const AFTER_CR = 2;
const AFTER_DOT = 3;
const AFTER_DOT_CR = 4;

/** Reads the mail data of one message. */
export class DataReader {
  /** Whether the end has been seen; bytes after it are not consumed. */
  ended = false;
  /** Whether a bare CR or LF has been seen. */
  bare = false;
  /** Octets output so far, CRLF counting as two. */
  octets = 0;
  readonly #dots: boolean;
  readonly #repair: boolean;
  readonly #joiner = new PieceJoiner();
  #state = LINE_START;
  /** CRs that are held back, where line ends are repaired. */
  #heldCrs = 0;

  /** Starts at the first byte after `354` or after BDAT's CRLF. */
  constructor(options: DataReaderOptions) {
    this.#dots = options.dotStuffed;
    this.#repair = options.bareLineEndings === "repair";
  }

  /**
   * Takes bytes and adds to `pieces` what they hold, in few pieces however short its lines are; valid until the next
   * call. Returns how many bytes were consumed: all, unless the data has ended.
   */
  push(chunk: Uint8Array, pieces: Uint8Array[]): number {
    const repair = this.#repair;
    const length = chunk.length;
    const scanner = new LineEndScanner(chunk);
    let state = this.#state;
    // The bytes from `from` up to `at` are output unchanged.
    let from = 0;
    let at = 0;
    const joiner = this.#joiner;
    joiner.begin(pieces);
    const emit = (bytes: Uint8Array, start = 0, end = bytes.length) => {
      this.octets += end - start;
      joiner.add(bytes, start, end);
    };
    while (at < length) {
      const byte = chunk[at];
      switch (state) {
        case LINE_START:
          if (byte === DOT && this.#dots) {
            emit(chunk, from, at);
            from = at + 1;
            state = AFTER_DOT;
            break;
          }
          state = MIDDLE;
          continue;
        case MIDDLE: {
          at = scanner.next(at);
          if (at === length) continue;
          if (chunk[at] === CR) {
            if (repair) {
              if (at + 1 < length && chunk[at + 1] === LF) {
                at += 2;
                state = LINE_START;
                continue;
              }
              // Held back until it shows what follows.
              emit(chunk, from, at);
              from = at + 1;
              this.#heldCrs = 1;
            }
            state = AFTER_CR;
          } else {
            this.bare = true;
            if (repair) {
              emit(chunk, from, at);
              emit(CRLF);
              from = at + 1;
            }
          }
          break;
        }
        case AFTER_CR:
          if (byte === LF) {
            if (repair) {
              if (this.#heldCrs > 1) this.bare = true;
              emit(CRLF);
              from = at + 1;
            }
            state = LINE_START;
            break;
          }
          this.bare = true;
          if (repair && byte === CR) {
            if (this.#heldCrs === MAX_HELD_CRS) emit(SPACE);
            else this.#heldCrs++;
            from = at + 1;
            break;
          }
          for (; repair && this.#heldCrs > 0; this.#heldCrs--) emit(SPACE);
          state = MIDDLE;
          continue;
        case AFTER_DOT:
          if (byte === CR) {
            from = at + 1;
            state = AFTER_DOT_CR;
            break;
          }
          if (byte === LF && repair) {
            // ".\n" after a true CRLF: a line with a dot, from a program that does not stuff.
            emit(ONE_DOT);
          }
          state = MIDDLE;
          continue;
        case AFTER_DOT_CR:
          if (byte === LF) {
            this.ended = true;
            this.#state = LINE_START;
            joiner.end();
            return at + 1;
          }
          // ".\r" and no LF: the CR was bare. The dot was stuffing.
          this.bare = true;
          this.#heldCrs = 1;
          state = repair ? AFTER_CR : MIDDLE;
          if (!repair) emit(ONE_CR);
          continue;
      }
      at++;
    }
    emit(chunk, from, length);
    joiner.end();
    this.#state = state;
    return length;
  }

  /** Ends counted data (BDAT); a CR at the very end was bare. */
  finish(pieces: Uint8Array[]): void {
    if (this.#state === AFTER_CR) {
      this.bare = true;
      for (; this.#repair && this.#heldCrs > 0; this.#heldCrs--) {
        this.octets += 1;
        pieces.push(SPACE);
      }
    }
    this.ended = true;
  }
}
