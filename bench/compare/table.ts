/**
 * The tables of a comparison, in Markdown.
 *
 * @module
 */
import { figure, markdownTable, median } from "../statistics.ts";
import { type Work, WORKS } from "./peer.ts";
import {
  durableRatio,
  overallRatio,
  rateOf,
  type Ratio,
  type Report,
  type Result,
  type Round,
  type RowReport,
} from "./report.ts";

/** What is compared at each kind of work. */
export const WORK_TITLES: Readonly<Record<Work, string>> = {
  store: "Accepted and stored",
  relay: "Relayed",
  sign: "Signed and relayed",
  check: "Checked and stored",
  submit: "Submitted over TLS, with a login",
};

/** All of them, with what must be known to read them. */
export function tables(report: Report): string {
  const { machine } = report;
  const rounds = roundsOf(report);
  const versions = report.servers.map(({ name, version }) => `${name} ${version}`).join(", ");
  return [
    `${report.date.slice(0, 10)}, ${report.minutes} minutes, \`${report.command}\`; ${versions}; ` +
    `${machine.cores} × ${machine.processor}, load ${
      figure(machine.load)
    } before; medians of ${rounds} rounds.`,
    ...WORKS.flatMap((work) => workTables(report, work)),
  ].join("\n\n");
}

function roundsOf({ rows }: Report): number {
  return Math.max(0, ...rows.flatMap(({ results }) => results.map(({ rounds }) => rounds.length)));
}

function workTables(report: Report, work: Work): string[] {
  const rows = report.rows.filter((row) => row.work === work);
  const servers = report.servers.map(({ name }) => name).filter((name) => resultOf(rows, name) !== undefined);
  if (rows.length === 0 || servers.length === 0) return [];
  const heads = servers.map((name) => headOf(resultOf(rows, name), name));
  const rates = [
    [
      `${WORK_TITLES[work]}, messages a second`,
      ...heads,
      "to the fastest that syncs",
      "to the fastest of all",
    ],
    ...rows.map((row) => [
      row.title,
      ...servers.map((name) => {
        const result = resultOf([row], name);
        return figure(result && rateOf(row, result));
      }),
      ratioCell(durableRatio(row)),
      ratioCell(overallRatio(row)),
    ]),
  ];
  const costs = [
    ["Processor time of the server, ms a message", ...servers],
    ...rows.map((
      row,
    ) => [row.title, ...servers.map((name) => middle([row], { name, of: ({ cpu }) => cpu }))]),
  ];
  const latencies = [
    ["To the 250, ms: half, and 99 of 100, within", ...servers],
    ...rows.map((row) => [
      row.title,
      ...servers.map((name) =>
        [({ p50 }: Round) => p50, ({ p99 }: Round) => p99].map((of) => middle([row], { name, of })).join(", ")
      ),
    ]),
  ];
  return [
    ...[rates, costs, latencies].map((cells) => markdownTable(cells).trimEnd()),
    ...missingLines(rows),
  ];
}

function headOf(result: Result | undefined, name: string): string {
  const helpers = result?.with === undefined ? "" : ` with ${result.with}`;
  return `${name}${helpers} (syncs ${result?.synced ?? "nothing"})`;
}

/** Why servers are missing; a failure of one row is told with it. */
function missingLines(rows: readonly RowReport[]): string[] {
  const lines = new Map<string, string[]>();
  for (const { title, missing } of rows) {
    for (const { server, why } of missing) {
      const line = `${server}: ${why}`;
      lines.set(line, [...lines.get(line) ?? [], title]);
    }
  }
  const said = [...lines].map(([line, titles]) =>
    titles.length === rows.length ? `${line}.` : `${line} (${titles.join("; ")}).`
  );
  return said.length === 0 ? [] : [`Not in it: ${said.join(" ")}`];
}

function resultOf(rows: readonly RowReport[], name: string): Result | undefined {
  return rows.flatMap(({ results }) => results).find(({ server, rounds }) =>
    server === name && rounds.length > 0
  );
}

function ratioCell(ratio: Ratio | undefined): string {
  return ratio === undefined ? "–" : `${figure(ratio.times)} × ${ratio.to}`;
}

function middle(
  rows: readonly RowReport[],
  { name, of }: { readonly name: string; readonly of: (round: Round) => number },
): string {
  return figure(median(resultOf(rows, name)?.rounds.map(of) ?? []));
}
