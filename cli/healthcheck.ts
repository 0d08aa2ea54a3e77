/**
 * `mailapp healthcheck`: whether a server of this configuration answers.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { showEndpoint } from "../net/listen.ts";
import { SmtpClient } from "../smtp/client.ts";
import { systemClock } from "../smtp/clock.ts";
import { ConnTransport } from "../smtp/conn_transport.ts";
import { CommandError, EXIT, type ExitCode } from "./exit_codes.ts";
import type { Io } from "./io.ts";
import { serveInEndpoints } from "./parts.ts";
import { configOption, examples, type Registrar } from "./subcommand.ts";

/** In milliseconds, for each step. */
const PATIENCE = 5_000;

const SERVERS = ["serve-in", "serve-out"] as const;
type Server = typeof SERVERS[number];

/** Enters the command. */
export function registerHealthcheck(program: Command, { io, action }: Registrar): void {
  program.command("healthcheck")
    .description("exit 0 when that server of this configuration answers; sends no mail")
    .argument("<server>", "serve-in or serve-out", parseServer)
    .addOption(configOption())
    .addHelpText("after", examples("mailapp healthcheck serve-in && echo it answers"))
    .action(
      action((server: Server, options: { config?: string }) => healthcheck(server, { ...options, io })),
    );
}

function parseServer(text: string): Server {
  const server = SERVERS.find((name) => name === text);
  if (server === undefined) throw new InvalidArgumentError(`Allowed are ${SERVERS.join(", ")}.`);
  return server;
}

async function healthcheck(
  server: Server,
  { config: file, io }: { readonly config?: string; readonly io: Io },
): Promise<ExitCode> {
  const config = await loadConfig(file, { env: io.env });
  const { address, port } = endpointOf(config, server);
  const where = `${server} on ${showEndpoint(address, port)}`;
  try {
    io.out(`${where}: ${await talk({ address, port, hostname: config.hostname })}\n`);
    return EXIT.ok;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CommandError(`${where} does not answer: ${reason}`, EXIT.unavailable, { cause: error });
  }
}

/** Where to find the server: on loopback if it listens everywhere. */
function endpointOf(config: Config, server: Server): { address: string; port: number } {
  const { port } = server === "serve-in" ? config.serveIn : config.serveOut;
  const address = server === "serve-in"
    ? serveInEndpoints(config, { hasCertificate: false })[0]?.address
    : config.serveOut.listen[0];
  if (port === 0) throw new CommandError(`[${server}] port = 0: which port it has is not known`, EXIT.config);
  const loopback = address === "::" ? "::1" : address === "0.0.0.0" ? "127.0.0.1" : address;
  return { address: loopback ?? "127.0.0.1", port };
}

/** Greeting, EHLO, QUIT; what the server calls itself. */
async function talk(target: { address: string; port: number; hostname: string }): Promise<string> {
  const signal = AbortSignal.timeout(PATIENCE);
  const conn = await Deno.connect({ hostname: target.address, port: target.port, signal });
  const client = new SmtpClient(new ConnTransport(conn, { clock: systemClock }), {
    hostname: target.hostname,
    clock: systemClock,
    timeouts: { command: PATIENCE, data: PATIENCE, dataEnd: PATIENCE },
  });
  try {
    for (const step of [() => client.greeting(), () => client.hello()]) {
      const reply = await step();
      if (reply.code >= 300) throw new Error(`it says ${reply.code} ${reply.lines.join(" ")}`);
    }
    await client.quit();
    return "answers";
  } finally {
    client.close();
  }
}
