import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { bytesOf, cut, FALSE_ENDS, textOf } from "../tests/support/bytes.ts";
import type { Header, PendingMessage } from "./delivery.ts";
import { MAX_HEADER_SECTION } from "../message/header_field.ts";
import { IncomingMessage, type MessageLimits } from "./incoming_message.ts";
import { reply, SmtpError } from "./reply.ts";

class Pending implements PendingMessage {
  readonly id = "M1";
  content = "";
  writes = 0;
  committed: readonly Header[] | undefined;
  disposals = 0;
  failAt = Infinity;
  error: Error = new Error("disk");

  write(chunk: Uint8Array): Promise<void> | void {
    this.writes++;
    if (this.content.length + chunk.length > this.failAt) throw this.error;
    this.content += textOf(chunk);
    if (this.writes % 2 === 0) return Promise.resolve();
  }

  commit(headers: readonly Header[]): Promise<void> {
    this.committed = headers;
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.disposals++;
    return this.failAt === 0 ? Promise.reject(this.error) : Promise.resolve();
  }
}

interface Options {
  readonly by?: "DATA" | "BDAT";
  readonly bareLineEndings?: "refuse" | "repair";
  readonly limits?: Partial<MessageLimits>;
}

function incoming(pending: Pending, { by = "DATA", bareLineEndings = "refuse", limits = {} }: Options = {}) {
  return new IncomingMessage(pending, {
    by,
    policy: { bareLineEndings, unwantedField: ({ name }) => name === "return-path" },
    limits: { maxMessageSize: 10_000, maxHops: 100, ...limits },
  });
}

/** Asked again each time, which the compiler would not see of a property. */
function failureOf({ failure }: IncomingMessage) {
  return failure;
}

/** Sends a text, and says what happened to it. */
async function receive(text: string, options: Options = {}, sizes: readonly number[] = []) {
  const pending = new Pending();
  const message = incoming(pending, options);
  let consumed = 0;
  for (const chunk of cut(bytesOf(text), sizes)) {
    consumed += await message.write(chunk);
    if (message.ended) break;
  }
  if (options.by === "BDAT") await message.finish();
  let refusal = "";
  try {
    await message.commit([{ name: "Received", value: "x" }]);
  } catch (error) {
    assert.ok(error instanceof SmtpError);
    refusal = `${error.reply.code} ${error.reply.enhanced}`;
  }
  assert.equal(refusal === "", pending.committed !== undefined);
  return { content: pending.content, consumed, ended: message.ended, refusal, octets: message.octets };
}

Deno.test("IncomingMessage stores what came, without stuffing and unwanted fields", async () => {
  for (const sizes of [[], [1], [2], [3]]) {
    assert.deepEqual(await receive("Return-Path: <x>\r\nA: b\r\n\r\n..c\r\n.\r\nQUIT\r\n", {}, sizes), {
      content: "A: b\r\n\r\n.c\r\n",
      consumed: 34,
      ended: true,
      refusal: "",
      octets: 30,
    });
  }
});

Deno.test("IncomingMessage takes a message that is only a header, or nothing", async () => {
  assert.equal((await receive("A: b\r\n.\r\n")).content, "A: b\r\n");
  assert.equal((await receive(".\r\n")).content, "");
  assert.equal((await receive("A: b", { by: "BDAT" })).content, "A: b");
});

for (const sequence of FALSE_ENDS) {
  Deno.test(`IncomingMessage reads on after ${JSON.stringify(sequence)}, also when it has failed`, async () => {
    const text = `A: b\r\n\r\nhello${sequence}MAIL FROM:<s@client.test>\r\n.\r\n`;
    const lawful = !/\r(?!\n)|(?<!\r)\n/.test(text);
    for (const sizes of [[], [1], [7]]) {
      const result = await receive(text, {}, sizes);
      assert.equal(result.consumed, text.length);
      assert.equal(result.refusal, lawful ? "" : "550 5.5.2");
      const oversize = await receive(text, { limits: { maxMessageSize: 4 } }, sizes);
      assert.equal(oversize.consumed, text.length);
      assert.match(oversize.refusal, lawful ? /^552 5.3.4$/ : /^55[02] 5\.[35]\.[24]$/);
      const counted = await receive(text, { by: "BDAT" }, sizes);
      assert.equal(counted.consumed, text.length);
      assert.equal(counted.refusal, lawful ? "" : "550 5.5.2");
      const repaired = await receive(text, { bareLineEndings: "repair" }, sizes);
      assert.equal(repaired.consumed, text.length);
      assert.equal(repaired.refusal, "");
      assert.doesNotMatch(repaired.content, /\r(?!\n)|(?<!\r)\n/);
    }
  });
}

