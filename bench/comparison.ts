/**
 * The columns of tables that compare servers, from the rounds that each was measured in.
 *
 * @module
 */
import type { ServerName } from "./servers.ts";
import { figure, median, percentile } from "./statistics.ts";

/** One round of one server, as far as the columns need it. */
export interface Round {
  /** Processor milliseconds of the server a message. */
  readonly cpu: number;
  /** The most memory seen, bytes. */
  readonly memory?: number;
  /** Milliseconds, ascending. */
  readonly latencies: readonly number[];
}

/** One column of each server. */
export interface Column {
  readonly title: string;
  readonly of: (rounds: readonly Round[]) => number;
}

/** Processor time. */
export const CPU: Column = {
  title: "CPU ms a message",
  of: (rounds) => median(rounds.map(({ cpu }) => cpu)),
};
/** The most memory of all rounds. */
export const MEMORY: Column = {
  title: "memory MiB",
  of: (rounds) => Math.max(...rounds.map(({ memory = NaN }) => memory)) / 1024 / 1024,
};
/** Half of the messages took no longer. */
export const P50: Column = latency(50);
/** Of 100 messages 99 took no longer. */
export const P99: Column = latency(99);

function latency(percent: number): Column {
  return {
    title: `p${percent} ms`,
    of: (rounds) => median(rounds.map(({ latencies }) => percentile(latencies, percent))),
  };
}

/** The head of the columns of all servers. */
export function columnTitles(servers: readonly string[], columns: readonly Column[]): string[] {
  return servers.flatMap((name) => columns.map(({ title }) => `${name}: ${title}`));
}

/** The cells below it. */
export function columnCells<Name extends string>(
  measured: ReadonlyMap<Name, readonly Round[]>,
  { servers, columns }: { readonly servers: readonly Name[]; readonly columns: readonly Column[] },
): string[] {
  return servers.flatMap((name) => columns.map(({ of }) => figure(of(measured.get(name) ?? []))));
}

/** The rates, messages a second, of mailapp and Postfix, and how many times Postfix's mailapp's is. */
export function rateCells(measured: ReadonlyMap<ServerName, readonly { readonly rate: number }[]>): string[] {
  const [ours = NaN, theirs = NaN] = (["mailapp", "Postfix"] as const).map((name) =>
    median(measured.get(name)?.map(({ rate }) => rate) ?? [])
  );
  return [figure(ours), figure(theirs), `${figure(ours / theirs)} ×`];
}
