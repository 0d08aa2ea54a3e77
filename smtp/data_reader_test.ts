import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { bytesOf, cut, FALSE_ENDS, textOf } from "../tests/support/bytes.ts";
import { DataReader, type DataReaderOptions } from "./data_reader.ts";
import { DataWriter } from "./data_writer.ts";

const REFUSE: DataReaderOptions = { dotStuffed: true, bareLineEndings: "refuse" };
const REPAIR: DataReaderOptions = { dotStuffed: true, bareLineEndings: "repair" };
const COUNTED: DataReaderOptions = { dotStuffed: false, bareLineEndings: "refuse" };

interface Result {
  readonly content: string;
  readonly consumed: number;
  readonly ended: boolean;
  readonly bare: boolean;
  readonly octets: number;
}

/** Reads a text, cut into pieces of these sizes. */
function read(text: string, options: DataReaderOptions, sizes: readonly number[] = [text.length]): Result {
  const reader = new DataReader(options);
  let content = "";
  let consumed = 0;
  for (const chunk of cut(bytesOf(text), sizes)) {
    const pieces: Uint8Array[] = [];
    consumed += reader.push(chunk, pieces);
    content += pieces.map(textOf).join("");
    if (reader.ended) break;
  }
  if (!options.dotStuffed) {
    const pieces: Uint8Array[] = [];
    reader.finish(pieces);
    content += pieces.map(textOf).join("");
  }
  return { content, consumed, ended: reader.ended, bare: reader.bare, octets: reader.octets };
}

/** What RFC 5321 says, on the whole text at once: slow, and nothing like the reader. */
function expected(text: string, options: DataReaderOptions): Result {
  let end = text.length;
  if (options.dotStuffed) {
    const found = `\r\n${text}`.indexOf("\r\n.\r\n");
    if (found < 0) throw new Error("the text has no end");
    end = found;
  }
  const data = text.slice(0, end);
  const bare = /\r(?!\n)|(?<!\r)\n/.test(data);
  let content = data;
  if (options.dotStuffed) {
    // A dot after CRLF is stuffing, unless it stands alone before a bare LF, where no client can have stuffed it.
    const stuffing = options.bareLineEndings === "repair" ? /\r\n\.(?!\n)/g : /\r\n\./g;
    content = `\r\n${data}`.replace(stuffing, "\r\n").slice(2);
  }
  if (options.bareLineEndings === "repair") {
    // CR CR LF is one line end, and so are some CRs more.
    content = content.replaceAll(/\r{1,7}(?=\r\n)/g, "");
    content = content.replace(/\r\n|\r|\n/g, (found) => found === "\r" ? " " : "\r\n");
  }
  const consumed = options.dotStuffed ? end + ".\r\n".length : end;
  return { content, consumed, ended: true, bare, octets: content.length };
}

const behind = "MAIL FROM:<smuggled@client.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\nfrom hell\r\n";

for (const sequence of FALSE_ENDS) {
  Deno.test(`DataReader ends no data at ${JSON.stringify(sequence)}, however it is cut`, () => {
    for (const before of ["", "hello", "hello\r\n"]) {
      const text = `${before}${sequence}${behind}.\r\n`;
      for (const options of [REFUSE, REPAIR]) {
        for (const sizes of [[text.length], [1], [2], [3], [before.length + 1], [before.length + 2, 1]]) {
          const result = read(text, options, sizes);
          assert.deepEqual(
            result,
            { ...expected(text, options), consumed: text.length },
            JSON.stringify(sizes),
          );
        }
      }
    }
  });

  Deno.test(`DataReader leaves ${JSON.stringify(sequence)} in counted data as it is`, () => {
    const text = `a${sequence}${behind}`;
    for (const sizes of [[text.length], [1], [2]]) {
      const { content, consumed, octets } = read(text, COUNTED, sizes);
      assert.equal(content, text);
      assert.equal(consumed, text.length);
      assert.equal(octets, text.length);
    }
  });
}

