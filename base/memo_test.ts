import assert from "node:assert/strict";
import { heldOctets } from "./held_octets.ts";
import { Memo } from "./memo.ts";

const KIB = 1024;

Deno.test("Memo keeps answers, the latest among them, in the octets that it may take", () => {
  const memo = new Memo<number>({ maxOctets: 64 * KIB });
  assert.equal(memo.get("0"), undefined);
  for (let i = 0; i < 5000; i++) {
    assert.equal(memo.keep(String(i), i), i);
    assert.ok(memo.octets <= 64 * KIB);
    assert.equal(memo.get(String(i)), i);
  }
  const kept = Array.from({ length: 5000 }, (_, i) => i).filter((i) => memo.get(String(i)) === i);
  assert.ok(kept.length > 10 && kept.length * (64 + heldOctets("4999")) <= 64 * KIB, String(kept.length));
});

Deno.test("Memo counts questions and answers, and keeps none that would push out all others", () => {
  const memo = new Memo<readonly string[]>({ maxOctets: 64 * KIB });
  memo.keep("small", ["a"]);
  const long = "x".repeat(KIB);
  for (const [question, answer] of [[long, ["a"]], ["many", Array(100).fill("answer")]] as const) {
    assert.deepEqual(memo.keep(question, answer), answer);
    assert.equal(memo.get(question), undefined);
  }
  assert.deepEqual(memo.get("small"), ["a"]);
  for (let i = 0; i < 1000; i++) {
    memo.keep(`${"q".repeat(i % 200)}${i}`, ["r".repeat(i % 100)]);
    assert.ok(memo.octets <= 64 * KIB, String(memo.octets));
  }
});

Deno.test("Memo counts a question once that is kept twice", () => {
  const memo = new Memo<string>();
  memo.keep("question", "answer");
  const { octets } = memo;
  memo.keep("question", "answer");
  assert.equal(memo.octets, octets);
});

Deno.test("Memo takes the size of what it cannot look into from its maker", () => {
  const memo = new Memo<() => void>({ maxOctets: 640 * KIB, sizeOf: () => 9 * KIB });
  for (let i = 0; i < 1000; i++) memo.keep(String(i), () => {});
  const kept = Array.from({ length: 1000 }, (_, i) => memo.get(String(i))).filter((answer) =>
    answer !== undefined
  );
  assert.ok(kept.length > 0 && kept.length <= 71, String(kept.length));
});

Deno.test("heldOctets() counts what a value refers to", () => {
  const few = heldOctets({ name: "a", list: ["b"], bytes: new Uint8Array(1) });
  assert.equal(heldOctets({ name: "a".repeat(101), list: ["b"], bytes: new Uint8Array(1) }), few + 200);
  assert.equal(heldOctets({ name: "a", list: ["b"], bytes: new Uint8Array(101) }), few + 100);
  assert.ok(heldOctets({ name: "a", list: Array(101).fill("b"), bytes: new Uint8Array(1) }) >= few + 1800);
});
