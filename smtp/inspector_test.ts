// What the protocol hands to an inspector, and what happens to a message by its verdict.
import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { silentLogger } from "../base/log.ts";
import { MemoryBudget } from "../base/memory_budget.ts";
import type { HeaderSection } from "../message/header_section.ts";
import { bytesOf, cut, textOf } from "../tests/support/bytes.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { MemoryTransport } from "../tests/support/memory_transport.ts";
import { RecordingDelivery } from "../tests/support/recording_delivery.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { InspectedData } from "./inspected_data.ts";
import type { Inspection, Inspector, Verdict } from "./inspector.ts";
import { reply, SmtpError } from "./reply.ts";
import { SmtpServer } from "./server.ts";

/** Notes what it is shown. */
class RecordingInspection implements Inspection {
  readonly reserve = 100;
  section: HeaderSection | undefined;
  content = "";
  disposals = 0;
  verdicts = 0;

  constructor(readonly say: Partial<Verdict> & { readonly fails?: "header" | "body" | "verdict" } = {}) {}

  header(section: HeaderSection): void {
    assert.equal(this.section, undefined);
    if (this.say.fails === "header") throw new Error("header: secret detail");
    this.section = section;
  }

  body(chunk: Uint8Array): Promise<void> | void {
    assert.ok(this.section, "the body came before the header section");
    if (this.say.fails === "body") throw new Error("body: secret detail");
    const text = textOf(chunk);
    if (text.length % 2 === 0) return Promise.resolve().then(() => void (this.content += text));
    this.content += text;
  }

  verdict(): Promise<Verdict> {
    assert.ok(this.section);
    this.verdicts++;
    if (this.say.fails === "verdict") return Promise.reject(new Error("verdict: secret detail"));
    return Promise.resolve({ fields: [], log: {}, ...this.say });
  }

  [Symbol.dispose](): void {
    this.disposals++;
  }
}

interface Told {
  readonly replies: string;
  readonly delivery: RecordingDelivery;
  readonly log: RecordingLog;
}

/** A dialogue in which one message is sent, or several. */
async function send(
  inspector: Inspector | (() => Inspection),
  { text, by = "DATA" }: { readonly text: string; readonly by?: "DATA" | "BDAT" },
): Promise<Told> {
  const clock = new FakeClock();
  const log = new RecordingLog();
  const transport = new MemoryTransport({ clock });
  const delivery = new RecordingDelivery();
  const server = new SmtpServer({
    hostname: "mx.here.example",
    delivery,
    policy: { unwantedField: ({ name }) => name === "return-path" },
    inspector: typeof inspector === "function" ? { begin: inspector } : inspector,
    logger: log,
    clock,
  });
  const done = server.handle(transport);
  const data = by === "DATA" ? `DATA\r\n${text}.\r\n` : `BDAT ${text.length} LAST\r\n${text}`;
  transport.send(bytesOf(
    `EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@here.example>\r\n${data}QUIT\r\n`,
  ));
  await done;
  assert.equal(delivery.open, 0);
  return { replies: textOf(transport.take()), delivery, log };
}

const TEXT = "Return-Path: <x@y>\r\nSubject: a\r\n\tb\r\n\r\nHello\r\n..dot\r\n";

Deno.test("an inspector sees the envelope, the header section as it came, and the body without its dots", async () => {
  for (const by of ["DATA", "BDAT"] as const) {
    const inspection = new RecordingInspection();
    const envelopes: unknown[] = [];
    const { replies, delivery } = await send({
      begin: ({ reversePath, recipients }, { hello, remote }) => {
        envelopes.push([reversePath?.text, recipients.length, hello?.domain, remote.address]);
        return inspection;
      },
    }, { text: TEXT, by });
    assert.match(replies, /250 2\.0\.0 M1 accepted/);
    assert.deepEqual(envelopes, [["a@c.test", 1, "c.test", "192.0.2.9"]]);
    assert.deepEqual(inspection.section?.fields, [
      { name: "return-path", text: "Return-Path: <x@y>" },
      { name: "subject", text: "Subject: a\r\n\tb" },
    ]);
    assert.equal(inspection.content, by === "DATA" ? "Hello\r\n.dot\r\n" : "Hello\r\n..dot\r\n");
    assert.deepEqual([inspection.verdicts, inspection.disposals], [1, 1]);
    // What is taken out for the delivery the inspector has seen all the same.
    assert.doesNotMatch(delivery.stored[0]?.content ?? "", /Return-Path/);
  }
});