Deno.test("DataReader notes every bare CR and LF, and nothing else", () => {
  const bare = ["\n", "\r", "a\nb", "a\rb", "\r\r\n", "\n\r\n", "\r\n.\r", "\r\n.\n", "\0\n", "\r\0\n"];
  for (const text of bare) {
    for (const sizes of [[text.length], [1]]) {
      assert.ok(read(`${text}x\r\n.\r\n`, REFUSE, sizes).bare, JSON.stringify(text));
      assert.ok(read(`${text}x`, COUNTED, sizes).bare, JSON.stringify(text));
    }
  }
  for (const text of ["", "a\r\n", "\r\n\r\n", "..\r\n", "\0\r\n", "\x85\u00a0\x0b\x0c\r\n"]) {
    for (const sizes of [[text.length || 1], [1]]) {
      assert.ok(!read(`${text}.\r\n`, REFUSE, sizes).bare, JSON.stringify(text));
      assert.ok(!read(text, COUNTED, sizes).bare, JSON.stringify(text));
    }
  }
});

Deno.test("DataReader finds the real end once, wherever it is cut", () => {
  const next = "RSET\r\n.\r\n";
  for (const message of ["", "a\r\n", "a\r\n\r\n", "..\r\n", ".. \r\n", "\r\n"]) {
    const text = `${message}.\r\n`;
    for (let at = 1; at <= text.length; at++) {
      const result = read(text + next, REFUSE, [at, text.length + next.length]);
      assert.equal(result.consumed, text.length, `${JSON.stringify(message)} cut at ${at}`);
      assert.equal(result.content, expected(text, REFUSE).content);
    }
    assert.equal(read(text + next, REFUSE, [1]).consumed, text.length);
  }
});

Deno.test("DataReader consumes nothing after the end", () => {
  const reader = new DataReader(REFUSE);
  const pieces: Uint8Array[] = [];
  assert.equal(reader.push(bytesOf(".\r\nQUIT\r\n"), pieces), 3);
  assert.ok(reader.ended);
  assert.deepEqual(pieces, []);
});

Deno.test("DataReader takes dot-stuffing away", () => {
  const cases = [["..\r\n", ".\r\n"], [".x\r\n", "x\r\n"], ["...\r\n", "..\r\n"], ["a.\r\n", "a.\r\n"]];
  for (const [sent, meant] of cases) {
    for (const sizes of [[9], [1], [2]]) assert.equal(read(`${sent}.\r\n`, REFUSE, sizes).content, meant);
  }
});

Deno.test("DataReader leaves dots of counted data alone", () => {
  assert.equal(read("..\r\n.\r\n.x", COUNTED).content, "..\r\n.\r\n.x");
});

Deno.test("DataReader repairs bare line ends before it takes stuffing away", () => {
  const cases = [
    ["a\n.\nb\r\n", "a\r\n.\r\nb\r\n"],
    ["a\r\n.\nb\r\n", "a\r\n.\r\nb\r\n"],
    ["a\n..\nb\r\n", "a\r\n..\r\nb\r\n"],
    ["a\rb\r\n", "a b\r\n"],
    ["\r.\r\r\n", " .\r\n"],
    ["\r\r\n", "\r\n"],
    ["a\r\r\nb\r\r\n\r\r\nc\r\r\r\n", "a\r\nb\r\n\r\nc\r\n"],
    ["a\r\r\n.\r\r\n", "a\r\n\r\n"],
    ["a\r\rb\r\n", "a  b\r\n"],
    ["a" + "\r".repeat(20) + "\n", "a" + " ".repeat(12) + "\r\n"],
    ["\n\r\n", "\r\n\r\n"],
  ];
  for (const [sent, meant] of cases) {
    for (const sizes of [[20], [1], [2]]) {
      assert.equal(read(`${sent}.\r\n`, REPAIR, sizes).content, meant, JSON.stringify(sent));
    }
  }
});

Deno.test("DataReader in repair mode and DataWriter let '\\n.\\n' leave as '\\r\\n..\\r\\n'", async () => {
  assert.equal(await sent(read("a\n.\nb\n\r\n.\r\n", REPAIR).content), "a\r\n..\r\nb\r\n\r\n.\r\n");
});

Deno.test("DataReader repairs a CR at the very end of counted data", () => {
  const options: DataReaderOptions = { dotStuffed: false, bareLineEndings: "repair" };
  assert.deepEqual(read("a\r", options, [1]), expected("a\r", options));
  assert.deepEqual(read("a\r\r\r", options, [2]), expected("a\r\r\r", options));
});

Deno.test("DataReader keeps its promise over a CRLF cut by two chunks of counted data", () => {
  const { content, bare } = read("a\r\nb", COUNTED, [2, 2]);
  assert.equal(content, "a\r\nb");
  assert.ok(!bare);
});

