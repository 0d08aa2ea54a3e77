/**
 * A page of docs/guide, for tests that do what it says: the commands and settings come out of the page itself.
 *
 * @module
 */
import assert from "node:assert/strict";

/** A page whose blocks are taken one after the other. */
export class Guide {
  readonly #name: string;
  readonly #blocks: string[];

  private constructor(name: string, blocks: readonly string[]) {
    this.#name = name;
    this.#blocks = [...blocks];
  }

  /** Reads the page of this name, without `.md`. */
  static async read(name: string): Promise<Guide> {
    const text = await Deno.readTextFile(new URL(`../../docs/guide/${name}.md`, import.meta.url));
    const blocks = text.matchAll(/^( *)```\w+\n([^]*?)^\1```$/gm).map(([, indent = "", block = ""]) =>
      block.split("\n").map((line) => line.startsWith(indent) ? line.slice(indent.length) : line).join("\n")
    );
    return new Guide(name, [...blocks]);
  }

  /** The next block, which must begin so. */
  take(start: string): string {
    const block = this.#blocks.shift();
    assert.ok(
      block !== undefined && block.startsWith(start),
      `${this.#name}.md goes on with ${start}, not with: ${block}`,
    );
    return block;
  }

  /** Leaves out blocks up to one that begins so, and gives that. */
  skipTo(start: string): string {
    const at = this.#blocks.findIndex((block) => block.startsWith(start));
    assert.ok(at >= 0, `${this.#name}.md has: ${start}`);
    this.#blocks.splice(0, at);
    return this.take(start);
  }

  /** Fails if blocks are left that were not typed. */
  end(): void {
    assert.deepEqual(this.#blocks, [], `${this.#name}.md has no more blocks`);
  }
}
