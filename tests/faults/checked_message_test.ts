// What the fault tests hold stored files against must itself be able to say no.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { checkedMessage, readStored } from "./checked_message.ts";

const HEAD = "Return-Path: <a@client.test>\nReceived: from x\n\tby y\n";

async function store(
  change: (text: string) => string,
  sizes?: { disk: number; wire: number },
): Promise<{ path: string; remove: () => Promise<void> }> {
  const directory = await Deno.makeTempDir();
  const text = HEAD + change(checkedMessage("m1", 3000).text.replaceAll("\r\n", "\n"));
  const disk = sizes?.disk ?? new TextEncoder().encode(text).length;
  const path = join(
    directory,
    `1.M1P1Q1R1.host,S=${disk},W=${sizes?.wire ?? disk + text.split("\n").length - 1}`,
  );
  await Deno.writeTextFile(path, text);
  return { path, remove: () => Deno.remove(directory, { recursive: true }) };
}

Deno.test("readStored() finds the message that was sent under what the server put on top", async () => {
  const { path, remove } = await store((text) => text);
  const { id, digest } = readStored(path);
  assert.equal(id, "m1");
  assert.equal(digest, checkedMessage("m1", 3000).digest);
  await remove();
});

const TORN: Readonly<Record<string, (text: string) => string>> = {
  "cut short": (text) => text.slice(0, -100),
  "with a hole": (text) => text.slice(0, 1000) + "\0".repeat(100) + text.slice(1100),
  "with a line twice": (text) => `${text}${text.split("\n").at(-2)}\n`,
  "without its field": (text) => text.replace("X-Check", "X-Other"),
  empty: () => "",
};

for (const [how, change] of Object.entries(TORN)) {
  Deno.test(`readStored() refuses a file that is ${how}, whatever its name says`, async () => {
    const { path, remove } = await store(change);
    assert.throws(() => readStored(path), assert.AssertionError);
    await remove();
  });
}

Deno.test("readStored() refuses a file whose name lies about its sizes", async () => {
  const whole = await store((text) => text);
  const disk = (await Deno.stat(whole.path)).size;
  const wire = Number(/W=(\d+)/.exec(whole.path)?.[1]);
  await whole.remove();
  for (const sizes of [{ disk: disk + 1, wire }, { disk, wire: wire + 1 }]) {
    const { path, remove } = await store((text) => text, sizes);
    assert.throws(() => readStored(path), /is not its size/);
    await remove();
  }
});
