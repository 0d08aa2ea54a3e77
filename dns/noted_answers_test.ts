import assert from "node:assert/strict";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { LoggedResolver, NotedAnswers, notingResolver, readAnswer } from "./noted_answers.ts";
import type { Answer } from "./resolver.ts";
import type { Query } from "./wire_answer.ts";

const WIDE = { now: 100_000, limit: 1_000_000 };

const found = (records: readonly unknown[], at?: number): Answer<unknown> => ({
  kind: "found",
  records,
  authenticated: false,
  ...(at !== undefined && { at }),
});

const ANSWERS: readonly (readonly [Query, Answer<unknown>, string])[] = [
  [
    { type: "MX", name: "example.net" },
    found([{ preference: 10, exchange: "mx.example.net" }, { preference: 20, exchange: "." }], 88_400),
    "MX example.net 12s 10 mx.example.net, 20 .",
  ],
  [
    { type: "A", name: "mx.example.net" },
    found(["192.0.2.1", "192.0.2.2"], 100_000),
    "A mx.example.net 0s 192.0.2.1, 192.0.2.2",
  ],
  [
    { type: "AAAA", name: "mx.example.net" },
    { kind: "none", authenticated: false },
    "AAAA mx.example.net - none",
  ],
  [
    { type: "PTR", name: "2001:db8::1" },
    { kind: "no-such-name", authenticated: false },
    "PTR 2001:db8::1 - no such name",
  ],
  [
    { type: "MX", name: "down.example" },
    { kind: "failed", reason: "SERVFAIL from 192.0.2.53", at: 99_000 },
    "MX down.example 1s failed: SERVFAIL from 192.0.2.53",
  ],
  [
    { type: "TXT", name: "a.example" },
    found(['say "so"', "and\nso\u202e"]),
    'TXT a.example - "say \\"so\\"" "and\\nso\u202e"',
  ],
  [
    { type: "TLSA", name: "_25._tcp.mx.example.net" },
    found([{ usage: 3, selector: 1, matchingType: 1, data: new Uint8Array([1, 255]) }]),
    "TLSA _25._tcp.mx.example.net - 3 1 1 01ff",
  ],
  [
    { type: "TXT", name: 'a b".example' },
    { kind: "none", authenticated: false },
    'TXT "a b\\".example" - none',
  ],
];

Deno.test("NotedAnswers writes answers with their age, and readAnswer() reads them back", () => {
  for (const [query, answer, line] of ANSWERS) {
    const noted = new NotedAnswers();
    noted.note(query, answer);
    assert.deepEqual(noted.lines(WIDE), [line]);
    const read = readAnswer(line);
    const { at: _, ...rest } = answer;
    assert.deepEqual([read?.query, read?.answer], [query, rest]);
  }
  assert.equal(readAnswer("MX example.net 12s 10 mx.example.net")?.age, 12);
});

Deno.test("NotedAnswers keeps what a hostile zone answers in bounds, and says what was cut", () => {
  const noted = new NotedAnswers();
  for (let n = 0; n < 10_000; n++) {
    noted.note({ type: "TXT", name: `${n}.${"x".repeat(200)}.test` }, found(["y".repeat(60_000)]));
  }
  noted.note({ type: "TXT", name: "k._domainkey.bank.test" }, found(["p=abc"]));
  noted.note({ type: "TXT", name: "_dmarc.bank.test" }, found(["v=DMARC1; p=reject", "v=other"]));
  const lines = noted.lines({ now: 0, limit: 2_000 });
  assert.equal(lines[0], 'TXT _dmarc.bank.test - "v=DMARC1; p=reject" "v=other"');
  assert.ok(lines.join("").length < 2_100, `${lines.join("").length}`);
  assert.match(lines.at(-1) ?? "", /^… \d+ more$/);
  assert.ok(lines.some((line) => line.endsWith("…")));
  for (const line of lines) {
    if (line.includes("…")) assert.equal(readAnswer(line), undefined, line);
  }
});

Deno.test("readAnswer() reads a text without its end in linear time, and takes none of it", () => {
  // What took time with the square of this would take minutes.
  const line = `TXT a.test 5s "a" ${String.raw`\"`.repeat(200_000)}`;
  assert.equal(readAnswer(line), undefined);
  assert.equal(readAnswer('TXT a.test 5s "a" "b'), undefined);
});

Deno.test("NotedAnswers counts the texts that no policy is in, and takes the better answer to a question asked twice", () => {
  const noted = new NotedAnswers();
  noted.note({ type: "TXT", name: "a.test" }, found(["site-verification=1", "v=spf1 -all", "other"]));
  noted.note({ type: "A", name: "mx.test" }, { kind: "failed", reason: "not found at once" });
  noted.note({ type: "A", name: "mx.test" }, found(["192.0.2.1"]));
  noted.note({ type: "A", name: "mx.test" }, { kind: "failed", reason: "given up" });
  const lines = noted.lines(WIDE);
  assert.deepEqual(lines, ['TXT a.test - "v=spf1 -all" +2', "A mx.test - 192.0.2.1"]);
  assert.deepEqual(readAnswer(lines[0] ?? "")?.answer, found(["v=spf1 -all"]));
});

Deno.test("LoggedResolver answers as notingResolver() has heard, and nothing else", async () => {
  const noted = new NotedAnswers();
  const asked = notingResolver(
    new StaticResolver({ "there.test": { mx: [{ preference: 5, exchange: "mx.there.test" }] } }),
    noted,
  );
  const answer = await asked.mx("there.test");
  const logged = new LoggedResolver(noted.lines(WIDE).flatMap((line) => readAnswer(line) ?? []));
  assert.equal(answer.kind, "found");
  assert.deepEqual(await logged.mx("There.test."), answer);
  assert.deepEqual(await logged.a("there.test"), { kind: "failed", reason: "not in the log" });
});
