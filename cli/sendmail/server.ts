/**
 * Connects a program to serve-out.
 *
 * @module
 */
import { systemClock } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError, ConfigFileError } from "../../config/errors.ts";
import { loadConfig } from "../../config/load.ts";
import { ConnTransport } from "../../net/conn_transport.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import type { SmtpClient } from "../../smtp/client.ts";
import { NotServingError, openDialogue } from "../../smtp/hand_over.ts";
import { DialogueError } from "../../smtp/send_result.ts";
import type { SendmailOptions } from "./options.ts";

/** What a program knows of serve-out. */
export interface Server {
  readonly addresses: readonly string[];
  readonly port: number;
  readonly dataDir: string;
  readonly maxMessageSize: number;
  readonly minFreeSpace: number;
}

const DEFAULT_SERVER: Server = {
  addresses: ["127.0.0.1", "::1"],
  port: 25,
  dataDir: "/var/lib/mailapp",
  maxMessageSize: 50 * 1024 * 1024,
  minFreeSpace: 256 * 1024 * 1024,
};

/** The serve-out of the configuration; where that cannot be read, the one of the defaults. */
export async function findServer({ config: file }: SendmailOptions, io: Io): Promise<Server> {
  let config: Config;
  try {
    config = await loadConfig(file, { env: io.env });
  } catch (error) {
    // Not every account may read it, and not every machine has a name that a mail server could use.
    const unreadable = error instanceof ConfigFileError && error.reason === "forbidden" && file === undefined;
    if (unreadable || (error instanceof ConfigError && error.file === undefined)) return DEFAULT_SERVER;
    throw error;
  }
  const { listen, port, maxMessageSize, minFreeSpace } = config.serveOut;
  const { dataDir } = config;
  return { addresses: listen, port, dataDir, maxMessageSize, minFreeSpace };
}

/** The name for EHLO, which says whose program this is: serve-out logs it, and writes it into Received. */
function clientName(): string {
  return `uid${Deno.uid()}.sendmail.localhost`;
}

/** Connects. @throws {CommandError} when it is not there */
export async function connect({ addresses, port }: Server): Promise<Deno.Conn> {
  let failure: unknown;
  for (const hostname of addresses) {
    try {
      return await Deno.connect({ hostname, port });
    } catch (error) {
      failure ??= error;
    }
  }
  const where = addresses.map((address) => `${address} port ${port}`).join(" and ");
  throw new CommandError(
    `serve-out is not running (${where}); try again later, or start it: mailapp serve-out`,
    EXIT.tryAgain,
    { cause: failure },
  );
}

/**
 * Says hello, does what is to be done, and ends with QUIT.
 * @throws {NotServingError} when the server cannot be reached, or takes nothing now
 */
export async function talk<T>(server: Server, work: (client: SmtpClient) => Promise<T>): Promise<T> {
  let conn: Deno.Conn;
  try {
    conn = await connect(server);
  } catch (error) {
    throw new NotServingError(errorText(error), { cause: error });
  }
  const transport = new ConnTransport(conn, { clock: systemClock });
  let client: SmtpClient | undefined;
  try {
    client = await openDialogue(transport, { hostname: clientName(), clock: systemClock });
    const result = await work(client);
    await client.quit();
    return result;
  } catch (error) {
    if (!(error instanceof DialogueError || error instanceof NotServingError)) throw error;
    throw new NotServingError(`serve-out: ${error.message}`, { cause: error });
  } finally {
    client?.close();
  }
}
