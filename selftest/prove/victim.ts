/**
 * Both servers in a process that is there to be killed: at random by its parent, or by itself before a certain step on
 * the disk.
 *
 * @module
 */
import { join } from "@std/path";
import { parseConfig } from "../../config/load.ts";
import { denoFileSystem, type FileSystem, type OpenFile } from "../../storage/file_system.ts";
import { startCopy } from "../copies.ts";

/** What its parent tells it. */
export interface VictimOptions {
  /** Where everything is. */
  readonly directory: string;
  /** Of this process, so that its logs are its own. */
  readonly run: number;
  /** Where relayed mail goes, on 127.0.0.1. */
  readonly receiverPort: number;
  /** The module that every thread of the program begins with. */
  readonly entry: string;
}

/** What it tells its parent, as JSON in one line. */
export interface VictimPorts {
  readonly serveIn: number;
  readonly serveOut: number;
}

/** The file with the log of one server of a run. */
export function victimLog(
  directory: string,
  { run, server }: { readonly run: number; readonly server: string },
): string {
  return join(directory, "logs", `${server}-${run}`);
}

function configText({ directory, run, receiverPort }: VictimOptions, server: string): string {
  const quoted = JSON.stringify;
  return `
hostname = "mx.prove.test"
data_dir = ${quoted(join(directory, "state"))}
[log]
format = "json"
file = ${quoted(victimLog(directory, { run, server }))}
[dns]
servers = ["127.0.0.1:1"]
[serve-in]
listen = ["127.0.0.1"]
port = 0
tls_port = false
domains = ["prove.test"]
min_free_space = 0
[serve-in.checks]
spf = false
dkim = false
arc = false
dmarc = "off"
[mailboxes]
path = ${quoted(join(directory, "mail", "{domain}", "{user}"))}
users = ["alice", "bob"]
[mailboxes.aliases]
postmaster = "alice"
[serve-out]
listen = ["127.0.0.1"]
port = 0
min_free_space = 0
retry = ["1s"]
tls_reports = false
mta_sts = false
[serve-out.routes]
"*" = "127.0.0.1:${receiverPort}"
`;
}

/**
 * Serves until it is killed, or this resolves: when `input` ends. A line `arm N` in it has the process kill itself
 * before the Nth step from then on that changes the disk.
 */
export async function runVictim(
  options: VictimOptions,
  { input, tell }: { readonly input: ReadableStream<Uint8Array>; readonly tell: (line: string) => void },
): Promise<void> {
  await Deno.mkdir(join(options.directory, "logs"), { recursive: true });
  const steps = new Steps();
  // The servers use this object for all that they write.
  Object.assign(denoFileSystem, counted(denoFileSystem, steps));
  const places = {
    directory: options.directory,
    dnsPort: 1,
    peersPort: options.receiverPort,
    entry: options.entry,
  };
  const config = (server: string) =>
    parseConfig(configText(options, server), { systemHostname: () => "mx.prove.test" });
  const serveIn = await startCopy("serve-in", config("serve-in"), { places });
  const serveOut = await startCopy("serve-out", config("serve-out"), { places });
  tell(JSON.stringify({ serveIn: serveIn.port ?? 0, serveOut: serveOut.port ?? 0 } satisfies VictimPorts));
  let rest = "";
  for await (
    const piece of input.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
  ) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [, number] = /^arm (\d+)$/.exec(line) ?? [];
      if (number !== undefined) {
        steps.arm(Number(number));
        tell("armed");
      }
    }
  }
  await Promise.all([serveIn.stop(), serveOut.stop()]);
}

/** Counts what changes the disk. */
class Steps {
  #left = Infinity;

  /** Dies before this step from now on. */
  arm(step: number): void {
    this.#left = step;
  }

  /** Something is about to change. */
  step(): void {
    if (--this.#left === 0) Deno.kill(Deno.pid, "SIGKILL");
  }
}

function counted(inner: FileSystem, steps: Steps): Partial<FileSystem> {
  const { openSync, renameSync, remove, mkdir } = inner;
  return {
    openSync(path, options) {
      if (options.create || options.createNew || options.truncate) steps.step();
      return countedFile(openSync(path, options), steps);
    },
    renameSync(from, to) {
      steps.step();
      renameSync(from, to);
    },
    remove(path) {
      steps.step();
      return remove(path);
    },
    mkdir(path, options) {
      steps.step();
      return mkdir(path, options);
    },
  };
}

function countedFile(file: OpenFile, steps: Steps): OpenFile {
  const step =
    <Args extends unknown[], Result>(call: (...args: Args) => Result) => (...args: Args): Result => {
      steps.step();
      return call(...args);
    };
  return {
    read: (buffer) => file.read(buffer),
    write: step((data: Uint8Array) => file.write(data)),
    writeSync: step((data: Uint8Array) => file.writeSync(data)),
    seek: (offset, whence) => file.seek(offset, whence),
    truncateSync: step((length: number) => file.truncateSync(length)),
    sync: step(() => file.sync()),
    stat: () => file.stat(),
    close: () => file.close(),
  };
}
