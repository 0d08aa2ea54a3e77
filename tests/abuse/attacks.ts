/**
 * What hostile clients do to a server, bounded in time and number. Each attack is under way when its function has
 * returned.
 *
 * @module
 */
import { textOf } from "../support/bytes.ts";

/** How one connection of an attack ended. */
export interface Ending {
  /** The server's last line, as far as it was read; `""` if there was none. */
  readonly lastReply: string;
  /** Milliseconds from connecting to the end. */
  readonly after: number;
}

/** An attack under way. Disposed, its connections are closed. */
export interface Attack extends AsyncDisposable {
  /** How the connections ended that the server has ended, in the order of their ends. */
  readonly endings: readonly Ending[];
  /** Resolves when the server has ended all of them. */
  readonly over: Promise<void>;
}

/** Where, and how many. */
export interface AttackOptions {
  readonly port: number;
  readonly connections: number;
}

// So that the client's own queue of connections is not what is measured.
const CONNECTING_AT_ONCE = 50;

const encoder = new TextEncoder();

/** Connections that say EHLO, every other one, and then nothing. */
export async function stayIdle({ port, connections }: AttackOptions): Promise<Attack> {
  return await attack(connections, async (turn) => {
    const conn = await connect(port);
    const peer = listen(conn);
    await peer.heard(/^220 .*\r\n/);
    if (turn % 2 === 0) {
      await conn.write(encoder.encode("EHLO idle.test\r\n"));
      await peer.heard(/^250 .*\r\n/m);
    }
    return { conn, ended: peer.ended };
  });
}

/** Connections that bring one octet at a time, in the middle of a text that has no end. */
export async function drip(
  { port, connections, preamble = [], text, interval }: AttackOptions & {
    /** Said before, each waiting for a reply. */
    readonly preamble?: readonly string[];
    /** Sent over and over, octet for octet. */
    readonly text: string;
    /** Milliseconds between two octets. */
    readonly interval: number;
  },
): Promise<Attack> {
  return await attack(connections, async () => {
    const conn = await connect(port);
    const peer = listen(conn);
    let replies = 0;
    for (const line of preamble) {
      await peer.heard(new RegExp(`(?:^\\d{3} .*\\r\\n[^]*){${++replies}}`, "m"));
      await conn.write(encoder.encode(line));
    }
    if (preamble.length > 0) await peer.heard(/^354 .*\r\n/m);
    let at = 0;
    const timer = setInterval(() => {
      const octet = text[at++ % text.length] ?? "x";
      conn.write(Uint8Array.of(octet.charCodeAt(0))).catch(() => {});
    }, interval);
    return { conn, ended: peer.ended.finally(() => clearInterval(timer)) };
  });
}

/** Connections that ask forever and never read what they are told. */
export async function neverRead({ port, connections }: AttackOptions): Promise<Attack> {
  const questions = encoder.encode("EHLO deaf.test\r\n".repeat(200));
  return await attack(connections, async () => {
    const conn = await connect(port);
    const ask = async () => {
      try {
        for (;;) await conn.write(questions);
      } catch {
        // The server has hung up, or we have.
      }
      return "";
    };
    return { conn, ended: ask() };
  });
}

/** Connections that send lines that are not commands, all at once; each is replaced when the server has ended it. */
export async function talkRubbish(
  { port, connections, seconds }: AttackOptions & { readonly seconds: number },
): Promise<Attack> {
  const rubbish = encoder.encode("XYZZY plugh\r\n\0\xff\r\nMAIL TO: a@b\r\nGET /\n".repeat(10));
  const until = performance.now() + seconds * 1000;
  return await attack(connections, async () => {
    const conn = await connect(port);
    const speak = async (conn: Deno.Conn): Promise<string> => {
      const { ended } = listen(conn);
      await conn.write(rubbish).catch(() => {});
      return await ended;
    };
    const speakOn = async () => {
      let lastReply = await speak(conn);
      while (performance.now() < until) {
        const another = await connect(port);
        lastReply = await speak(another);
        close(another);
      }
      return lastReply;
    };
    return { conn, ended: speakOn() };
  });
}

