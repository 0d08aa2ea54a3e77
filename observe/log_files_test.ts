import assert from "node:assert/strict";
import { join } from "@std/path";
import { formatJson } from "./log_format.ts";
import { fileSource, findLogFiles, wholeLines } from "./log_files.ts";
import { timeOf } from "./log_lines.ts";

const START = Date.UTC(2026, 10, 1);
const ALL = { since: 0, until: Infinity };

function line(second: number): string {
  const fields = { id: `n${second}`, filler: "x".repeat(800) };
  return `${formatJson({ time: START + second * 1000, level: "info", event: "queue.done", fields })}\n`;
}

/** A directory that is removed afterwards. */
async function inDirectory(use: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir({ prefix: "mailapp-log-" });
  try {
    await use(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

async function gzip(text: string): Promise<Uint8Array> {
  const packed = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

async function ids(pieces: AsyncIterable<string>): Promise<number[]> {
  const text = (await Array.fromAsync(pieces)).join("");
  return Array.from(text.matchAll(/"id":"n(\d+)"/g), ([, id]) => Number(id));
}

Deno.test("findLogFiles() finds rotated and packed files, oldest first, and names what it cannot unpack", async () => {
  await inDirectory(async (directory) => {
    const write = async (name: string, content: Uint8Array | string, age: number) => {
      const path = join(directory, name);
      if (typeof content === "string") await Deno.writeTextFile(path, content);
      else await Deno.writeFile(path, content);
      const time = new Date(Date.now() - age * 86_400_000);
      await Deno.utime(path, time, time);
    };
    await write("mailapp.log", line(4), 0);
    await write("mailapp.log.1", line(3), 7);
    await write("mailapp.log-20261101.gz", await gzip(line(1)), 21);
    await write("mailapp.log.2.gz", await gzip(line(2)), 14);
    await write("mailapp.log.3.xz", "?", 28);
    await write("mailapp.logger", line(9), 1);
    await write("other.log", line(9), 1);
    const { sources, unreadable } = await findLogFiles(join(directory, "mailapp.log"));
    const found: number[] = [];
    for (const source of sources) found.push(...await ids(source.pieces(ALL)));
    assert.deepEqual(found, [1, 2, 3, 4]);
    assert.deepEqual(unreadable, [join(directory, "mailapp.log.3.xz")]);
    assert.equal(await sources[0]?.begins(), START + 1000);
  });
});

Deno.test("fileSource() reads of a large file what may be of the time that is asked for, and all of that", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "mailapp.log");
    const count = 20_000;
    await Deno.writeTextFile(path, Array.from({ length: count }, (_, second) => line(second)).join(""));
    for (const first of [0, 1, 7_000, 19_998, 30_000]) {
      const range = { since: START + first * 1000, until: START + (first + 500) * 1000 };
      const found = await ids(fileSource(path).pieces(range));
      const wanted = Array.from({ length: count }, (_, second) => second).filter((second) =>
        second >= first && second <= first + 500
      );
      assert.deepEqual(wanted.filter((second) => !found.includes(second)), [], `from ${first}`);
      // Two pieces of a megabyte before, one after, and a minute of disorder at each end.
      assert.ok(found.length <= wanted.length + 4_000, `from ${first}: ${found.length} lines were read`);
    }
  });
});

Deno.test("fileSource() reads nothing of a file that was written to last before the time", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "mailapp.log.1");
    await Deno.writeTextFile(path, line(1));
    await Deno.utime(path, new Date(START), new Date(START));
    assert.deepEqual(await ids(fileSource(path).pieces({ since: START + 3_600_000, until: Infinity })), []);
  });
});

Deno.test("fileSource() reads a packed file to where it breaks off, and says that it does", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "mailapp.log.1.gz");
    const packed = await gzip(Array.from({ length: 2000 }, (_, second) => line(second)).join(""));
    await Deno.writeFile(path, packed.subarray(0, packed.length / 2));
    const problems: string[] = [];
    const found = await ids(fileSource(path, (problem) => problems.push(problem)).pieces(ALL));
    assert.ok(found.length > 100 && found.length < 2000, `${found.length} lines`);
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? "", /mailapp\.log\.1\.gz is read only in part: /);
  });
});

Deno.test("wholeLines() gives whole lines however the octets come, and the last one without its end", async () => {
  const text = `${line(1)}${line(2)}ü\n${line(3).trimEnd()}`;
  const octets = new TextEncoder().encode(text);
  for (const size of [1, 7, 900, 5000]) {
    const chunks = async function* () {
      for (let at = 0; at < octets.length; at += size) {
        yield await Promise.resolve(octets.subarray(at, at + size));
      }
    };
    const pieces = await Array.fromAsync(wholeLines(chunks()));
    assert.equal(pieces.join(""), Array.from(octets, (octet) => String.fromCharCode(octet)).join(""));
    for (const piece of pieces.slice(0, -1)) assert.ok(piece.endsWith("\n"));
    assert.equal(timeOf(pieces.at(-1) ?? ""), START + 3000);
  }
});