Deno.test("a verdict puts fields above Received, files as junk, and stands in the log", async () => {
  const fields = [{ name: "Authentication-Results", value: "mx.here.example;\r\n\tspf=pass" }];
  const { replies, delivery, log } = await send(
    () => new RecordingInspection({ fields, junk: true, log: { dmarc: "fail" } }),
    { text: TEXT },
  );
  assert.match(replies, /250 2\.0\.0/);
  const [stored] = delivery.stored;
  assert.deepEqual(stored?.headers.map(({ name }) => name), ["Authentication-Results", "Received"]);
  assert.equal(stored.junk, true);
  assert.equal(log.named("message.accepted")[0]?.fields["dmarc"], "fail");
});

Deno.test("a verdict refuses a message, which is nowhere then", async () => {
  const inspection = new RecordingInspection({ refuse: reply(550, "5.7.1", "No"), log: { dmarc: "fail" } });
  const { replies, delivery, log } = await send(() => inspection, { text: TEXT });
  assert.match(replies, /\r\n550 5\.7\.1 No\r\n221 /);
  assert.deepEqual(delivery.stored, []);
  const [event] = log.named("message.refused");
  assert.equal(event?.level, "info");
  assert.equal(event.fields["dmarc"], "fail");
  assert.equal(inspection.disposals, 1);
});

Deno.test("a verdict changes the header section, of which what the delivery does not want stays out", async () => {
  const cases: readonly (readonly [text: string, stored: string])[] = [
    [TEXT, "Subject: [junk] a\r\n\r\nHello\r\n.dot\r\n"],
    ["X: y\r\nSubject: b\r\nReturn-Path: z\r\n\r\nx\r\n", "X: y\r\nSubject: [junk] a\r\n\r\nx\r\n"],
    ["X: y\r\n\r\nx\r\n", "X: y\r\nSubject: [junk] a\r\n\r\nx\r\n"],
    ["X: y\r\n", "X: y\r\nSubject: [junk] a\r\n"],
    ["\r\nx\r\n", "Subject: [junk] a\r\n\r\nx\r\n"],
    // What begins with no field is a body.
    ["Hello\r\nSubject: b\r\n\r\n", "Subject: [junk] a\r\n\r\nHello\r\nSubject: b\r\n\r\n"],
    ["From x\r\nSubject: b\r\n\r\nx\r\n", "Subject: [junk] a\r\n\r\nx\r\n"],
    [`Return-Path: ${"r".repeat(5000)}\r\nSubject: b\r\n\r\nx\r\n`, "Subject: [junk] a\r\n\r\nx\r\n"],
  ];
  for (const [text, stored] of cases) {
    const edits = [{ name: "Subject", index: 1, value: " [junk] a" }];
    const { delivery } = await send(() => new RecordingInspection({ edits }), { text });
    assert.equal(delivery.stored[0]?.content, stored, text.slice(0, 40));
  }
  const edits = [{ name: "subject", index: "all" as const }];
  const gone = await send(() => new RecordingInspection({ edits }), { text: "Subject: x\r\n\r\nx\r\n" });
  assert.equal(gone.delivery.stored[0]?.content, "\r\nx\r\n");
});

Deno.test("an inspector refuses a message before its data", async () => {
  const refused = await send({
    begin: () => Promise.reject(new SmtpError(reply(451, "4.7.1", "Come again"))),
  }, { text: "", by: "BDAT" });
  assert.match(refused.replies, /451 4\.7\.1 Come again\r\n221 /);
  assert.equal(refused.delivery.begun, 0);
});

