/**
 * Sends alerts by mail through another server, with a login and TLS, bypassing our own queue.
 *
 * @module
 */
import { formatDate } from "../base/date.ts";
import { systemClock } from "../base/clock.ts";
import { maskUnprintable, wrap } from "../message/wrap.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { SmtpClient } from "../smtp/client.ts";
import { type Alert, alertText } from "./alert.ts";

/** The server that takes it. */
export interface MailWay {
  /** Its name, which its certificate must be valid for. */
  readonly host: string;
  /** The port, with implicit TLS. */
  readonly port: number;
  /** The login. */
  readonly user: string;
  readonly password: string;
  /** The sender. */
  readonly from: string;
  /** The recipient. */
  readonly to: string;
  /** Trusted besides the system's authorities; for tests. */
  readonly caCerts?: readonly string[];
}

/** In milliseconds, each. */
const TIMEOUTS = { command: 15_000, data: 15_000, dataEnd: 30_000 };
const CONNECT = 15_000;

/**
 * Sends it.
 * @throws {Error} when the server does not take it
 */
export async function mailAlert(alert: Alert, way: MailWay): Promise<void> {
  const { host, port, user, password, from, to, caCerts = [] } = way;
  const conn = await connect({ hostname: host, port, caCerts: [...caCerts] });
  const client = new SmtpClient(new ConnTransport(conn, { clock: systemClock }), {
    hostname: alert.hostname,
    clock: systemClock,
    timeouts: TIMEOUTS,
  });
  try {
    for (
      const step of [
        () => client.greeting(),
        () => client.hello(),
        () => client.authenticate({ user, password }),
      ]
    ) {
      const reply = await step();
      if (reply === undefined) throw new Error(`${host} offers no login that is known here`);
      if (reply.code >= 300) throw new Error(`${host} says ${reply.code} ${reply.lines.join(" ")}`);
    }
    const message = alertMessage(alert, { from, to });
    const { recipients: [result] } = await client.send({
      reversePath: from,
      recipients: [{ address: to }],
      size: message.length,
      eightBit: message.some((octet) => octet > 127),
      smtputf8: false,
      chunks: async function* () {
        yield await Promise.resolve(message);
      },
    });
    if (result?.kind !== "relayed") {
      const said = result !== undefined && "reply" in result
        ? `${result.reply.code} ${result.reply.lines.join(" ")}`
        : "";
      throw new Error(
        `${host} does not take it: ${
          said || (result !== undefined && "error" in result ? result.error : "")
        }`,
      );
    }
    await client.quit();
  } finally {
    client.close();
  }
}

async function connect(options: Deno.ConnectTlsOptions): Promise<Deno.TlsConn> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${options.hostname} does not answer`)), CONNECT);
  const connecting = Deno.connectTls(options);
  connecting.then((conn) => void late.catch(() => conn.close()), () => {});
  try {
    return await Promise.race([connecting, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The message, lines ending in CRLF. */
export function alertMessage(alert: Alert, { from, to }: Pick<MailWay, "from" | "to">): Uint8Array {
  const { title, text } = alertText(alert);
  const lines = [
    `Date: ${formatDate(alert.at)}`,
    `From: <${from}>`,
    `To: <${to}>`,
    `Subject: ${maskUnprintable(title).replace(/[^\x20-\x7e]/g, "?")}`,
    `Message-ID: <alert.${crypto.randomUUID()}@${alert.hostname}>`,
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
    "",
    ...text.split("\n").flatMap((line) => wrap(maskUnprintable(line))),
    "",
  ];
  return new TextEncoder().encode(lines.join("\r\n"));
}
