/**
 * A mail host whose TLS is OpenSSL's: `openssl s_server` behind a few words of SMTP, since it has no STARTTLS of its own.
 *
 * @module
 */
import { writeAll } from "../../../base/write_all.ts";
import { OctetBuffer } from "../../../base/octet_buffer.ts";
import { makeFolder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { until } from "./process.ts";

/** How it is started. */
export interface OpensslHostOptions {
  /** An address of this machine. */
  readonly address: string;
  readonly port: number;
  /** The certificate, PEM; of several the first. */
  readonly cert: string;
  /** Its key, PEM. */
  readonly key: string;
  /** What it sends along with the certificate, PEM; absent: nothing. */
  readonly chain?: string;
}

/** It takes all mail that is sent over TLS. */
export interface OpensslHost extends AsyncDisposable {
  /** The recipients of what it has taken. */
  readonly taken: readonly string[];
}

const CR_LF = new TextEncoder().encode("\r\n");
const MAX_LINE = 2048;

/** Starts it; each connection has an s_server of its own. */
export async function startOpensslHost(options: OpensslHostOptions): Promise<OpensslHost> {
  const { address: hostname, port, cert, key, chain } = options;
  const folder = await makeFolder("openssl-host");
  const args = [
    ...["-cert", await folder.write("cert.pem", cert), "-key", await folder.write("key.pem", key)],
    ...(chain === undefined ? [] : ["-cert_chain", await folder.write("chain.pem", chain)]),
  ];
  const taken: string[] = [];
  const running = new Set<Promise<void>>();
  const open = new Set<Disposable>();
  const listener = Deno.listen({ hostname, port });
  const accepting = (async () => {
    for await (const conn of listener) {
      open.add(conn);
      const done = serve(conn, { args, taken, open }).catch(() => {}).finally(() => {
        open.delete(conn);
        running.delete(done);
      });
      running.add(done);
    }
  })();
  return {
    taken,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      for (const one of open) one[Symbol.dispose]();
      await Promise.all(running);
      await folder[Symbol.asyncDispose]();
    },
  };
}

interface Serving {
  readonly args: readonly string[];
  readonly taken: string[];
  /** What ends it. */
  readonly open: Set<Disposable>;
}

async function serve(conn: Deno.TcpConn, { args, taken, open }: Serving): Promise<void> {
  using _conn = conn;
  const say = (reply: string) => writeAll(conn, new TextEncoder().encode(`${reply}\r\n`));
  await say("220 openssl.test ESMTP");
  for await (const line of linesOf((buffer) => conn.read(buffer))) {
    if (/^STARTTLS$/i.test(line)) break;
    await say(/^EHLO /i.test(line) ? "250-openssl.test\r\n250 STARTTLS" : "530 5.7.0 STARTTLS first");
  }
  const port = freePort();
  const server = new Deno.Command("openssl", {
    args: ["s_server", "-accept", `127.0.0.1:${port}`, "-naccept", "1", "-quiet", ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let ended = false;
  const status = server.status.finally(() => ended = true);
  const killed = {
    [Symbol.dispose]: () => {
      if (!ended) server.kill("SIGKILL");
    },
  };
  open.add(killed);
  try {
    using behind = await until(() => ended ? undefined : Deno.connect({ port }).catch(() => undefined), {
      what: "s_server",
    });
    await say("220 Go ahead");
    await Promise.all([
      conn.readable.pipeTo(behind.writable),
      behind.readable.pipeTo(conn.writable),
      takeMail(server, taken),
    ]);
  } finally {
    open.delete(killed);
    await status;
  }
}

/** The dialogue within TLS. */
async function takeMail(server: Deno.ChildProcess, taken: string[]): Promise<void> {
  const writer = server.stdin.getWriter();
  const reader = server.stdout.getReader();
  let rest: Uint8Array = new Uint8Array();
  const read = async (buffer: Uint8Array) => {
    while (rest.length === 0) {
      const { value, done } = await reader.read();
      if (done) return null;
      rest = value;
    }
    const part = rest.subarray(0, buffer.length);
    buffer.set(part);
    rest = rest.subarray(part.length);
    return part.length;
  };
  const recipients: string[] = [];
  let inData = false;
  for await (const line of linesOf(read)) {
    if (inData && line !== ".") continue;
    if (inData) taken.push(...recipients.splice(0));
    inData = /^DATA$/i.test(line);
    const [, recipient] = /^RCPT TO:<(.*?)>/i.exec(line) ?? [];
    if (recipient !== undefined) recipients.push(recipient);
    const reply = inData ? "354 Go on" : /^QUIT$/i.test(line) ? "221 Bye" : "250 OK";
    await writer.write(new TextEncoder().encode(`${reply}\r\n`));
  }
  await writer.close().catch(() => {});
}

async function* linesOf(read: (buffer: Uint8Array) => Promise<number | null>): AsyncGenerator<string> {
  const buffer = new OctetBuffer();
  for (;;) {
    const line = buffer.takeUntil(CR_LF, MAX_LINE);
    if (line !== undefined) {
      yield new TextDecoder().decode(line);
      continue;
    }
    const size = await read(buffer.free());
    if (size === null) return;
    buffer.added(size);
  }
}
