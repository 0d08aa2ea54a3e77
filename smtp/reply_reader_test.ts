import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { EndOfReplies, type RemoteReply, ReplyError, ReplyReader, replyText } from "./reply_reader.ts";
import type { Transport } from "../net/transport.ts";

/** A transport whose peer sends this (one byte a character), in pieces of at most `size`, then ends. */
function sending(text: Iterable<string>, size = 1000): Transport & { taken: number } {
  const iterator = text[Symbol.iterator]();
  const address = { address: "192.0.2.1", port: 25 };
  return {
    remote: address,
    local: address,
    deadline: Infinity,
    taken: 0,
    read(buffer) {
      let length = 0;
      while (length < Math.min(size, buffer.length)) {
        const { value, done } = iterator.next();
        if (done) break;
        buffer[length++] = value.charCodeAt(0);
      }
      this.taken += length;
      return Promise.resolve(length === 0 ? null : length);
    },
    write: () => Promise.resolve(),
    close() {},
  };
}

Deno.test("ReplyReader.read() reads replies, however they are cut", async () => {
  const text = "220 mx.test ESMTP\r\n250-mx.test\r\n250-SIZE 10\r\n250 HELP\r\n250\r\n" +
    "550-5.1.1 no\r\n550 5.1.1 such user\r\n451 5.1.1 odd\r\n354 \r\n250-\r\n250 2.0.0\r\n";
  const expected: RemoteReply[] = [
    { code: 220, lines: ["mx.test ESMTP"] },
    { code: 250, lines: ["mx.test", "SIZE 10", "HELP"] },
    { code: 250, lines: [""] },
    { code: 550, enhanced: "5.1.1", lines: ["5.1.1 no", "5.1.1 such user"] },
    { code: 451, lines: ["5.1.1 odd"] },
    { code: 354, lines: [""] },
    { code: 250, enhanced: "2.0.0", lines: ["", "2.0.0"] },
  ];
  for (const size of [1, 2, 7, 1000]) {
    const reader = new ReplyReader(sending(text, size));
    for (const reply of expected) assert.deepEqual(await reader.read(), reply);
    await assert.rejects(reader.read(), EndOfReplies);
  }
});

Deno.test("ReplyReader.read() takes further CR before CRLF as part of the line end", async () => {
  const text = "250-mx.test\r\r\n250-SIZE 10\r\r\r\n250 2.0.0 ok\r\r\n550\r\r\n354 go\r\n";
  for (const size of [1, 3, 1000]) {
    const reader = new ReplyReader(sending(text, size));
    assert.deepEqual(await reader.read(), {
      code: 250,
      enhanced: "2.0.0",
      lines: ["mx.test", "SIZE 10", "2.0.0 ok"],
    });
    assert.deepEqual(await reader.read(), { code: 550, lines: [""] });
    assert.deepEqual(await reader.read(), { code: 354, lines: ["go"] });
  }
});

Deno.test("ReplyReader.read() makes the text harmless", async () => {
  const reader = new ReplyReader(sending("250 \x1b[2J\t\x7f \xc3\xa9 \xff\r\n"));
  assert.deepEqual((await reader.read()).lines, ["?[2J?? é \ufffd"]);
});

Deno.test("ReplyReader.read() takes line and paragraph separators of Unicode as text", async () => {
  for (const separator of ["\xe2\x80\xa8", "\xe2\x80\xa9", "\xc2\x85"]) {
    const reader = new ReplyReader(sending(`550-5.1.1 no${separator}such\r\n550 5.1.1 ${separator}\r\n`));
    assert.deepEqual(await reader.read(), {
      code: 550,
      enhanced: "5.1.1",
      lines: ["5.1.1 no?such", "5.1.1 ?"],
    });
  }
});

const UNFINISHED: readonly (readonly [sent: string, kept: string])[] = [
  ["220-mx.test\r\n521 we know\x07you\r\n", "220-mx.test\n521 we know?you"],
  ["554-5.7.1 blocked\r\n554-5.7.1 see \xc3\xa9\r\n", "554-5.7.1 blocked\n554-5.7.1 see é"],
  ["421 too bu", "421 too bu"],
  ["250-a\r\n250-b\rc\r\n", "250-a\n250-b?c"],
  ["HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 400 Bad Request"],
  ["\r\n", ""],
  ["", ""],
];

Deno.test("ReplyReader.unfinished keeps the words of a reply that came to nothing", async () => {
  for (const [sent, kept] of UNFINISHED) {
    for (const size of [1, 1000]) {
      const reader = new ReplyReader(sending(`220 hello\r\n${sent}`, size));
      await reader.read();
      await assert.rejects(reader.read());
      assert.equal(reader.unfinished, kept);
    }
  }
  const reader = new ReplyReader(sending(`220 ${"x".repeat(5000)}`));
  await assert.rejects(reader.read(), ReplyError);
  assert.equal(reader.unfinished.length, 2000);
});

const MALFORMED: Record<string, string> = {
  "two digits": "25\r\n",
  "two digits and text": "25 ok\r\n",
  "an impossible code": "999 what\r\n",
  "a code of 1xx": "150 wait\r\n",
  "four digits": "2500 ok\r\n",
  "no code": "ok\r\n",
  "no separator": "250ok\r\n",
  "an empty line": "\r\n",
  "mixed codes": "250-a\r\n251 b\r\n",
  "a bare LF": "250 ok\n",
  "a bare LF first": "\n250 ok\r\n",
  "a bare CR": "250 a\rb\r\n",
  "a NUL": "250 a\0b\r\n",
  "a web server": "HTTP/1.1 400 Bad Request\r\n",
  "another protocol": "SSH-2.0-OpenSSH_9.9\r\n",
};

for (const [name, text] of Object.entries(MALFORMED)) {
  Deno.test(`ReplyReader.read() refuses a reply with ${name}`, async () => {
    await assert.rejects(new ReplyReader(sending(text)).read(), ReplyError);
    await assert.rejects(new ReplyReader(sending(text, 1)).read(), ReplyError);
  });
}

Deno.test("ReplyReader.read() reads a bounded part of what never ends", async () => {
  const endless: Record<string, string> = {
    continuation: "250-again and again\r\n",
    line: "250 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
  };
  for (const [name, text] of Object.entries(endless)) {
    const transport = sending(function* () {
      const repeated = name === "line" ? text.slice(4) : text;
      yield* text;
      for (let i = 0; i < 10_000; i++) yield* repeated;
    }());
    await assert.rejects(new ReplyReader(transport).read(), ReplyError, name);
    assert.ok(transport.taken <= 16 * 1024, `${name}: ${transport.taken}`);
  }
});

Deno.test("ReplyReader.read() gives a reply or an error for any bytes", async () => {
  const bytes = fc.array(
    fc.constantFrom("2", "5", "0", "9", " ", "-", "\r", "\n", "\r\n", "\0", "\xff", "250 ok\r\n"),
    {
      maxLength: 60,
    },
  );
  await fc.assert(fc.asyncProperty(bytes, async (parts) => {
    const reader = new ReplyReader(sending(parts.join(""), 5));
    for (;;) {
      try {
        const { code, lines } = await reader.read();
        assert.ok(code >= 200 && code <= 599 && lines.length > 0);
      } catch (error) {
        assert.ok(error instanceof ReplyError || error instanceof EndOfReplies);
        return;
      }
    }
  }));
});

Deno.test("replyText() gives the lines as they stood", () => {
  assert.equal(replyText({ code: 550, lines: ["5.1.1 no", "such user"] }), "550-5.1.1 no\n550 such user");
});
