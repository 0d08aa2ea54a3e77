/**
 * What a comparison found, as `--json` writes it. The shape is described in bench/compare/README.md; its `format`
 * changes when a reader of the old one would go wrong.
 *
 * @module
 */
import { median } from "../statistics.ts";
import type { Durability } from "./durability.ts";
import type { Work } from "./peer.ts";

/** The version of the shape. */
export const FORMAT = 1;

/** A whole run. */
export interface Report {
  readonly format: typeof FORMAT;
  /** When it began, in ISO 8601. */
  readonly date: string;
  /** What was typed. */
  readonly command: string;
  /** How long it took. */
  readonly minutes: number;
  readonly machine: {
    readonly processor: string;
    readonly cores: number;
    readonly kernel: string;
    readonly deno: string;
    /** The load average of a minute, before the run: what else the machine did. */
    readonly load: number;
  };
  readonly servers: readonly { readonly name: string; readonly version: string }[];
  readonly rows: readonly RowReport[];
}

/** One kind of load. */
export interface RowReport {
  readonly name: string;
  readonly title: string;
  readonly work: Work;
  readonly results: readonly Result[];
  /** The servers that do not take part, and why. */
  readonly missing: readonly { readonly server: string; readonly why: string }[];
}

/** One server at one kind of load. */
export interface Result {
  readonly server: string;
  /** The programs that do a part of its work. */
  readonly with?: string;
  /** What it syncs before its 250. */
  readonly synced: Durability;
  /** In the order of the rounds. */
  readonly rounds: readonly Round[];
}

/** One measurement. */
export interface Round {
  readonly messages: number;
  /** Messages a second to the last 250. */
  readonly accepted: number;
  /** Messages a second to the last one in the Maildir, or at its destination. */
  readonly done: number;
  /** Processor milliseconds a message, of all processes of the server and of its helpers. */
  readonly cpu: number;
  /** The most memory seen, MiB. */
  readonly memory: number;
  /** Milliseconds to the 250. */
  readonly p50: number;
  /** The same. */
  readonly p99: number;
  /** How often a message was refused for now and sent again, or a connection without a greeting given up. */
  readonly deferred: number;
}

/** What is compared: to the 250 for what is stored, as its reader need not wait; to its end for what is sent on. */
export function rateOf(row: Pick<RowReport, "work">, { rounds }: Pick<Result, "rounds">): number {
  const relays = row.work === "relay" || row.work === "sign";
  return median(rounds.map(({ accepted, done }) => relays ? done : accepted));
}

/** How ours compares. */
export interface Ratio {
  /** The fastest other server. */
  readonly to: string;
  /** How many times as fast ours is. */
  readonly times: number;
}

/** The server whose ratios are shown. */
export const OURS = "mailapp";

/** Ours to the fastest that syncs the file at least before its 250, as ours does; `undefined` without such. */
export function durableRatio(row: RowReport): Ratio | undefined {
  return ratioTo(row, ({ synced }) => synced !== "nothing");
}

/** Ours to the fastest of all. */
export function overallRatio(row: RowReport): Ratio | undefined {
  return ratioTo(row, () => true);
}

function ratioTo(row: RowReport, counts: (result: Result) => boolean): Ratio | undefined {
  const ours = row.results.find(({ server }) => server === OURS);
  const others = row.results.filter((result) => result.server !== OURS && counts(result));
  const [fastest] = others.toSorted((a, b) => rateOf(row, b) - rateOf(row, a));
  if (ours === undefined || fastest === undefined) return undefined;
  return { to: fastest.server, times: rateOf(row, ours) / rateOf(row, fastest) };
}

/** Reads what `--json` wrote. @throws {Error} when it is of another format, or no report */
export function parseReport(text: string): Report {
  const report = JSON.parse(text);
  if (report?.format !== FORMAT || !Array.isArray(report.rows)) {
    throw new Error(`not a report of format ${FORMAT}`);
  }
  return report;
}
