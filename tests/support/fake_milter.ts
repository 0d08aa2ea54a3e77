/**
 * A filter that answers as a test wants it, by the milter protocol; it shares no code with the client.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** An answer: packets, each a letter and data; or what makes no sense; or the end of the connection. */
export type MilterAnswer =
  | readonly (readonly [letter: string, data?: string | Uint8Array])[]
  | "silent"
  | "close"
  | Uint8Array;

/** How the filter behaves. */
export interface FakeMilterOptions {
  /** Version, actions and steps that it negotiates: those of libmilter by default. */
  readonly negotiate?: readonly [number, number, number] | MilterAnswer;
  /** What it answers to a packet; `c` by default. */
  readonly answer?: (letter: string, data: string) => MilterAnswer | undefined;
  /** The Unix socket it listens on; a TCP port of loopback if absent. */
  readonly path?: string;
}

/** A running filter. */
export interface FakeMilter extends AsyncDisposable {
  /** Of its TCP port. */
  readonly port: number;
  /** Each packet that came, such as `H client.test␀`; NUL is shown. */
  readonly seen: string[];
  /** How many connections there were. */
  connections: number;
}

/** Letters that are never answered. */
const UNANSWERED = new Set(["D", "A", "Q"]);

/** Starts a filter. */
export function startFakeMilter(options: FakeMilterOptions = {}): FakeMilter {
  const listener = options.path === undefined
    ? Deno.listen({ hostname: "127.0.0.1", port: 0 })
    : Deno.listen({ transport: "unix", path: options.path });
  const seen: string[] = [];
  const work = new Set<Promise<void>>();
  const open = new Set<Deno.Conn>();
  const fake = {
    port: "port" in listener.addr ? listener.addr.port : 0,
    seen,
    connections: 0,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const conn of open) {
        try {
          conn.close();
        } catch {
          // Closed already.
        }
      }
      await Promise.all(work);
    },
  };
  const accept = async () => {
    for await (const conn of listener) {
      fake.connections++;
      open.add(conn);
      const done = serve(conn, options, seen).catch(() => {}).finally(() => open.delete(conn));
      work.add(done);
    }
  };
  work.add(accept().catch(() => {}));
  return fake;
}

async function serve(conn: Deno.Conn, options: FakeMilterOptions, seen: string[]): Promise<void> {
  const { negotiate = [6, 0x3f, 0], answer = () => undefined } = options;
  let held = Buffer.alloc(0);
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const length = await conn.read(buffer);
    if (length === null) return conn.close();
    held = Buffer.concat([held, buffer.subarray(0, length)]);
    while (held.length >= 4 && held.length >= 4 + held.readUInt32BE()) {
      const end = 4 + held.readUInt32BE();
      const letter = held.toString("latin1", 4, 5);
      const data = held.toString("latin1", 5, end);
      held = held.subarray(end);
      seen.push(`${letter} ${data.replaceAll("\0", "␀")}`.replace(/ $/, ""));
      const [version, actions = 0, steps = 0] = negotiate instanceof Uint8Array
        ? []
        : negotiate as readonly [number, number, number];
      const answers = letter === "O"
        ? typeof version === "number"
          ? [["O", numbers(version, actions & askedFor(data), steps)]] as const
          : negotiate as MilterAnswer
        : answer(letter, data) ?? (UNANSWERED.has(letter) ? [] : [["c"]] as const);
      if (answers === "silent") continue;
      if (answers === "close") return conn.close();
      if (answers instanceof Uint8Array) {
        await conn.write(answers);
        continue;
      }
      for (const [reply, text = ""] of answers) {
        const bytes = typeof text === "string" ? Buffer.from(text, "latin1") : text;
        await conn.write(Buffer.concat([numbers(bytes.length + 1), Buffer.from(reply), bytes]));
      }
    }
  }
}

/** The actions that the server offers. */
function askedFor(data: string): number {
  return Buffer.from(data, "latin1").readUInt32BE(4);
}

function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index);
  return bytes;
}