/** What a flood came to. */
export interface FloodFacts {
  readonly connections: number;
  /** Those that got a greeting. */
  readonly greeted: number;
  /** Those that got a 421 instead. */
  readonly refused: number;
}

/** New connections at a steady rate: a third goes away at once, a third after the greeting, a third says QUIT. */
export async function flood(
  { port, perSecond, seconds }: {
    readonly port: number;
    readonly perSecond: number;
    readonly seconds: number;
  },
): Promise<FloodFacts> {
  const startedAt = performance.now();
  const visits: Promise<void>[] = [];
  let greeted = 0;
  let refused = 0;
  const visit = async (turn: number) => {
    const conn = await connect(port);
    if (turn % 3 === 0) return close(conn);
    const peer = listen(conn);
    await peer.heard(/^\d{3} .*\r\n/).catch(() => {});
    if (peer.text.startsWith("220")) greeted++;
    else if (peer.text.startsWith("421")) refused++;
    if (turn % 3 === 1) {
      await conn.write(encoder.encode("QUIT\r\n")).catch(() => {});
      await peer.ended;
    }
    close(conn);
  };
  for (let passed = 0; passed < seconds * 1000; passed = performance.now() - startedAt) {
    while (visits.length < passed * perSecond / 1000) visits.push(visit(visits.length));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await Promise.all(visits);
  return { connections: visits.length, greeted, refused };
}

/** Opens the connections; `begin` gives one and what was heard last once the server has ended it. */
async function attack(
  connections: number,
  begin: (turn: number) => Promise<{ readonly conn: Deno.Conn; readonly ended: Promise<string> }>,
): Promise<Attack> {
  const conns: Deno.Conn[] = [];
  const endings: Ending[] = [];
  const ends: Promise<void>[] = [];
  let next = 0;
  const open = async () => {
    for (let turn = next++; turn < connections; turn = next++) {
      const startedAt = performance.now();
      const { conn, ended } = await begin(turn);
      conns.push(conn);
      ends.push(
        ended.then((lastReply) => void endings.push({ lastReply, after: performance.now() - startedAt })),
      );
    }
  };
  await Promise.all(Array.from({ length: Math.min(connections, CONNECTING_AT_ONCE) }, open));
  const over = Promise.all(ends).then(() => {});
  return {
    endings,
    over,
    async [Symbol.asyncDispose]() {
      for (const conn of conns) close(conn);
      await over;
    },
  };
}

async function connect(port: number): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  // Else the system gathers the octets of a drip.
  conn.setNoDelay();
  return conn;
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It is closed.
  }
}

interface Peer {
  readonly text: string;
  /** @throws {Error} when the connection ends before */
  heard(pattern: RegExp): Promise<void>;
  /** The last line, when the connection has ended. */
  readonly ended: Promise<string>;
}

function listen(conn: Deno.Conn): Peer {
  let text = "";
  let over = false;
  let arrived = Promise.withResolvers<void>();
  const read = async () => {
    const buffer = new Uint8Array(4096);
    try {
      for (let size; (size = await conn.read(buffer)) !== null;) {
        text += textOf(buffer.subarray(0, size));
        arrived.resolve();
        arrived = Promise.withResolvers();
      }
    } catch {
      // Reset, or closed by us.
    }
    over = true;
    arrived.resolve();
    close(conn);
    return text.trimEnd().split("\r\n").at(-1) ?? "";
  };
  const ended = read();
  return {
    get text() {
      return text;
    },
    async heard(pattern) {
      while (!pattern.test(text)) {
        if (over) throw new Error(`ended before ${pattern}: ${text}`);
        await arrived.promise;
      }
    },
    ended,
  };
}
