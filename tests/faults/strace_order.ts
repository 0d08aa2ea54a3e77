/**
 * Reads what strace wrote about serve-in, and holds each 250 against what had reached the disk by then: the file's
 * bytes synced after the last of them was written, then its name given, then the directory synced.
 *
 * strace sees a call begin before the kernel does anything, and end after the kernel did it, and writes both down in
 * the order seen. So a call whose end stands above another's begin was over before the other one began.
 *
 * @module
 */
import { basename, dirname } from "@std/path";

/** How strace must be run for {@linkcode checkOrder} to understand its log; `-o` comes on top. */
export const STRACE_OPTIONS: readonly string[] = [
  ...["-f", "--seccomp-bpf", "-y", "-s", "400"],
  ...["-e", "signal=none"],
  "-e",
  "trace=openat,write,writev,pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,sendto,sendmsg",
];

/** What a log shows. */
export interface Order {
  /** Messages answered for with 250. */
  readonly replies: number;
  /** Files that were renamed into a `new/`. */
  readonly files: number;
  /** Syncs of a `new/`. */
  readonly directorySyncs: number;
  /** What was out of order; empty if all is well. */
  readonly violations: readonly string[];
}

/** A system call; `begin` and `end` are lines of the log. A call that never returned ends at infinity. */
interface Call {
  readonly name: string;
  readonly args: string;
  readonly begin: number;
  readonly end: number;
  /** Negative if it failed, `NaN` if it never returned. */
  readonly result: number;
}

interface Span {
  readonly begin: number;
  readonly end: number;
  readonly ok: boolean;
}

interface MailFile {
  readonly path: string;
  readonly id: string | undefined;
  readonly writes: Span[];
  readonly syncs: Span[];
  octets: number;
  renamed?: Span & { readonly to: string };
}

/** Holds each 250 in the log to the order of durable writes. */
export function checkOrder(log: string): Order {
  const files = new Map<string, MailFile>();
  const syncs = new Map<string, Span[]>();
  const made: (Span & { readonly path: string })[] = [];
  const replies: { readonly id: string; readonly begin: number }[] = [];
  const violations: string[] = [];

  for (const call of readCalls(log)) {
    const span = { begin: call.begin, end: call.end, ok: call.result >= 0 };
    const paths = quoted(call.args);
    const [, descriptor = ""] = /^\d+<(.*?)>(?:,|\(deleted\)|$)/.exec(call.args) ?? [];
    if (/^(?:p?write|send)/.test(call.name)) {
      if (descriptor.includes("socket:") || descriptor.startsWith("TCP")) {
        const ids = (paths[0] ?? "").matchAll(/^250 2\.0\.0 (\w+) accepted\r$/gm);
        replies.push(...Array.from(ids, ([, id = ""]) => ({ id, begin: call.begin })));
      } else if (inside(descriptor, "tmp")) {
        const file = files.get(descriptor) ?? newFile(descriptor, paths[0] ?? "");
        files.set(descriptor, file);
        file.writes.push(span);
        if (span.ok) file.octets += call.result;
      }
    } else if (call.name === "fsync" || call.name === "fdatasync") {
      const file = files.get(descriptor);
      if (file !== undefined) file.syncs.push(span);
      else syncs.set(descriptor, [...syncs.get(descriptor) ?? [], span]);
    } else if (call.name.startsWith("rename")) {
      const [from = "", to = ""] = paths;
      const file = files.get(from);
      if (file !== undefined && span.ok) file.renamed = { ...span, to };
    } else if (call.name.startsWith("mkdir") && span.ok) {
      made.push({ ...span, path: paths[0] ?? "" });
    }
  }

  for (const reply of replies) {
    const own = [...files.values()].filter(({ id }) => id === reply.id);
    if (own.length === 0) violations.push(`250 for ${reply.id}, of which nothing was written`);
    for (const file of own) {
      const problem = misplaced(file, { reply: reply.begin, syncs, made });
      if (problem !== undefined) violations.push(`250 for ${reply.id}, but ${file.path} ${problem}`);
    }
  }
  const ofNew = [...syncs].filter(([path]) => basename(path) === "new");
  return {
    replies: replies.length,
    files: [...files.values()].filter(({ renamed }) => renamed !== undefined).length,
    directorySyncs: ofNew.reduce((sum, [, spans]) => sum + spans.length, 0),
    violations,
  };
}

