/**
 * `mailapp healthcheck`: whether a server of this configuration answers.
 *
 * @module
 */
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { showEndpoint } from "../net/listen.ts";
import { SmtpClient } from "../smtp/client.ts";
import { systemClock } from "../base/clock.ts";
import type { SocketAddress } from "../net/transport.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { requireConfigFile } from "../server/config_file.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import type { ServerName } from "../server/server_start.ts";
import { SERVER_NAMES, SERVERS } from "../server/servers.ts";
import { configOption, examples, parseServerName, type Registrar } from "./command_line/subcommand.ts";
import { errorText } from "../base/error_text.ts";

/** In milliseconds, for each step. */
const PATIENCE = 5_000;

/** Registers the subcommand. */
export function registerHealthcheck(program: Command, { io, action }: Registrar): void {
  program.command("healthcheck")
    .description("exit 0 when that server of this configuration answers; sends no mail")
    .argument("<server>", SERVER_NAMES.join(" or "), parseServerName)
    .addOption(configOption())
    .addHelpText("after", examples("mailapp healthcheck serve-in && echo it answers"))
    .action(
      action((server: ServerName, options: { config?: string }) => healthcheck(server, { ...options, io })),
    );
}

async function healthcheck(
  server: ServerName,
  { config: file, io }: { readonly config?: string; readonly io: Io },
): Promise<ExitCode> {
  const config = await loadConfig(file, { env: io.env });
  const places = await placesOf(config, server);
  const failures: string[] = [];
  // A server goes on without an address that the machine has lost, or never had.
  for (const { address, port } of places) {
    const where = `${server} on ${showEndpoint(address, port)}`;
    try {
      await talk({ address, port, hostname: config.hostname });
    } catch (error) {
      failures.push(`${where} does not answer: ${errorText(error)}`);
      continue;
    }
    io.out(`${where}: answers\n`);
    return EXIT.ok;
  }
  throw new CommandError(failures.join("\nmailapp: "), EXIT.unavailable);
}

/** Where to find the server: on loopback if it listens everywhere. */
async function placesOf(config: Config, name: ServerName): Promise<SocketAddress[]> {
  const server = await SERVERS[name].load();
  if (server.needsConfigFile) requireConfigFile(config, name);
  const loopback: Readonly<Record<string, string>> = { "::": "::1", "0.0.0.0": "127.0.0.1" };
  return server.endpoints(config, { hasCertificate: false, addresses: server.addresses(config) }).map(
    ({ address, port }) => {
      if (port !== 0) return { address: loopback[address] ?? address, port };
      throw new CommandError(`[${name}] port = 0: which port it has is not known`, EXIT.config);
    },
  );
}

/** Greeting, EHLO, QUIT. */
async function talk(target: { address: string; port: number; hostname: string }): Promise<void> {
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
  } finally {
    client.close();
  }
}
