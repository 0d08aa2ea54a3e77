import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { bytesOf, cut, textOf } from "../tests/support/bytes.ts";
import { type Line, LineReader } from "./line_reader.ts";
import type { Transport } from "../net/transport.ts";

const MAX = 2048;
const END: Line = { kind: "end" };

/** A transport that gives these chunks and then ends. */
function source(chunks: Iterable<Uint8Array>): Transport {
  const rest = [...chunks];
  const address = { address: "192.0.2.9", port: 1 };
  return {
    remote: address,
    local: address,
    deadline: Infinity,
    read(buffer) {
      const chunk = rest.shift();
      if (!chunk) return Promise.resolve(null);
      const size = Math.min(chunk.length, buffer.length);
      assert.ok(size > 0, "there is always room");
      buffer.set(chunk.subarray(0, size));
      if (size < chunk.length) rest.unshift(chunk.subarray(size));
      return Promise.resolve(size);
    },
    write: () => Promise.reject(new Error("nothing is written here")),
    close() {},
  };
}

/** The next line. */
async function readLine(reader: LineReader, transport: Transport): Promise<Line> {
  for (;;) {
    const line = reader.takeLine();
    if (line) return line;
    if (!await reader.fillForLine(transport)) return END;
  }
}

async function lines(text: string, sizes: readonly number[] = [], maxLine = MAX): Promise<Line[]> {
  const transport = source(cut(bytesOf(text), sizes));
  const reader = new LineReader(maxLine);
  const found: Line[] = [];
  for (;;) {
    const line = await readLine(reader, transport);
    found.push(line);
    if (line.kind === "end") return found;
  }
}

Deno.test("LineReader gives lines without their CRLF, then the end", async () => {
  for (const sizes of [[], [1], [2], [3]]) {
    assert.deepEqual(await lines("NOOP\r\n\r\nEHLO é\r\nrest".replace("é", "\xc3\xa9"), sizes), [
      { kind: "line", text: "NOOP" },
      { kind: "line", text: "" },
      { kind: "line", text: "EHLO é" },
      END,
    ]);
  }
});

Deno.test("LineReader tells bare LF, with what was typed", async () => {
  for (const sizes of [[], [1]]) {
    assert.deepEqual(await lines("HELO x\nNOOP\r\n\n\xff\n", sizes), [
      { kind: "bare-lf", text: "HELO x" },
      { kind: "line", text: "NOOP" },
      { kind: "bare-lf", text: "" },
      { kind: "bare-lf", text: "\ufffd" },
      END,
    ]);
  }
});

Deno.test("LineReader tells control characters, bare CR and what is not UTF-8; a tab is none", async () => {
  for (
    const bad of ["\0", "\x01", "\x1b[2J", "\x7f", "\r", "\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\x0b"]
  ) {
    assert.deepEqual(await lines(`A ${bad} B\r\nNOOP\r\n`), [
      { kind: "unreadable" },
      { kind: "line", text: "NOOP" },
      END,
    ], JSON.stringify(bad));
  }
  assert.deepEqual(await lines("A\tB\r\n"), [{ kind: "line", text: "A\tB" }, END]);
});

Deno.test("LineReader replaces what is not UTF-8 in EHLO and HELO, and takes no control character there either", async () => {
  for (const verb of ["EHLO", "helo"]) {
    assert.deepEqual(await lines(`${verb} b\xfcro\xff\r\n${verb} \xfc\0\r\n${verb}\xfc x\r\n`), [
      { kind: "line", text: `${verb} b\ufffdro\ufffd` },
      { kind: "unreadable" },
      { kind: "unreadable" },
      END,
    ]);
  }
});

Deno.test("LineReader takes lines up to the limit with their CRLF, and drops longer ones", async () => {
  const fits = "x".repeat(MAX - 2);
  for (const sizes of [[], [1], [4096], [MAX], [MAX - 1, 1]]) {
    assert.deepEqual(await lines(`${fits}\r\nNOOP\r\n`, sizes), [
      { kind: "line", text: fits },
      { kind: "line", text: "NOOP" },
      END,
    ]);
    for (const more of [1, 2, 2048, 4096, 20_000]) {
      assert.deepEqual(await lines(`${"x".repeat(MAX - 2 + more)}\r\nNOOP\r\n`, sizes), [
        { kind: "too-long" },
        { kind: "line", text: "NOOP" },
        END,
      ]);
    }
  }
});

Deno.test("LineReader takes 10 MB without a line end in bounded memory", async () => {
  const chunk = new Uint8Array(65_536).fill(0x78);
  const transport = source(Array.from({ length: 160 }, () => chunk));
  const reader = new LineReader(MAX);
  assert.deepEqual(await readLine(reader, transport), { kind: "too-long" });
  assert.deepEqual(await readLine(reader, transport), END);
  assert.ok(reader.available.buffer.byteLength <= 4096);
});

Deno.test("LineReader holds 512 octets for a client that says little, and reads pipelined groups in one piece", async () => {
  const reader = new LineReader(MAX);
  const idle = () => reader.available.buffer.byteLength;
  const greeting = source([bytesOf("EHLO client.test\r\n")]);
  assert.equal((await readLine(reader, greeting)).kind, "line");
  assert.equal(idle(), 512);
  reader.expectData();
  assert.equal((await readLine(reader, source([bytesOf("NOOP\r\n")]))).kind, "line");
  assert.equal(idle(), 512, "after data");

  const group = bytesOf("RCPT TO:<user@example.com>\r\n".repeat(100));
  const sizes: number[] = [];
  const from = (chunks: Uint8Array[]) => {
    const transport = source(chunks);
    return {
      ...transport,
      read: (buffer: Uint8Array) => {
        sizes.push(buffer.length);
        return transport.read(buffer);
      },
    };
  };
  const transport = from([group, group]);
  for (let line = 0; line < 200; line++) {
    assert.equal((await readLine(reader, transport)).kind, "line");
  }
  assert.deepEqual(sizes.map((size) => size > 512), [false, true, true]);
});

