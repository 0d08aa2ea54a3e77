/**
 * serve-out as a child process that faults are put into, and the server that gets its mail.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "@std/path";
import { silentLogger } from "../../base/log.ts";
import type { Header, Origin } from "../../smtp/delivery.ts";
import { reply, SmtpError } from "../../smtp/reply.ts";
import { SmtpServer } from "../../smtp/server.ts";
import { Dialogue } from "../support/dialogue.ts";
import { RunningMailapp, type RunOptions, type Workspace } from "../support/mailapp.ts";
import { type CheckedMessage, checkedMessage, names, readChecked, submit } from "./checked_message.ts";
import type { Serving } from "./setting.ts";

/** What the receiver does at the final dot: `lose` takes the message and breaks off without a word. */
export type AtDot = "take" | "refuse" | "lose";

/** A copy that arrived. */
export interface Arrival {
  /** The id of the message sent. */
  readonly id: string;
  /** What serve-out called it. */
  readonly queueId: string;
  /** The checksum of what was sent. */
  readonly digest: string;
}

/** A server that writes down everything that arrives, on 127.0.0.1 by default. */
export class Receiver implements AsyncDisposable {
  /** The most connections there were at a time. */
  mostConnections = 0;
  /** All copies, in order. */
  readonly arrivals: Arrival[] = [];
  /** Called before 354. */
  beforeData: () => Promise<void> = () => Promise.resolve();
  /** Called when the dot is there, before the answer. */
  atDot: () => Promise<AtDot> = () => Promise.resolve("take");
  readonly #server: SmtpServer;
  readonly #listener: Deno.TcpListener;
  readonly #serving: Promise<void>;
  readonly #connections = new Map<number, Deno.Conn>();
  readonly #waiting = new Set<() => void>();

