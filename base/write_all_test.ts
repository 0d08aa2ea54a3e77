import assert from "node:assert/strict";
import { writeAll, writeAllSync } from "./write_all.ts";

/** Takes at most three bytes at a time. */
class Slow {
  readonly taken: number[] = [];

  writeSync(bytes: Uint8Array): number {
    this.taken.push(...bytes.subarray(0, 3));
    return Math.min(3, bytes.length);
  }

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(this.writeSync(bytes));
  }
}

Deno.test("writeAll() and writeAllSync() go on until everything is written", async () => {
  const bytes = Uint8Array.from({ length: 10 }, (_, index) => index);
  const one = new Slow();
  await writeAll(one, bytes);
  assert.deepEqual(one.taken, [...bytes]);
  const other = new Slow();
  writeAllSync(other, bytes);
  assert.deepEqual(other.taken, [...bytes]);
});