Deno.test("LineReader refuses a limit above its buffer", () => {
  assert.throws(() => new LineReader(4097), RangeError);
});

Deno.test("LineReader lets lines and data take turns", async () => {
  const data = "d".repeat(200_000);
  const transport = source(cut(bytesOf(`DATA\r\n${data}NOOP\r\nQUIT\r\n`), [100_000]));
  const reader = new LineReader(MAX);
  assert.deepEqual(await readLine(reader, transport), { kind: "line", text: "DATA" });
  reader.expectData();
  let left = data.length;
  while (left > 0) {
    const piece = reader.available.subarray(0, left);
    if (piece.length === 0) {
      assert.ok(await reader.fill(transport));
      continue;
    }
    assert.equal(textOf(piece), "d".repeat(piece.length));
    reader.consume(piece.length);
    left -= piece.length;
  }
  assert.deepEqual(await readLine(reader, transport), { kind: "line", text: "NOOP" });
  assert.deepEqual(reader.takeLine(), { kind: "line", text: "QUIT" });
  assert.equal(reader.takeLine(), undefined);
  assert.deepEqual(await readLine(reader, transport), END);
  // An idle connection holds little.
  assert.equal(reader.available.buffer.byteLength, 4096);
});

Deno.test("discard() forgets what was read, and a line that was being dropped", async () => {
  const transport = source([bytesOf("STARTTLS\r\nEHLO injected\r\n"), bytesOf("EHLO real\r\n")]);
  const reader = new LineReader(MAX);
  await readLine(reader, transport);
  assert.equal(reader.discard(), "EHLO injected\r\n".length);
  assert.equal(reader.discard(), 0);
  assert.deepEqual(await readLine(reader, transport), { kind: "line", text: "EHLO real" });

  const long = source([bytesOf("x".repeat(4000)), bytesOf("EHLO real\r\n")]);
  assert.deepEqual(await readLine(reader, long), { kind: "too-long" });
  reader.discard();
  assert.deepEqual(await readLine(reader, long), { kind: "line", text: "EHLO real" });
});

const texts = fc.array(
  fc.constantFrom("\r\n", "\n", "\r", "a", "bc", "\0", "\xff", "é", "x".repeat(15), "x".repeat(40), " "),
  { maxLength: 20 },
).map((parts) => parts.join(""));
const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 });

Deno.test("LineReader gives the same lines however the bytes are cut (property)", async () => {
  await fc.assert(
    fc.asyncProperty(texts, cuts, async (text, sizes) => {
      assert.deepEqual(await lines(text, sizes, 20), expected(text, 20));
    }),
    { numRuns: 1000 },
  );
});

function expected(text: string, max: number): Line[] {
  const found: Line[] = [];
  const parts = text.split("\n");
  const rest = parts.pop() ?? "";
  for (const part of parts) {
    const bytes = bytesOf(part);
    if (part.length + 1 > max) found.push({ kind: "too-long" });
    else if (!part.endsWith("\r")) found.push({ kind: "bare-lf", text: new TextDecoder().decode(bytes) });
    else {
      try {
        const line = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, -1));
        found.push(/[\0\r]/.test(line) ? { kind: "unreadable" } : { kind: "line", text: line });
      } catch {
        found.push({ kind: "unreadable" });
      }
    }
  }
  if (rest.length >= max) found.push({ kind: "too-long" });
  return [...found, END];
}

Deno.test("LineReader shows nothing of what another one read into the same memory", async () => {
  const first = new LineReader(MAX);
  await first.fill(source([bytesOf("secret, and secret\r\nmore")]));
  const { buffer } = first.available;
  first.release();
  assert.equal(first.available.length, 0);
  const second = new LineReader(MAX);
  assert.equal(second.takeLine(), undefined);
  const transport = source([bytesOf("x"), bytesOf("\r\n")]);
  await second.fill(transport);
  assert.equal(second.available.buffer, buffer);
  assert.equal(textOf(second.available), "x");
  assert.deepEqual(await readLine(second, transport), { kind: "line", text: "x" });
  // For mail data it takes other memory, and the next line comes out of that again.
  second.expectData();
  assert.equal(second.available.length, 0);
  await second.fill(source([bytesOf("data")]));
  assert.equal(textOf(second.available), "data");
  // Given back twice, memory must not go to two.
  second.release();
  second.release();
  const others = [new LineReader(MAX), new LineReader(MAX)];
  assert.equal(new Set(others.map(({ available }) => available.buffer)).size, 2);
  for (const reader of others) reader.expectData();
  assert.equal(new Set(others.map(({ available }) => available.buffer)).size, 2);
  for (const reader of others) {
    assert.equal((await readLine(reader, source([bytesOf("y\r\n")]))).kind, "line");
  }
});

Deno.test("LineReader keeps a bounded amount of memory to be used again", () => {
  for (const large of [false, true]) {
    const make = () => {
      const reader = new LineReader(MAX);
      if (large) reader.expectData();
      return reader;
    };
    const readers = Array.from({ length: 50 }, make);
    const used = new Set(readers.map(({ available }) => available.buffer));
    assert.equal(used.size, 50);
    for (const reader of readers) reader.release();
    const again = Array.from({ length: 50 }, make).filter(({ available }) => used.has(available.buffer));
    assert.equal(again.length, 32);
  }
});
