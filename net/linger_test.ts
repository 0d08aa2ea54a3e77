import assert from "node:assert/strict";
import { linger } from "./linger.ts";

Deno.test("linger() reads to the end, or to its bound, and takes a broken connection for the end", async () => {
  const reads = async (answers: readonly (number | null | Error)[]) => {
    const left = [...answers];
    await linger({
      read() {
        const answer = left.shift() ?? null;
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    }, 10);
    return answers.length - left.length;
  };
  assert.equal(await reads([4, 4, null, 1]), 3);
  assert.equal(await reads([4, 6, 1]), 2);
  assert.equal(await reads([4, new Error("reset"), 1]), 2);
});
