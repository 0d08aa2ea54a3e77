/**
 * Mail data on its way out in counted chunks (RFC 3030 §2), each in one write with its command. There is nothing to be
 * escaped and no reply to wait for before the data, as with DATA.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** Octets of a chunk at most. */
const CHUNK = 32 * 1024;
/** Room before the chunk for the longest command: BDAT 32768 LAST and CRLF. */
const COMMAND = 17;

/** What a {@linkcode ChunkWriter} writes to. */
export interface ChunkSink {
  /** Takes a command with its chunk, which is valid until the promise resolves. */
  write(chunk: Uint8Array): Promise<void>;
  /** Reads the reply to a chunk that is not the last one; rejects where the message is over by it. */
  readReply(): Promise<void>;
}

/** Writes one message after the other in chunks. While one is on its way the next one is filled. */
export class ChunkWriter {
  readonly #sink: ChunkSink;
  readonly #buffer = Buffer.allocUnsafeSlow(COMMAND + CHUNK);
  #length = 0;
  #awaitsReply = false;
  #began = false;

  /** Writes nothing yet. */
  constructor(sink: ChunkSink) {
    this.#sink = sink;
  }

  /** Whether anything of the message has been written. */
  get began(): boolean {
    return this.#began;
  }

  /** Begins a message. */
  begin(): void {
    this.#length = 0;
    this.#awaitsReply = this.#began = false;
  }

  /** Takes a part of the message, cut anywhere. */
  async write(part: Uint8Array): Promise<void> {
    for (let at = 0; at < part.length;) {
      if (this.#length === CHUNK) await this.#flush("");
      const piece = part.subarray(at, at + CHUNK - this.#length);
      this.#buffer.set(piece, COMMAND + this.#length);
      this.#length += piece.length;
      at += piece.length;
    }
  }

  /** Writes the last chunk; its reply is that to the message, and is left to the caller. */
  async finish(): Promise<void> {
    await this.#flush(" LAST");
  }

  async #flush(last: "" | " LAST"): Promise<void> {
    if (this.#awaitsReply) await this.#sink.readReply();
    const length = this.#length;
    const command = `BDAT ${length}${last}\r\n`;
    const start = COMMAND - command.length;
    this.#buffer.write(command, start, "latin1");
    this.#length = 0;
    this.#awaitsReply = this.#began = true;
    await this.#sink.write(this.#buffer.subarray(start, COMMAND + length));
  }
}