interface Around {
  /** Where the 250 begins. */
  readonly reply: number;
  readonly syncs: ReadonlyMap<string, readonly Span[]>;
  readonly made: readonly (Span & { readonly path: string })[];
}

/** What a file lacks when its 250 begins; nothing if it is durable. */
function misplaced(file: MailFile, { reply, syncs, made }: Around): string | undefined {
  const { renamed } = file;
  if (renamed === undefined || renamed.end >= reply) return "had not been renamed";
  const size = /,S=(\d+)/.exec(renamed.to)?.[1];
  if (String(file.octets) !== size) return `has ${file.octets} octets written, and S=${size}`;
  if (file.syncs.some(({ ok }) => !ok)) return "had a sync that failed";
  const written = Math.max(...file.writes.map(({ end }) => end));
  const synced = file.syncs.filter(({ begin, end }) => begin > written && end < renamed.begin);
  if (synced.length === 0) return "had not been synced between its last write and its rename";
  const changes = [
    { directory: dirname(renamed.to), end: renamed.end },
    ...made.filter(({ path, end }) => renamed.to.startsWith(`${path}/`) && end < reply)
      .map(({ path, end }) => ({ directory: dirname(path), end })),
  ];
  for (const { directory, end } of changes) {
    const after = (syncs.get(directory) ?? []).filter((sync) => sync.begin > end && sync.end < reply);
    if (after.length === 0) return `had a name that was not synced in ${directory}`;
    if (after.some(({ ok }) => !ok)) return `had a sync of ${directory} that failed`;
  }
  return undefined;
}

function newFile(path: string, firstWritten: string): MailFile {
  // The id is in Received, which is in the first write.
  const id = /^Received: (?:.*\n\s)*?.*\bid (\w+)/m.exec(firstWritten)?.[1];
  return { path, id, writes: [], syncs: [], octets: 0 };
}

function inside(path: string, directory: string): boolean {
  return basename(dirname(path)) === directory;
}

/** Puts together the lines of each call. */
function readCalls(log: string): Call[] {
  const calls: Call[] = [];
  const unfinished = new Map<
    string,
    { readonly name: string; readonly args: string; readonly begin: number }
  >();
  for (const [number, line] of log.split("\n").entries()) {
    const [, pid = "", text = ""] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text);
    const begun = resumed === null ? undefined : unfinished.get(pid);
    const started = /^(\w+)\((.*)$/.exec(text);
    // A signal, an end, or a call that had begun before strace came.
    if (begun === undefined && started === null) continue;
    const name = begun?.name ?? started?.[1] ?? "";
    const rest = begun === undefined ? started?.[2] ?? "" : begun.args + (resumed?.[1] ?? "");
    const begin = begun?.begin ?? number;
    const open = /^(.*) <unfinished \.\.\.>$/.exec(rest);
    if (open !== null) {
      unfinished.set(pid, { name, args: open[1] ?? "", begin });
      continue;
    }
    unfinished.delete(pid);
    const [, args = "", result = ""] = /^(.*)\) += (-?\d+|\?)/.exec(rest) ?? [];
    const over = result !== "?" && result !== "";
    calls.push({ name, args, begin, end: over ? number : Infinity, result: over ? Number(result) : NaN });
  }
  for (const call of unfinished.values()) calls.push({ ...call, end: Infinity, result: NaN });
  return calls.sort((a, b) => a.begin - b.begin);
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", v: "\v", f: "\f" };

/** The strings among the arguments, as they were in memory. */
function quoted(args: string): string[] {
  return Array.from(args.matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, text = ""]) =>
    text.replace(
      /\\([0-7]{1,3}|.)/g,
      (_, code: string) =>
        /^[0-7]/.test(code) ? String.fromCharCode(parseInt(code, 8)) : ESCAPES[code] ?? code,
    ));
}
