/**
 * `mailapp healthcheck`: whether a server of this configuration answers and takes mail.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Config } from "../config/config.ts";
import { ConfigFileError } from "../config/errors.ts";
import { loadConfig } from "../config/load.ts";
import { refusalNow, shown } from "../doctor/accepts_mail.ts";
import { Dialogue } from "../doctor/dialogue.ts";
import { askOwnPolicy } from "../mta_sts/ask_own.ts";
import { createDial } from "../net/dial.ts";
import { reachableAddress, showEndpoint } from "../net/listen.ts";
import type { SocketAddress } from "../net/transport.ts";
import { requireConfigFile } from "../server/config_file.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { policyHosts } from "../server/policy_parts.ts";
import type { ServerName } from "../server/server_start.ts";
import { SERVER_NAMES, SERVERS } from "../server/servers.ts";
import { probeName } from "../smtp/own_probe.ts";
import type { RemoteReply } from "../smtp/reply_reader.ts";
import { configOption, examples, parseServerName, type Registrar } from "./command_line/subcommand.ts";

/** In milliseconds, for each step. */
const TIMEOUT = 5_000;

/** Milliseconds between two tries of `--wait`. */
const POLL_INTERVAL = 250;

interface Flags {
  readonly config?: string;
  readonly wait?: number;
}

/** Registers the subcommand. */
export function registerHealthcheck(program: Command, { io, action }: Registrar): void {
  program.command("healthcheck")
    .description("exit 0 if the server answers and accepts mail; sends none")
    .argument("<server>", SERVER_NAMES.join(" or "), parseServerName)
    .option(
      "--wait <seconds>",
      "wait at most this long until the server answers; its unit runs this",
      parseSeconds,
    )
    .addOption(configOption())
    .addHelpText("after", examples("mailapp healthcheck serve-in && echo it answers"))
    .action(action((server: ServerName, flags: Flags) => healthcheck(server, { flags, io })));
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d{1,4}$/.test(text) || seconds === 0) {
    throw new InvalidArgumentError("It must be a number of seconds.");
  }
  return seconds;
}

async function healthcheck(
  server: ServerName,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const load = () => loadConfig(flags.config, { env: io.env });
  if (flags.wait === undefined) {
    const config = await load();
    const places = await placesOf(config, server);
    io.out(`${await findAnswer(places, { server, thorough: true })}\n`);
    if (server !== "serve-submit") return EXIT.ok;
    // Without a login it reveals no more; but it needs serve-out to take mail.
    const next = await placesOf(config, "serve-out");
    io.out(`${await findAnswer(next, { server: "serve-out", thorough: true })}\n`);
    return EXIT.ok;
  }
  const deadline = systemClock.monotonic() + flags.wait * 1000;
  // systemd passes the server's PID to its control processes, and would wait for this one after the server has ended.
  const mainPid = io.env.get("MAINPID");
  for (;;) {
    if (mainPid !== undefined && !await Deno.stat(`/proc/${mainPid}`).then(() => true, () => false)) {
      throw new CommandError(`${server} has exited; its log says why`, EXIT.unavailable);
    }
    let places: readonly Place[] | undefined;
    try {
      // Each time: a container makes its configuration when it starts.
      places = await placesOf(await load(), server);
      await findAnswer(places, { server });
      return EXIT.ok;
    } catch (error) {
      if (!isAwaited(error)) throw error;
      if (places === undefined && mainPid !== undefined) {
        // The server waits for its network, or has an unknown port: to wait here would only hold up systemd.
        io.out(`${server} cannot be reached: ${error.message}\n`);
        return EXIT.ok;
      }
      if (systemClock.monotonic() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
  }
}

/** Whether waiting may help: not where the configuration is there and wrong. */
function isAwaited(error: unknown): error is Error {
  return error instanceof CommandError || error instanceof ConfigFileError && error.reason === "missing";
}

/**
 * Tries one address after the other, since a server goes on without an address that the machine has lost or never had.
 * @param options `thorough`: whether more than a greeting is required
 * @returns the address that answered, for people
 * @throws {CommandError} when none of them answers properly
 */
async function findAnswer(
  places: readonly Place[],
  { server, thorough = false }: { readonly server: ServerName; readonly thorough?: boolean },
): Promise<string> {
  const failures: string[] = [];
  for (const place of places) {
    const where = `${server} on ${showEndpoint(place.address, place.port)}`;
    try {
      const refusal = await talk(place, { thorough });
      if (refusal === undefined) {
        const takesMail = thorough && place.policyHost === undefined;
        return `${where}: answers${takesMail ? ", and accepts mail" : ""}`;
      }
      failures.push(`${where} answers, but accepts no mail now: ${shown(refusal)}`);
    } catch (error) {
      failures.push(`${where} does not answer: ${errorText(error)}`);
    }
  }
  throw new CommandError(failures.join("\nmailapp: "), EXIT.unavailable);
}

/** An address of a server. */
interface Place extends SocketAddress {
  /** The policy host; absent for servers of SMTP. */
  readonly policyHost?: string;
  /** The server name for implicit TLS; absent without it. */
  readonly tls?: string;
}

/** The addresses of the server: loopback if it listens on all. */
async function placesOf(config: Config, name: ServerName): Promise<Place[]> {
  const server = await SERVERS[name].load();
  if (server.needsConfigFile) requireConfigFile(config, name);
  const policyHost = name === "serve-policy" ? policyHosts(config)[0] : undefined;
  const endpoints = server.endpoints(config, { hasCertificate: false, addresses: server.addresses(config) });
  if (endpoints.length === 0) {
    // Says what of its configuration is missing, if that is why.
    server.check(config);
    throw new CommandError(`${name} would listen nowhere: its ports are off`, EXIT.config);
  }
  return endpoints.map(({ address, port, tls }) => {
    const first = tls === "implicit" && { tls: config.hostname };
    const policy = policyHost !== undefined && { policyHost };
    if (port !== 0) return { address: reachableAddress(address), port, ...first, ...policy };
    throw new CommandError(`[${name}] port = 0: its port is not known`, EXIT.config);
  });
}

/**
 * Reads the greeting and, if that is not enough, says EHLO and begins a transaction for postmaster that ends before its data.
 * @returns the reply of a server that takes no mail now
 * @throws when it does not answer as an SMTP server
 */
async function talk(
  place: Place,
  { thorough }: { readonly thorough: boolean },
): Promise<RemoteReply | undefined> {
  if (place.policyHost !== undefined) {
    await askOwnPolicy(place, { host: place.policyHost, timeout: TIMEOUT, clock: systemClock });
    return undefined;
  }
  const transport = await createDial({ clock: systemClock, timeout: TIMEOUT })(place);
  using dialogue = new Dialogue(transport, { clock: systemClock, timeout: TIMEOUT });
  if (place.tls !== undefined) await dialogue.startTls(place.tls);
  const greeting = await dialogue.listen();
  // With `--wait` any reply is enough, however busy the server is.
  if (!thorough) return undefined;
  for (const reply of [greeting, await dialogue.say(`EHLO ${probeName("healthcheck")}`)]) {
    if (reply.code >= 300) throw new Error(`it says ${reply.code} ${reply.lines.join(" ")}`);
  }
  const refusal = await refusalNow(dialogue);
  await dialogue.end();
  return refusal;
}