  /** Listens at once. */
  constructor(hostname = "127.0.0.1") {
    this.#listener = Deno.listen({ hostname, port: 0 });
    const accept = this.#listener.accept.bind(this.#listener);
    this.#listener.accept = async () => {
      const connection = await accept();
      this.mostConnections = Math.max(this.mostConnections, this.#server.connectionCount + 1);
      this.#connections.set(connection.remoteAddr.port, connection);
      return connection;
    };
    this.#server = new SmtpServer({
      hostname: "mx.there.test",
      logger: silentLogger,
      delivery: {
        checkRecipient: () => ({ accepted: true }),
        begin: (_envelope, { origin }) => this.#begin(origin),
      },
    });
    this.#serving = this.#server.serve(this.#listener);
  }

  /** Its port. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** The copies of one message. */
  copies(id: string): Arrival[] {
    return this.arrivals.filter((arrival) => arrival.id === id);
  }

  /** Waits until this many copies of it have arrived. */
  async has(id: string, copies = 1): Promise<void> {
    while (this.copies(id).length < copies) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Closes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown({ grace: 0 });
    await this.#serving;
  }

  async #begin({ remote }: Origin) {
    await this.beforeData();
    const chunks: Uint8Array[] = [];
    return {
      id: "r",
      write: (chunk: Uint8Array) => void chunks.push(chunk.slice()),
      commit: async (_headers: readonly Header[]) => {
        const what = await this.atDot();
        if (what === "refuse") throw new SmtpError(reply(451, "4.3.0", "Not now"));
        const text = new TextDecoder().decode(await new Blob(chunks as BlobPart[]).arrayBuffer());
        const { id, digest } = readChecked(text);
        const [, queueId = ""] = /^Received: [^;]*\bid ([0-9a-z]+)/.exec(text) ?? [];
        this.arrivals.push({ id, queueId, digest });
        for (const resolve of this.#waiting) resolve();
        this.#waiting.clear();
        if (what !== "lose") return;
        // The reply that follows finds no way out.
        if (remote !== undefined) await this.#connections.get(remote.port)?.closeWrite();
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }
}

/** Configures a serve-out that hands all mail to this port, and tries again after a second. */
export function configureServeOut(
  workspace: Workspace,
  port: number,
  more: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  return workspace.configure({
    "serve-out": {
      listen: ["127.0.0.1"],
      port: 0,
      min_free_space: 0,
      retry: ["1s"],
      ...more,
    },
    "serve-out.routes": { "*": `127.0.0.1:${port}` },
  });
}

/** Starts serve-out, and waits until it serves. */
export async function serveOut(config: string, options: RunOptions = {}): Promise<Serving> {
  const server = new RunningMailapp(["serve-out", "--config", config], options);
  try {
    const { port } = await server.event("listener.ready");
    await server.event("server.ready");
    return { server, port: Number(port) };
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

/** What a client was told. */
export interface Handed extends CheckedMessage {
  /** The reply to the dot. */
  readonly reply: string;
  /** The id in it, if it was positive. */
  readonly queueId: string;
}

let count = 0;

/** Hands a message of its own connection to serve-out. */
export async function handOver(
  port: number,
  { octets = 2_000, to = "x@there.test", beforeDot }: {
    readonly octets?: number;
    readonly to?: string;
    readonly beforeDot?: () => Promise<void>;
  } = {},
): Promise<Handed> {
  const message = checkedMessage(`m${++count}`, octets);
  using dialogue = await Dialogue.connect(port);
  await dialogue.hear();
  await dialogue.say("EHLO client.test");
  const reply = await submit(dialogue, message, {
    to: [to],
    ...(beforeDot && { beforeDot }),
  });
  return { ...message, reply, queueId: queueIdOf(reply) };
}

/** The queue id in the reply to a dot; nothing in another reply. */
export function queueIdOf(reply: string): string {
  return /^250 2\.0\.0 (\w+) accepted/.exec(reply)?.[1] ?? "";
}

/** Hands a message over, which must be taken and arrive once. */
export async function relayOne(port: number, receiver: Receiver): Promise<Handed> {
  const handed = await handOver(port);
  assert.match(handed.reply, /^250 2\.0\.0 /);
  await receiver.has(handed.id);
  assert.deepEqual(receiver.copies(handed.id).map(({ digest }) => digest), [handed.digest]);
  return handed;
}

/** The spool of a workspace, as it lies on the disk. */
export class SpoolFiles {
  /** The directory. */
  readonly path: string;

  /** Of this workspace. */
  constructor(workspace: Workspace) {
    this.path = workspace.file("state", "spool");
  }

  /** A path in it. */
  at(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  /** The ids of all entries. */
  ids(): string[] {
    return names(this.at("messages")).flatMap((shard) => names(this.at("messages", shard)));
  }

  /** A message's file. */
  message(id: string): string {
    return this.at("messages", id.slice(-2), id);
  }

  /** What is in a file; nothing where there is none. */
  text(path: string): string {
    try {
      return Deno.readTextFileSync(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    }
  }

  /** A message's state. */
  state(id: string): string {
    return this.at("states", id.slice(-2), `${id}.json`);
  }
}

/**
 * The queue ids of messages whose dot went without an answer, as the log tells, or as states in the spool do: a line may
 * be on its way to the log when the process is killed. What is in the journal alone is told by the next start.
 */
export function unanswered({ events }: RunningMailapp, files: SpoolFiles): Set<string> {
  const told = events.filter((event) => event["dot_sent_no_reply"] === true).map(({ id }) => String(id));
  const inStates = files.ids().filter((id) => files.text(files.state(id)).includes('"dotSentNoReply": true'));
  return new Set([...told, ...inStates]);
}

/** Waits until a server that has just been started has nothing left to do. */
export async function untilEmpty(server: RunningMailapp, files: SpoolFiles): Promise<void> {
  await server.event("queue.scanned");
  // What was over before the start goes without a word.
  const removed = files.text(files.at("journal"));
  for (const id of files.ids()) {
    if (!removed.includes(`{"removed":"${id}"`)) await server.event("queue.done", { where: { id } });
  }
}

/**
 * Compares what arrived with what clients saw: all that was accepted is there, as it was sent, and what arrived more
 * than once has a record. Returns the ids of messages that arrived, and the queue ids of those that arrived again.
 * @param options `sent`: checksums by id; `accepted`: ids; `recorded`: queue ids of dots without a reply
 */
export function checkArrivals(
  receiver: Receiver,
  { sent, accepted, recorded }: {
    readonly sent: ReadonlyMap<string, string>;
    readonly accepted: ReadonlySet<string>;
    readonly recorded: ReadonlySet<string>;
  },
): { readonly arrived: ReadonlySet<string>; readonly doubled: readonly string[] } {
  const copies = new Map<string, number>();
  for (const { id, digest, queueId } of receiver.arrivals) {
    assert.equal(digest, sent.get(id), `${id} is not what was sent`);
    copies.set(queueId, (copies.get(queueId) ?? 0) + 1);
  }
  const arrived = new Set(receiver.arrivals.map(({ id }) => id));
  assert.deepEqual([...accepted].filter((id) => !arrived.has(id)), [], "accepted and lost");
  const doubled = [...copies].filter(([, number]) => number > 1).map(([id]) => id);
  assert.deepEqual(doubled.filter((id) => !recorded.has(id)), [], "doubled without a record");
  return { arrived, doubled };
}
