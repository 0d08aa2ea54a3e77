import assert from "node:assert/strict";
import { settle } from "../tests/support/fake_clock.ts";
import { Turnstile } from "./turnstile.ts";

Deno.test("Turnstile lets in by rank, then by arrival, and turns the last away when the line is full", async () => {
  const turnstile = new Turnstile({ atOnce: 1, maxWaiting: 3 });
  const inside = await turnstile.enter(9);
  const seen: string[] = [];
  const come = (name: string, rank: number) =>
    turnstile.enter(rank).then((turn) => {
      seen.push(turn === undefined ? `${name} away` : name);
      turn?.[Symbol.dispose]();
      turn?.[Symbol.dispose]();
    });
  const all = [come("a", 2), come("b", 1), come("c", 1), come("d", 3), come("e", 0)];
  await settle();
  assert.deepEqual(seen, ["d away", "a away"]);
  inside?.[Symbol.dispose]();
  await Promise.all(all);
  assert.deepEqual(seen.slice(2), ["e", "b", "c"]);
  assert.equal(turnstile.idle, true);
});
