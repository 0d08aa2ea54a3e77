/**
 * SMTP servers that take everything, one for each line of arguments, for a network namespace: run as a program.
 *
 * The argument is JSON: a list of `{ "address": …, "cert": FILE, "key": FILE, "capabilities": […] }`, without `cert`
 * for a server that has no STARTTLS. They listen on port 25 and write `address recipient verb` for each message, then
 * `ready` once all listen. `verb` is what MAIL FROM said.
 *
 * @module
 */
import { createSecureContext } from "node:tls";
import { systemClock } from "../../../base/clock.ts";
import { ConnTransport } from "../../../net/conn_transport.ts";
import type { Transport } from "../../../net/transport.ts";
import { serverUpgrade } from "../../../tls/server_upgrade.ts";

/** One of the servers. */
export interface SinkOptions {
  /** Where it listens, on port 25. */
  readonly address: string;
  /** PEM files; absent: no STARTTLS. */
  readonly cert?: string;
  readonly key?: string;
  /** What EHLO announces over TLS besides. */
  readonly capabilities?: readonly string[];
}

async function serve(conn: Deno.Conn, { address, cert, key, capabilities = [] }: SinkOptions): Promise<void> {
  let transport: Transport = new ConnTransport(conn, { clock: systemClock });
  const say = (text: string) => transport.write(new TextEncoder().encode(`${text}\r\n`));
  await say(`220 sink at ${address}`);
  let lines = "";
  let data = false;
  let secure = false;
  let mail = "";
  let recipients: string[] = [];
  const buffer = new Uint8Array(65_536);
  for (let size = await transport.read(buffer); size !== null; size = await transport.read(buffer)) {
    lines += new TextDecoder().decode(buffer.subarray(0, size));
    for (let end = lines.indexOf("\r\n"); end !== -1; end = lines.indexOf("\r\n")) {
      const line = lines.slice(0, end);
      lines = lines.slice(end + 2);
      if (data) {
        if (line !== ".") continue;
        data = false;
        for (const recipient of recipients) console.log(`${address} ${recipient} ${mail}`);
        recipients = [];
        await say("250 2.0.0 taken");
      } else if (/^EHLO/i.test(line)) {
        const offered = secure ? capabilities : cert === undefined ? [] : ["STARTTLS"];
        const all = [`sink at ${address}`, "8BITMIME", ...offered];
        await say(all.map((text, i) => `250${i === all.length - 1 ? " " : "-"}${text}`).join("\r\n"));
      } else if (/^STARTTLS$/i.test(line) && cert !== undefined && key !== undefined) {
        await say("220 go");
        const secureContext = createSecureContext({
          cert: await Deno.readTextFile(cert),
          key: await Deno.readTextFile(key),
        });
        transport = (await serverUpgrade({ certificates: { secureContext } })(transport)).transport;
        secure = true;
      } else if (/^DATA$/i.test(line)) {
        data = true;
        await say("354 go");
      } else {
        if (/^MAIL/i.test(line)) mail = line;
        if (/^RCPT TO:<(.*)>/i.test(line)) recipients.push(/^RCPT TO:<([^>]*)>/i.exec(line)?.[1] ?? "");
        await say(/^QUIT$/i.test(line) ? "221 2.0.0 bye" : "250 2.0.0 ok");
      }
    }
  }
}

if (import.meta.main) {
  for (const options of JSON.parse(Deno.args[0] ?? "[]") as SinkOptions[]) {
    const listener = Deno.listen({ hostname: options.address, port: 25 });
    (async () => {
      for await (const conn of listener) {
        serve(conn, options).catch(() => {}).finally(() => {
          try {
            conn.close();
          } catch {
            // It has ended.
          }
        });
      }
    })();
  }
  console.log("ready");
}
