/**
 * What a server costs: processor time and memory of a process and all that descend from it, from /proc.
 *
 * @module
 */

// Linux counts processor time in hundredths of a second, whatever its timer does (proc(5), sysconf(_SC_CLK_TCK)).
const TICKS_PER_SECOND = 100;

/** The numbers of a process and of all its descendants. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const { name } of Deno.readDirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = statFields(pid)?.parent;
    if (parent !== undefined) children.set(parent, [...children.get(parent) ?? [], pid]);
  }
  const tree: number[] = [];
  for (let pending = [root]; pending.length > 0;) {
    tree.push(...pending);
    pending = pending.flatMap((pid) => children.get(pid) ?? []);
  }
  return tree;
}

/** Processor seconds used so far by the tree, children that ended and were waited for included. */
export function cpuSeconds(root: number): number {
  return processTree(root).reduce((sum, pid) => sum + (statFields(pid)?.ticks ?? 0), 0) / TICKS_PER_SECOND;
}

/** Memory of the tree now, in bytes: pages shared by several processes count once (PSS). */
export function memoryBytes(root: number): number {
  return processTree(root).reduce((sum, pid) => sum + pssBytes(pid), 0);
}

/** Resident memory of one process, in bytes: now (VmRSS), and the most it ever had (VmHWM). */
export function residentMemory(pid: number): { readonly now: number; readonly peak: number } {
  const status = readProc(pid, "status") ?? "";
  const bytes = (name: string) =>
    Number(status.match(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m"))?.[1]) * 1024;
  return { now: bytes("VmRSS"), peak: bytes("VmHWM") };
}

/** What a piece of work cost a server. */
export interface Cost {
  /** Processor seconds. */
  readonly cpu: number;
  /** The most memory seen, bytes. */
  readonly memory: number;
}

/** Watches a server, which may be several programs, while some work is done. */
export async function costOf<T>(
  roots: number | readonly number[],
  work: () => Promise<T>,
): Promise<Cost & { readonly result: T }> {
  const sum = (of: (root: number) => number) => [roots].flat().reduce((sum, root) => sum + of(root), 0);
  const before = sum(cpuSeconds);
  let memory = 0;
  const sample = () => {
    memory = Math.max(memory, sum(memoryBytes));
  };
  // Rarely, since looking at the pages of a process costs time too.
  const sampler = setInterval(sample, 500);
  try {
    const result = await work();
    sample();
    return { result, cpu: sum(cpuSeconds) - before, memory };
  } finally {
    clearInterval(sampler);
  }
}

function statFields(pid: number): { parent: number; ticks: number } | undefined {
  const text = readProc(pid, "stat");
  if (text === undefined) return undefined;
  // The name, in parentheses, may hold anything; numbers begin after it with field 3 of proc(5).
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  const ticks = fields.slice(11, 15).reduce((sum, value) => sum + value, 0);
  return { parent: fields[1] ?? 0, ticks };
}

function pssBytes(pid: number): number {
  return Number(readProc(pid, "smaps_rollup")?.match(/^Pss:\s+(\d+) kB$/m)?.[1] ?? 0) * 1024;
}

function readProc(pid: number, name: string): string | undefined {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/${name}`);
  } catch {
    // It ended meanwhile.
    return undefined;
  }
}
