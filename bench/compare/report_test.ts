import assert from "node:assert/strict";
import { chart } from "./chart.ts";
import type { Durability } from "./durability.ts";
import type { Work } from "./peer.ts";
import {
  durableRatio,
  FORMAT,
  overallRatio,
  parseReport,
  rateOf,
  type Report,
  type Result,
  type RowReport,
} from "./report.ts";
import { messagesFor, MOST, ROWS } from "./rows.ts";
import { tables } from "./table.ts";

/** A server whose rounds accepted so many a second, and finished half as many. */
function result(server: string, synced: Durability, accepted: readonly number[]): Result {
  const rounds = accepted.map((rate) => ({
    messages: 100,
    accepted: rate,
    done: rate / 2,
    cpu: 1000 / rate,
    memory: 50,
    p50: 7,
    p99: 30,
    deferred: 0,
  }));
  return { server, synced, rounds };
}

function row(work: Work, results: readonly Result[]): RowReport {
  return {
    name: work,
    title: "4 < 5 & more",
    work,
    results,
    missing: [{ server: "Haraka", why: "it stores nothing itself" }],
  };
}

const RESULTS = [
  result("mailapp", "file and directory", [2900, 3100, 3000]),
  result("Postfix", "file", [1000, 900, 1100]),
  result("Exim", "file and directory", [50, 40, 60]),
  { ...result("chasquid", "nothing", [1500, 1400, 1600]), with: "procmail" },
];

const REPORT: Report = {
  format: FORMAT,
  date: "2026-11-30T12:00:00.000Z",
  command: "deno task compare",
  minutes: 31.5,
  machine: { processor: "a processor", cores: 2, kernel: "6.1", deno: "2.9.6", load: 0.02 },
  servers: ["mailapp", "Postfix", "Exim", "chasquid", "Haraka"].map((name) => ({ name, version: "1" })),
  rows: [row("store", RESULTS), row("relay", RESULTS.slice(0, 2))],
};

Deno.test("rateOf() takes the median, of the 250 for what is stored and of the end for what is relayed", () => {
  const [ours] = RESULTS;
  assert.ok(ours);
  assert.equal(rateOf({ work: "store" }, ours), 3000);
  assert.equal(rateOf({ work: "submit" }, ours), 3000);
  assert.equal(rateOf({ work: "relay" }, ours), 1500);
  assert.equal(rateOf({ work: "sign" }, ours), 1500);
});

Deno.test("durableRatio() leaves out who syncs nothing, overallRatio() nobody", () => {
  const [store] = REPORT.rows;
  assert.ok(store);
  assert.deepEqual(durableRatio(store), { to: "Postfix", times: 3 });
  assert.deepEqual(overallRatio(store), { to: "chasquid", times: 2 });
});

Deno.test("durableRatio() is absent without ours, and without another server", () => {
  assert.equal(durableRatio(row("store", RESULTS.slice(1))), undefined);
  assert.equal(overallRatio(row("store", RESULTS.slice(0, 1))), undefined);
});

Deno.test("parseReport() reads what was written, and refuses another format", () => {
  assert.deepEqual(parseReport(JSON.stringify(REPORT)), REPORT);
  assert.throws(
    () => parseReport(JSON.stringify({ ...REPORT, format: FORMAT + 1 })),
    /not a report of format/,
  );
  assert.throws(() => parseReport("[]"), /not a report/);
});

Deno.test("tables() shows rates, ratios, durability and who is missing", () => {
  const text = tables(REPORT);
  for (
    const part of [
      "medians of 3 rounds",
      "| 3,000 | 1,000 | 50 | 1,500 | 3 × Postfix | 2 × chasquid |",
      "Postfix (syncs file)",
      "chasquid with procmail (syncs nothing)",
      "| 4 < 5 & more | 1,500 | 500 | 3 × Postfix |",
      "Not in it: Haraka: it stores nothing itself.",
    ]
  ) assert.ok(text.includes(part), `${part} in ${text}`);
});

Deno.test("chart() draws a bar for each result, in proportion, and escapes text", () => {
  const svg = chart(REPORT);
  const widths = [...svg.matchAll(/<rect x="350" y="\d+" width="([\d.]+)"/g)].map(([, width]) =>
    Number(width)
  );
  assert.equal(widths.length, 6);
  const [ours = 0, postfix = 0] = widths;
  assert.ok(Math.abs(ours / postfix - 3) < 0.01);
  assert.ok(svg.includes("4 &#60; 5 &#38; more"));
  assert.ok(!svg.includes("4 < 5"));
  assert.equal([...svg.matchAll(/<text /g)].length, [...svg.matchAll(/<\/text>/g)].length);
});

Deno.test("messagesFor() sends what takes so long, at least one a session and at most what the row allows", () => {
  const [one] = ROWS;
  assert.ok(one);
  assert.equal(messagesFor({ ...one, sessions: 20 }, { rate: 100, seconds: 5 }), 500);
  assert.equal(messagesFor({ ...one, sessions: 100 }, { rate: 7, seconds: 5 }), 100);
  assert.equal(messagesFor({ ...one, sessions: 100, perConnection: 50 }, { rate: 7, seconds: 5 }), 500);
  assert.equal(messagesFor(one, { rate: 1e6, seconds: 5 }), MOST);
  assert.equal(messagesFor({ ...one, most: 20 }, { rate: 1e6, seconds: 5 }), 20);
});

Deno.test("ROWS have names of their own, and titles for which the drawing has room", () => {
  assert.equal(new Set(ROWS.map(({ name }) => name)).size, ROWS.length);
  for (const { title } of ROWS) assert.ok(title.length <= 36, title);
});