Deno.test("IncomingMessage refuses what is over the limit, and what just fits not", async () => {
  const options = { limits: { maxMessageSize: 100 } };
  assert.equal((await receive(`${"x".repeat(98)}\r\n.\r\n`, options)).refusal, "");
  assert.equal((await receive(`${"x".repeat(99)}\r\n.\r\n`, options)).refusal, "552 5.3.4");
  // Stuffing does not count.
  assert.equal((await receive(`.${"." + "x".repeat(97)}\r\n.\r\n`, options)).refusal, "");
  assert.equal((await receive("x".repeat(101), { ...options, by: "BDAT" }, [10])).refusal, "552 5.3.4");
});

Deno.test("IncomingMessage stores no more than the limit and one chunk, whatever comes", async () => {
  const pending = new Pending();
  const message = incoming(pending, { limits: { maxMessageSize: 1000 } });
  for (let i = 0; i < 1000; i++) await message.write(bytesOf("y".repeat(100)));
  assert.ok(pending.content.length <= 1000);
  assert.equal(message.octets, 100_000);
});

Deno.test("IncomingMessage refuses more than 10,000 fields, and lines that are none, but no body for its lines", async () => {
  const limits = { maxMessageSize: 1_000_000 };
  const distinct = (count: number) => Array.from({ length: count }, (_, i) => `X${i}: y\r\n`).join("");
  for (const by of ["DATA", "BDAT"] as const) {
    const end = by === "DATA" ? "\r\n.\r\n" : "\r\n";
    for (const text of [distinct(10_001), `A: b\r\n${"x\r\n".repeat(10_001)}`, distinct(20_000)]) {
      const { refusal, ended } = await receive(`${text}\r\nbody${end}`, { by, limits }, [4096]);
      assert.equal(refusal, "552 5.3.4");
      assert.equal(ended, true);
    }
    for (const text of [distinct(10_000), `A: b\r\n${" c\r\n".repeat(20_000)}`]) {
      const body = "x\r\n".repeat(20_000);
      const { refusal } = await receive(`${text}\r\n${body}${end}`, { by, limits }, [4096]);
      assert.equal(refusal, "");
    }
  }
});

Deno.test("IncomingMessage refuses a header section above its bound, and reads the data to its end", async () => {
  const limits = { maxMessageSize: 10_000_000 };
  const field = `X-Long: ${"x".repeat(MAX_HEADER_SECTION - 10)}\r\n`;
  assert.equal(field.length, MAX_HEADER_SECTION);
  for (const text of [`${field}\r\nbody`, `${field}\r\n${"x".repeat(MAX_HEADER_SECTION)}`]) {
    assert.equal((await receive(`${text}\r\n.\r\n`, { limits }, [65_536])).refusal, "");
  }
  for (const text of [`X${field}\r\nbody`, "A: b\r\n".repeat(MAX_HEADER_SECTION / 6 + 1)]) {
    const { refusal, consumed } = await receive(`${text}\r\n.\r\n`, { limits }, [65_536]);
    assert.equal(refusal, "552 5.3.4");
    assert.equal(consumed, text.length + 5);
  }
});

Deno.test("IncomingMessage refuses loops, also where the last field shows it", async () => {
  const options = { limits: { maxHops: 2 } };
  for (const sizes of [[], [1]]) {
    assert.equal((await receive(`${"Received: x\r\n".repeat(2)}\r\n.\r\n`, options, sizes)).refusal, "");
    assert.equal(
      (await receive(`${"Received: x\r\n".repeat(3)}\r\n.\r\n`, options, sizes)).refusal,
      "554 5.4.6",
    );
    assert.equal((await receive(`${"Received: x\r\n".repeat(3)}.\r\n`, options, sizes)).refusal, "554 5.4.6");
  }
});

