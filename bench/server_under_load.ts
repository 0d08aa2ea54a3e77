/**
 * A server that takes mail for one mailbox, and how fast and at what cost it does so.
 *
 * @module
 */
import { type Folder, makeFolder } from "../tests/support/peers/folder.ts";
import { type ServeInOptions, startServeIn } from "../tests/support/peers/mailapp.ts";
import { type PostfixOptions, startPostfix } from "../tests/support/peers/postfix.ts";
import { runOk, until } from "../tests/support/peers/process.ts";
import type { LoadReport } from "./load_client.ts";
import { costOf } from "./process_tree.ts";
import { FAIR_POSTFIX, makePostfixLog } from "./servers.ts";

/** Whose mail it is. */
export const RECIPIENT = "alice@bench.test";
/** What our server calls itself. */
export const HOSTNAME = "mx.bench.test";

/** Settings of `[serve-submit]` without limits for people, which a load is not. */
export const UNLIMITED = {
  max_connections_per_ip: 500,
  messages_an_hour: 0,
  messages_a_day: 0,
  recipients_an_hour: 0,
  recipients_a_day: 0,
  new_recipients_a_day: 0,
} as const;

/** A running server. */
export interface ServerUnderLoad extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
  /** Other programs that do a part of its work. */
  readonly helpers?: readonly number[];
  /** Where the messages land. */
  readonly maildir: string;
}

/** One round of one server. */
export interface Measurement {
  /** Messages a second up to the last 250. */
  readonly accepted: number;
  /** Messages a second until all are in the Maildir. */
  readonly stored: number;
  /** Processor time of the server and all its processes until all are in the Maildir, milliseconds a message. */
  readonly cpu: number;
  /** The most memory seen, bytes. */
  readonly memory: number;
  /** From connecting to the 250, milliseconds, ascending. */
  readonly latencies: readonly number[];
}

/** Starts serve-in for the mailbox, its log in a file. */
export async function startOurs(
  options: Pick<ServeInOptions, "certificate" | "checks" | "dnsPort"> = {},
): Promise<ServerUnderLoad> {
  const folder = await makeFolder("bench-log");
  const server = await startServeIn({
    hostname: HOSTNAME,
    domains: ["bench.test"],
    users: ["alice"],
    logFile: folder.at("serve-in.log"),
    settings: { max_connections_per_ip: 1000 },
    ...options,
  });
  return {
    port: server.port,
    pid: server.program.pid,
    maildir: server.maildir(RECIPIENT),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Starts Postfix for the mailbox, its log in a file. */
export async function startTheirs(
  { settings, helpers, ...options }:
    & Pick<PostfixOptions, "certificate" | "settings" | "services" | "dns">
    & Pick<ServerUnderLoad, "helpers"> = {},
): Promise<ServerUnderLoad> {
  const log = await makePostfixLog();
  const server = await startPostfix({
    mailboxes: [RECIPIENT],
    settings: { ...FAIR_POSTFIX, maillog_file: log, ...settings },
    ...options,
  });
  return {
    port: server.port,
    pid: server.program.pid,
    ...(helpers && { helpers }),
    maildir: server.maildir(RECIPIENT),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await Deno.remove(log);
    },
  };
}

/** Measures a server while `send` sends it this many messages, and moves these away. */
export async function measure(
  { pid, helpers = [], maildir }: ServerUnderLoad,
  { messages, folder, send }: {
    readonly messages: number;
    /** Where the messages are kept until the bench is over. */
    readonly folder: Folder;
    readonly send: () => Promise<LoadReport>;
  },
): Promise<Measurement> {
  const { result, cpu, memory } = await costOf([pid, ...helpers], async () => {
    const begin = performance.now();
    const report = await send();
    // Our client, a separate program, takes time to start, which must not count.
    const startUp = (performance.now() - begin) / 1000 - report.seconds;
    await untilStored(maildir, messages);
    return { ...report, storedSeconds: (performance.now() - begin) / 1000 - startUp };
  });
  await empty(maildir, folder);
  return {
    accepted: messages / result.seconds,
    stored: messages / result.storedSeconds,
    cpu: cpu * 1000 / messages,
    memory,
    latencies: result.latencies,
  };
}

/** The names of the messages in a Maildir; none while it is not there. */
export function storedMessages(maildir: string): string[] {
  try {
    return Array.from(Deno.readDirSync(`${maildir}/new`), ({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function untilStored(maildir: string, messages: number): Promise<void> {
  const what = `${messages} messages in ${maildir}`;
  await until(() => storedMessages(maildir).length >= messages, { what, within: 600_000 });
}

/**
 * Moves the messages away and lets the disk come to rest, so that the next round does not pay for it. They are not
 * removed before the end, since ext4 goes a long way round inodes that were freed in the last minutes.
 */
export async function empty(maildir: string, folder: Folder): Promise<void> {
  const attic = await Deno.makeTempDir({ dir: folder.path, prefix: "stored-" });
  for await (const { name } of Deno.readDir(`${maildir}/new`)) {
    await Deno.rename(`${maildir}/new/${name}`, `${attic}/${name}`);
  }
  await runOk("sync", { args: ["-f", maildir] });
}