Deno.test("DataReader keeps every byte", () => {
  const all = String.fromCharCode(
    ...Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 10 && byte !== 13),
  );
  assert.equal(read(`${all}\r\n.\r\n`, REFUSE).content, `${all}\r\n`);
  assert.equal(read(`${all}\r\n.\r\n`, REPAIR).content, `${all}\r\n`);
  assert.equal(read(all, COUNTED).content, all);
});

Deno.test("DataReader keeps lines of any length", () => {
  for (const length of [998, 999, 1000, 1001, 10_000_000]) {
    const line = new Uint8Array(length).fill(0x78);
    const reader = new DataReader(REFUSE);
    let octets = 0;
    let pieceCount = 0;
    for (const chunk of cut(line, [65_536])) {
      const pieces: Uint8Array[] = [];
      reader.push(chunk, pieces);
      for (const piece of pieces) {
        octets += piece.length;
        pieceCount++;
        // Nothing is copied or held back: what comes out is the chunk itself.
        assert.equal(piece.buffer, line.buffer);
      }
    }
    assert.equal(octets, length);
    assert.ok(pieceCount <= Math.ceil(length / 65_536));
    assert.ok(!reader.ended);
  }
});

for (const [what, options] of Object.entries({ refuse: REFUSE, repair: REPAIR })) {
  Deno.test(`DataReader gives out as few pieces for short lines as for long ones (${what})`, () => {
    for (const line of ["..\r\n", ".\n", "\n", "\r", "\r\r\n", ".\r", "..", "a.\r\n.b\r\n", "\r\n.\r.\n"]) {
      for (const size of [1000, 65_536]) {
        const reader = new DataReader(options);
        const pieces: Uint8Array[] = [];
        reader.push(bytesOf("a\r\n"), pieces);
        pieces.length = 0;
        const chunk = bytesOf(line.repeat(size)).subarray(0, size);
        assert.equal(reader.push(chunk, pieces), size);
        assert.ok(
          pieces.length <= 16 + 2 * (2 * size) / 512,
          `${pieces.length} pieces: ${JSON.stringify(line)}`,
        );
      }
    }
  });
}

/** Texts in which everything that matters is frequent. */
const texts = fc.array(fc.constantFrom("\r", "\n", ".", "\r\n", "\r\n.", "a", "\0", "bcd", ".\r\n"), {
  maxLength: 24,
}).chain((parts) => fc.constantFrom(1, 1, 1, 50).map((times) => parts.join("").repeat(times)));
const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constant(1000)), {
  minLength: 1,
  maxLength: 6,
});

Deno.test("DataReader does what RFC 5321 says, however its input is cut (property)", () => {
  fc.assert(
    fc.property(texts, cuts, fc.constantFrom(REFUSE, REPAIR), (text, sizes, options) => {
      const whole = `${text}\r\n.\r\n`;
      assert.deepEqual(read(whole, options, sizes), expected(whole, options));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("DataReader does the same to counted data, however it is cut (property)", () => {
  fc.assert(
    fc.property(texts, cuts, fc.constantFrom("refuse", "repair"), (text, sizes, bareLineEndings) => {
      const options = { dotStuffed: false, bareLineEndings };
      assert.deepEqual(read(text, options, sizes), expected(text, options));
    }),
    { numRuns: 1000 },
  );
});

Deno.test("DataReader gives out only CRLF where it repairs (property)", () => {
  fc.assert(
    fc.property(texts, cuts, (text, sizes) => {
      const { content } = read(`${text}\r\n.\r\n`, REPAIR, sizes);
      assert.ok(!/\r(?!\n)|(?<!\r)\n/.test(content));
    }),
    { numRuns: 1000 },
  );
});

/** What DataWriter makes of a message. */
async function sent(message: string): Promise<string> {
  let out = "";
  const writer = new DataWriter((block) => {
    out += textOf(block);
    return Promise.resolve();
  });
  writer.begin();
  await writer.write(bytesOf(message));
  await writer.finish();
  return out;
}

Deno.test("DataReader gets back what DataWriter was given (property)", async () => {
  const lines = fc.array(fc.constantFrom("", ".", "..", ".a", "a", "\0", "\xff."), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(lines, cuts, async (lines, sizes) => {
      const message = lines.map((line) => `${line}\r\n`).join("");
      const wire = await sent(message);
      const result = read(wire, REFUSE, sizes);
      assert.equal(result.content, message);
      assert.equal(result.consumed, wire.length);
      assert.ok(!result.bare);
    }),
    { numRuns: 500 },
  );
});
