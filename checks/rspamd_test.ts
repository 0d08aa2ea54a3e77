import assert from "node:assert/strict";
import { systemClock } from "../base/clock.ts";
import { HeaderSection } from "../message/header_section.ts";
import { bytesOf, textOf } from "../tests/support/bytes.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import type { FilteredMessage, FilterOpinion } from "./filter.ts";
import { readAnswer, RspamdFilter } from "./rspamd.ts";

const MESSAGE: FilteredMessage = {
  hostname: "mx.example.com",
  id: "s1.1",
  client: { address: "192.0.2.1", port: 4321 },
  clientName: "mail.client.test",
  helo: "hélo",
  from: "a@client.test",
  to: ["alice@example.com", "bob@example.com"],
};
const SECTION = HeaderSection.of("Subject: x\r\n\ty\r\nX-\xe9: \xff\r\n");
const ANSWER = { action: "no action", score: 0, required_score: 15 };

interface Served extends AsyncDisposable {
  readonly port: number;
  readonly seen: { path: string; headers: Record<string, string>; body: string }[];
}

function serve(answer: (request: Request) => Response | Promise<Response>, { reads = true } = {}): Served {
  const seen: Served["seen"] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const body = reads ? textOf(new Uint8Array(await request.arrayBuffer())) : "";
    seen.push({ path: new URL(request.url).pathname, headers: Object.fromEntries(request.headers), body });
    return await answer(request);
  });
  return { port: server.addr.port, seen, [Symbol.asyncDispose]: () => server.shutdown() };
}

async function ask(
  port: number,
  { chunks = ["Hello", "\r\n"], clock = systemClock }: {
    chunks?: string[];
    clock?: FakeClock | typeof systemClock;
  } = {},
): Promise<FilterOpinion> {
  const filter = new RspamdFilter({ host: "127.0.0.1", port, clock, timeoutMs: 5000 });
  assert.equal(filter.name, `rspamd 127.0.0.1:${port}`);
  using session = await filter.open(MESSAGE);
  await session.header(SECTION);
  for (const chunk of chunks) {
    const bytes = bytesOf(chunk);
    await session.body(bytes);
    // The memory is used again.
    bytes.fill(0);
  }
  return await session.finish();
}

Deno.test("RspamdFilter shows a message as it came, with what is known of the envelope", async () => {
  await using server = serve(() => Response.json(ANSWER));
  const opinion = await ask(server.port);
  assert.deepEqual(opinion, {
    action: "accept",
    fields: [{ name: "X-Spam-Status", value: "No, score=0 required=15" }],
    edits: [],
    about: "no action 0/15",
  });
  const [{ path, headers, body } = { path: "", headers: {} as Record<string, string>, body: "" }] =
    server.seen;
  assert.equal(path, "/checkv2");
  assert.equal(body, "Subject: x\r\n\ty\r\nX-\xe9: \xff\r\n\r\nHello\r\n");
  assert.deepEqual(
    ["ip", "hostname", "from", "rcpt", "mta-name", "queue-id", "helo"].map((name) => headers[name]),
    [
      "192.0.2.1",
      "mail.client.test",
      "a@client.test",
      "alice@example.com, bob@example.com",
      "mx.example.com",
      "s1.1",
      undefined,
    ],
  );
});

Deno.test("RspamdFilter streams a large message", async () => {
  await using server = serve(() => Response.json(ANSWER));
  const chunks = Array.from({ length: 40 }, (_, i) => String.fromCharCode(97 + i % 26).repeat(65_536));
  await ask(server.port, { chunks });
  assert.equal(
    server.seen[0]?.body.length,
    40 * 65_536 + SECTION.fields.reduce((sum, { text }) => sum + text.length + 2, 2),
  );
});

