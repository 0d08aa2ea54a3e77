/**
 * A receiver inside the bench's own process, so that sending and arriving are told by one clock.
 *
 * @module
 */

const encoder = new TextEncoder();
const REPLIES = { mail: "250 ok", rcpt: "250 ok", data: "354 go on", quit: "221 bye" } as const;

/** Called back when something arrives. */
export interface Arrivals {
  /** A connection. */
  readonly connected?: () => void;
  /** The end of the data of a message. */
  readonly arrived?: () => void;
}

/** Takes mail until the listener is closed, and calls back meanwhile. */
export async function serveArrivals(listener: Deno.TcpListener, arrivals: Arrivals): Promise<void> {
  const sessions = new Set<Promise<void>>();
  const open = new Set<Deno.Conn>();
  while (true) {
    let connection: Deno.TcpConn;
    try {
      connection = await listener.accept();
    } catch {
      break;
    }
    arrivals.connected?.();
    // Else a reply waits for the delayed acknowledgement of the one before, and that is what would be measured.
    connection.setNoDelay();
    open.add(connection);
    const session = serve(connection, arrivals).catch(() => {}).finally(() => {
      open.delete(connection);
      sessions.delete(session);
    });
    sessions.add(session);
  }
  // Servers keep connections for later messages.
  for (const connection of open) connection.close();
  await Promise.all(sessions);
}

async function serve(connection: Deno.Conn, { arrived }: Arrivals): Promise<void> {
  const say = async (text: string) => {
    await connection.write(encoder.encode(`${text}\r\n`));
  };
  await say("220 sink.test");
  let inData = false;
  for await (const line of linesOf(connection)) {
    if (inData) {
      if (line !== ".") continue;
      arrived?.();
      inData = false;
      await say("250 ok");
      continue;
    }
    const verb = line.slice(0, 4).toLowerCase();
    inData = verb === "data";
    await say(
      verb === "ehlo"
        ? "250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME"
        : REPLIES[verb as keyof typeof REPLIES] ?? "250 ok",
    );
    if (verb === "quit") return connection.close();
  }
}

async function* linesOf(connection: Deno.Conn): AsyncGenerator<string> {
  const buffer = new Uint8Array(65_536);
  const decoder = new TextDecoder("latin1");
  let pending = "";
  for (let length: number | null; (length = await connection.read(buffer)) !== null;) {
    const lines = (pending + decoder.decode(buffer.subarray(0, length))).split("\r\n");
    pending = lines.pop() ?? "";
    yield* lines;
  }
}