Deno.test("IncomingMessage remembers the first failure, and writes no more after it", async () => {
  const pending = new Pending();
  pending.failAt = 20;
  pending.error = new SmtpError(reply(452, "4.3.1", "No room"), { cause: new Error("ENOSPC") });
  const message = incoming(pending, { limits: { maxMessageSize: 50 } });
  await message.write(bytesOf("\r\n" + "x".repeat(10)));
  assert.equal(failureOf(message), undefined);
  await message.write(bytesOf("x".repeat(20)));
  assert.equal(failureOf(message)?.reply.code, 452);
  assert.equal((failureOf(message)?.cause as Error).message, "ENOSPC");
  const { writes } = pending;
  await message.write(bytesOf(`${"x".repeat(100)}\n\r\n.\r\n`));
  assert.ok(message.ended);
  assert.equal(pending.writes, writes);
  assert.equal(failureOf(message)?.reply.code, 452);
  await assert.rejects(message.commit([]), SmtpError);
  assert.equal(pending.committed, undefined);
});

Deno.test("IncomingMessage shows the client nothing of an error without a reply", async () => {
  const pending = new Pending();
  pending.failAt = 0;
  pending.error = new Error("/var/mail/alice: secret");
  const message = incoming(pending);
  await message.write(bytesOf("\r\nx\r\n.\r\n"));
  assert.deepEqual(message.failure?.reply, reply(451, "4.3.0", "Local error; try again later"));
  assert.equal(message.failure?.cause, pending.error);
});

Deno.test("IncomingMessage leaves disposing to the delivery", async () => {
  const pending = new Pending();
  {
    await using message = incoming(pending);
    await message.write(bytesOf("x"));
  }
  assert.equal(pending.disposals, 1);
  assert.equal(pending.committed, undefined);
});

Deno.test("IncomingMessage drops what has failed at once, and takes its data to the end", async () => {
  const pending = new Pending();
  {
    await using message = incoming(pending, { limits: { maxMessageSize: 10 } });
    await message.write(bytesOf("A: b\r\n\r\nxx"));
    assert.equal(pending.disposals, 0);
    await message.write(bytesOf("y"));
    assert.equal(pending.disposals, 1);
    assert.equal(await message.write(bytesOf("\r\n.\r\nNOOP")), 5);
    assert.ok(message.ended);
  }
  assert.equal(pending.disposals, 1);
});

Deno.test("IncomingMessage tells who disposes of it that dropping failed, and the client of the failure", async () => {
  const pending = new Pending();
  pending.failAt = 0;
  const message = incoming(pending);
  await message.write(bytesOf("\r\nx"));
  await message.write(bytesOf("\r\n.\r\n"));
  assert.equal(message.failure?.reply.code, 451);
  await assert.rejects(message[Symbol.asyncDispose](), pending.error);
});

Deno.test("IncomingMessage takes 10,000 MIME parts in one pass", async () => {
  const part = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n";
  const text = `A: b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n${
    part.repeat(10_000)
  }--b--\r\n.\r\n`;
  const { content, refusal } = await receive(text, { limits: { maxMessageSize: 1e7 } }, [65_536]);
  assert.equal(refusal, "");
  assert.equal(content, text.slice(0, -3));
});

const texts = fc.array(
  fc.constantFrom(
    "Return-Path: x\r\n",
    "A: b\r\n",
    " c\r\n",
    "\r\n",
    "..\r\n",
    ".",
    "x",
    "\n",
    "\r",
    "Received: d\r\n",
  ),
  { maxLength: 16 },
).map((parts) => parts.join(""));
const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 });

Deno.test("IncomingMessage does the same however its input is cut (property)", async () => {
  await fc.assert(
    fc.asyncProperty(
      texts,
      cuts,
      fc.constantFrom("DATA", "BDAT"),
      fc.constantFrom("refuse", "repair"),
      async (text, sizes, by, bareLineEndings) => {
        const options = { by, bareLineEndings, limits: { maxHops: 3 } } as const;
        const whole = `${text}\r\n.\r\n`;
        const once = await receive(whole, options);
        const cutUp = await receive(whole, options, sizes);
        if (once.refusal === "") assert.deepEqual(cutUp, once);
        // Two faults in one chunk: which one is named depends on the cut.
        else assert.notEqual(cutUp.refusal, "");
        assert.equal(cutUp.consumed, once.consumed);
      },
    ),
    { numRuns: 500 },
  );
});