Deno.test("readAnswer() knows every action of Rspamd", () => {
  const read = (answer: object) => readAnswer(JSON.stringify({ ...ANSWER, ...answer }));
  const replyOf = ({ reply }: FilterOpinion) => `${reply?.code} ${reply?.enhanced} ${reply?.lines[0]}`;
  const rejected = read({ action: "reject", score: 20.123, messages: { smtp_message: "Gtube\r\npattern" } });
  assert.deepEqual([rejected.action, rejected.about], ["refuse", "reject 20.12/15"]);
  assert.equal(replyOf(rejected), "554 5.7.1 Gtube pattern");
  assert.equal(replyOf(read({ action: "reject" })), "554 5.7.1 The message looks like junk");
  for (const action of ["soft reject", "greylist"]) {
    const putOff = read({ action, messages: { smtp_message: "Try later" } });
    assert.deepEqual([putOff.action, replyOf(putOff)], ["defer", "451 4.7.1 Try later"]);
  }
  const marked = read({
    action: "add header",
    score: 7.9,
    symbols: { LOW: { score: 0.1 }, NONE: { score: 0 }, "BAD;": { score: 9 }, HIGH: { score: -5 } },
    milter: {
      add_headers: {
        "X-Spam": { value: "Yes", order: 0 },
        "X-One": "1\n 2",
        "X-Two": ["a", { value: "b" }],
        "bad name": "x",
        "X-Number": 1,
      },
      remove_headers: { "X-Old": 0, "X-Second": 2, "X-Last": -1, "X-Odd": "x" },
    },
  });
  assert.equal(marked.action, "junk");
  assert.deepEqual(marked.fields, [
    { name: "X-Spam-Status", value: "Yes, score=7.9 required=15\r\n\ttests=HIGH,\r\n\tLOW" },
    { name: "X-Spam", value: "Yes" },
    { name: "X-One", value: "1\r\n 2" },
    { name: "X-Two", value: "a" },
    { name: "X-Two", value: "b" },
  ]);
  assert.deepEqual(marked.edits, [{ name: "X-Old", index: "all" }, { name: "X-Second", index: 2 }]);
  const rewritten = read({ action: "rewrite subject", subject: "*** SPAM *** ü" });
  assert.equal(rewritten.action, "junk");
  assert.deepEqual(rewritten.edits, [{ name: "Subject", index: 1, value: " *** SPAM *** \xc3\xbc" }]);
  for (const action of ["rewrite subject", "quarantine", "discard"]) {
    const { action: said, fields } = read({ action });
    assert.equal(said, "junk");
    assert.match(fields[0]?.value ?? "", /^Yes, /);
  }
});

Deno.test("readAnswer() refuses nonsense", () => {
  for (
    const text of [
      "",
      "<html>",
      "[]",
      "null",
      "{}",
      '{"action":1}',
      '{"action":"explode"}',
      '{"action":"no action"',
    ]
  ) assert.throws(() => readAnswer(text), text);
  // What else is odd is passed over.
  const odd = readAnswer('{"action":"no action","score":"x","symbols":[],"milter":3,"messages":null}');
  assert.equal(odd.about, "no action 0/0");
});

Deno.test("RspamdFilter fails with one that is down, wrong, slow or endless", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  await assert.rejects(ask(port, { chunks: ["x".repeat(100_000), "y".repeat(100_000)] }));
  const answers: readonly (readonly [() => Response, RegExp])[] = [
    [() => new Response("no", { status: 500 }), /answers 500/],
    [() => new Response("not JSON"), /JSON/],
    [() => Response.redirect("http://127.0.0.1:1/"), /redirect/i],
    [() => new Response("x".repeat(2_000_000)), /more than 262144 octets/],
  ];
  for (const [answer, error] of answers) {
    await using server = serve(answer);
    await assert.rejects(ask(server.port), error);
  }
  await using early = serve(() => Response.json(ANSWER), { reads: false });
  await assert.rejects(ask(early.port, { chunks: Array(200).fill("x".repeat(65_536)) }));
});

Deno.test("RspamdFilter waits for no answer longer than it should", async () => {
  const clock = new FakeClock();
  const asked = Promise.withResolvers<void>();
  const over = Promise.withResolvers<Response>();
  await using server = serve(() => {
    asked.resolve();
    return over.promise;
  });
  const failed = assert.rejects(ask(server.port, { clock }), /no answer in time/);
  await asked.promise;
  await clock.advance(5001);
  await failed;
  over.resolve(new Response());
});
