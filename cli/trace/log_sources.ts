/**
 * Finds the log of this machine's servers: files, or systemd's journal.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";
import { allServers } from "../../server/servers.ts";
import { findLogFiles, firstTime, type LogSource, wholeLines } from "../../observe/log_files.ts";
import { tailOf } from "../../observe/log_tail.ts";
import { withWriter, writerOf } from "../../observe/log_writers.ts";
import { namedFileProblem } from "../command_line/named_file.ts";
import { runSystemCommand, startSystemCommand } from "../command_line/system_commands.ts";

/** The log, and which parts of it cannot be read. */
export interface FoundLog {
  /** Oldest part first. */
  readonly sources: readonly LogSource[];
  /** Sentences for people. */
  readonly problems: readonly string[];
  /** The current files; none: the journal. */
  readonly files: readonly string[];
  /** By file, where there are several: the server that wrote the lines that do not name one. */
  readonly writers?: ReadonlyMap<string, string>;
  /** Whether a file that was named is not there, or cannot be read. */
  readonly incomplete: boolean;
}

/** Finds the log: these files, those of `[log] file`, or the journal. */
export async function findLog(config: Config, files: readonly string[]): Promise<FoundLog> {
  const named = files.length > 0 ? files : config.log.file === undefined ? [] : [config.log.file];
  if (named.length === 0) return await findJournal();
  const sources: LogSource[] = [];
  const problems: string[] = [];
  const writers = new Map<string, string>();
  let incomplete = false;
  for (const path of named) {
    try {
      const found = await findLogFiles(path, (problem) => problems.push(problem));
      const server = named.length > 1 ? await writerOf(path, found.sources) : undefined;
      if (server !== undefined) writers.set(path, server);
      sources.push(...found.sources.map((source) => server === undefined ? source : { ...source, server }));
      problems.push(
        ...found.unreadable.map((path) => `${path} is not read: only gzip is supported; unpack it`),
      );
      if (found.sources.length > 0) continue;
      problems.push(`there is no log ${path}; check --log, or [log] file`);
    } catch (error) {
      problems.push(`${path} cannot be read: ${namedFileProblem(path, error)}`);
    }
    incomplete = true;
  }
  return { sources, problems, files: named, writers, incomplete: incomplete && files.length > 0 };
}

async function findJournal(): Promise<FoundLog> {
  const { code } = await runSystemCommand("journalctl", { args: ["--quiet", "--lines=1", ...await units()] });
  if (code !== 0) {
    return {
      sources: [],
      problems: ["there is no journal here; --log FILE names a log"],
      files: [],
      incomplete: false,
    };
  }
  return { sources: [journalSource(await units())], problems: [], files: [], incomplete: false };
}

/** The units of all servers, as arguments. */
async function units(): Promise<string[]> {
  return (await allServers()).map(({ unit }) => `--unit=${unit.name}`);
}

function journalSource(units: readonly string[]): LogSource {
  return {
    name: "the journal",
    async begins() {
      for await (const piece of journalLines(units)) {
        // systemd's own lines about the units have none.
        const time = firstTime(piece);
        if (!Number.isNaN(time)) return time;
      }
      return NaN;
    },
    pieces: ({ since, until }) =>
      journalLines([
        ...units,
        ...(since > 0 ? [`--since=@${Math.floor(since / 1000)}`] : []),
        ...(until < Infinity ? [`--until=@${Math.ceil(until / 1000)}`] : []),
      ]),
  };
}

/** Yields pieces of whole lines; journalctl ends with the loop. */
async function* journalLines(
  args: readonly string[],
  { signal }: { readonly signal?: AbortSignal } = {},
): AsyncGenerator<string> {
  const journal = startSystemCommand("journalctl", ["--quiet", "--output=cat", "--no-pager", ...args]);
  signal?.addEventListener("abort", () => void journal.end(), { once: true });
  try {
    yield* wholeLines(journal.output);
  } finally {
    await journal.end();
  }
}

/** Yields whole lines as they are written from now on, until the signal. */
export async function* followLog(log: FoundLog, signal: AbortSignal): AsyncGenerator<string> {
  const { files, writers } = log;
  const mark = (piece: string, path: string) => {
    const server = writers?.get(path);
    return server === undefined ? piece : withWriter(piece, server);
  };
  if (files.length > 0) yield* tailOf(files, { signal, mark });
  else yield* journalLines([...await units(), "--follow", "--lines=0"], { signal });
}