Deno.test("an inspector that fails puts the message off, and tells the client nothing of it", async () => {
  for (const fails of ["header", "body", "verdict"] as const) {
    const inspection = new RecordingInspection({ fails });
    const { replies, delivery, log } = await send(() => inspection, { text: TEXT });
    assert.match(replies, /\r\n451 4\.3\.0 Local error; try again later\r\n221 /);
    assert.deepEqual(delivery.stored, []);
    assert.equal(inspection.disposals, 1);
    assert.match(String(log.named("message.refused")[0]?.fields["error"]), /secret detail/);
  }
});

Deno.test("an inspection ends with a message that comes to nothing", async () => {
  const bare = new RecordingInspection();
  await send(() => bare, { text: "Subject: x\r\n\r\na\nb\r\n" });
  assert.deepEqual([bare.disposals, bare.verdicts], [1, 0]);
  const noBegin = new RecordingInspection();
  const clock = new FakeClock();
  const transport = new MemoryTransport({ clock });
  const server = new SmtpServer({
    hostname: "mx.here.example",
    delivery: new RecordingDelivery(),
    inspector: { begin: () => noBegin },
    logger: silentLogger,
    clock,
  });
  const done = server.handle(transport);
  transport.send(
    bytesOf("EHLO c\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<no-begin@here.example>\r\nDATA\r\nQUIT\r\n"),
  );
  await done;
  assert.deepEqual([noBegin.disposals, noBegin.verdicts], [1, 0]);
});

/** Shows a whole message, cut into pieces of these sizes. */
async function show(text: string, sizes: readonly number[], budget = new MemoryBudget(1e9)) {
  const inspection = new RecordingInspection();
  using data = new InspectedData(inspection, budget);
  for (const piece of cut(bytesOf(text), sizes)) await data.push(piece);
  if (data.refusal === undefined) await data.verdict();
  return { fields: inspection.section?.fields.map(({ text }) => text), body: inspection.content, data };
}

Deno.test("InspectedData parts header section and body, wherever the data is cut", async () => {
  const cases: readonly (readonly [text: string, fields: readonly string[], body: string])[] = [
    ["", [], ""],
    ["A: b", ["A: b"], ""],
    ["A: b\r\n", ["A: b"], ""],
    ["A: b\r\n\r\n", ["A: b"], ""],
    ["A: b\r\n\r\nbody", ["A: b"], "body"],
    ["\r\nbody\r\n", [], "body\r\n"],
    ["A: b\r\n c\r\n\td\r\nE: f\r\n\r\n\r\nG: h", ["A: b\r\n c\r\n\td", "E: f"], "\r\nG: h"],
    ["no field\r\nA: b\r\n\r\nx", ["no field", "A: b"], "x"],
  ];
  await fc.assert(fc.asyncProperty(
    fc.constantFrom(...cases),
    fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 9 }),
    async ([text, fields, body], sizes) => {
      const seen = await show(text, sizes);
      assert.deepEqual(seen.fields, fields);
      assert.equal(seen.body, body);
    },
  ));
});

Deno.test("InspectedData bounds the fields of a header section, and the memory of all of them", async () => {
  // Small fields take more time and memory than they have octets.
  const distinct = (count: number) => Array.from({ length: count }, (_, i) => `X${i}: y\r\n`).join("");
  for (const text of ["a:\r\n".repeat(10_001), "x\r\n".repeat(10_001), distinct(10_001)]) {
    const { data } = await show(`${text}\r\nbody`, [4096]);
    assert.equal(data.refusal?.code, 552);
    assert.match(data.refusal.lines.join(), /more than 10000 fields/);
  }
  for (const text of ["a:\r\n".repeat(10_000), distinct(10_000), `a: b\r\n${" c\r\n".repeat(20_000)}`]) {
    assert.equal((await show(`${text}\r\nbody`, [4096])).data.refusal, undefined);
  }
  assert.equal((await show(`a: ${"x".repeat(2_000_000)}\r\n`, [65_536])).data.refusal, undefined);
  const budget = new MemoryBudget(100_000);
  assert.equal((await show(`a: ${"x".repeat(200_000)}\r\n`, [65_536], budget)).data.refusal?.code, 451);
  // What was refused has given its memory back.
  assert.equal(budget.held, 0);
  assert.equal((await show(`a: ${"x".repeat(50_000)}\r\n`, [65_536], budget)).data.refusal, undefined);
  assert.equal(budget.held, 0);
});
