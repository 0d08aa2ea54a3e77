/**
 * `deno task demo`: runs the product on loopback, from scratch. A development tool, so it is not in `--help`.
 *
 * @module
 */
import { join, relative } from "@std/path";
import type { Command } from "commander";
import { SmtpClient } from "../../smtp/client.ts";
import { systemClock } from "../../base/clock.ts";
import { ConnTransport } from "../../net/conn_transport.ts";
import { formatDate } from "../../base/date.ts";
import { choosePlaces, domain, NAMES, type Places, USERS, writeConfigs } from "./configs.ts";
import { startDemoDns } from "./dns.ts";
import { type DemoServer, type LoggedEvent, runCommand, startServer } from "./process.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import { type Io, OutputClosedError } from "../../server/io.ts";
import { examples, type Registrar } from "../command_line/subcommand.ts";
import { errorText } from "../../base/error_text.ts";

/** Registers the subcommand. */
export function registerDemo(program: Command, { io, action }: Registrar): void {
  program.command("demo", { hidden: true })
    .description("set up and run everything on loopback high ports, under ./demo-data")
    .option("--once", "exit after the deliveries")
    .addHelpText("after", examples("deno task demo", "deno task demo -- --once"))
    .action(action((options: { once?: true }) => demo(io, { once: options.once === true })));
}

const HOME = "home.test";
const SENDER = `you@${HOME}`;

type Say = (text?: string) => void;
type Tell = (who: string, text: string) => void;

async function demo(io: Io, { once }: { readonly once: boolean }): Promise<ExitCode> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) io.onSignal(signal, () => stop.abort());
  const say: Say = (text = "") => {
    try {
      io.out(`${text}\n`);
    } catch (error) {
      // Also thrown amid a dialogue; the servers must be stopped all the same.
      if (!(error instanceof OutputClosedError)) throw error;
      stop.abort();
    }
  };
  try {
    return await perform(io, { once, say, stop: stop.signal });
  } catch (error) {
    // Servers that end since they were told to are no failure.
    if (stop.signal.aborted) return EXIT.ok;
    throw error;
  }
}

async function perform(
  io: Io,
  { once, say, stop }: { readonly once: boolean; readonly say: Say; readonly stop: AbortSignal },
): Promise<ExitCode> {
  const tell: Tell = (who, text) => say(`     ${who.padEnd(9)}  ${text}`);
  // Events of the servers are shown in their step, or not at all.
  let hear: Tell = () => {};

  const directory = join(Deno.cwd(), "demo-data");
  using _claim = await claimDirectory(directory);
  const places = choosePlaces();
  const [here, later] = [domain("here", places), domain("later", places)];
  const home = {
    name: HOME,
    // Must differ from serve-out's hostname, or its own notices would have no destination.
    host: `mx.${HOME}`,
    address: "127.0.0.1",
    spf: "v=spf1 ip4:127.0.0.1 -all",
  };
  await using dns = await startDemoDns([here, later, home], {
    port: 2553,
    asked: (line) => hear("DNS", line),
  });
  const files = await writeConfigs(directory, { here, later, sender: SENDER, places, dnsPort: dns.port });
  const short = (path: string) => `./${relative(Deno.cwd(), path)}`;
  say("1. Configurations for two hosts, and for a third that starts later:");
  say(
    `     ${short(files.serveIn)}    receives mail for ${here.name}, with mailboxes ${USERS.join(" and ")},`,
  );
  say(`     ${"".padEnd(short(files.serveIn).length)}    and what comes back to ${SENDER}`);
  say(`     ${short(files.serveOut)}   accepts mail from programs on this machine, and relays it`);
  say(`     ${short(files.later)}       receives mail for ${later.name}`);

  await using servers = new Servers(stop);
  let dialogues = true;
  const start = (name: string, [command, config]: readonly ["serve-in" | "serve-out", string]) =>
    servers.add(
      name,
      startServer([command, "--config", config], (event) => {
        const text = outline(command, { event, dialogues });
        if (text !== undefined) hear(name, text);
      }),
    );
  const serveIn = start("serve-in", ["serve-in", files.serveIn]);
  const serveOut = start("serve-out", ["serve-out", files.serveOut]);
  say("2. The servers, each in its own process:");
  for (const [name, { ready }] of [["serve-in", serveIn], ["serve-out", serveOut]] as const) {
    for (const { address, port, tls } of await ready) {
      tell(name, `${address} port ${port}${tls === "off" ? "" : `, ${TLS[String(tls)]}`}`);
    }
  }
  tell("DNS", `127.0.0.1 port ${dns.port}, the demo's own: it has the MX records of these domains`);

  const held: [who: string, text: string][] = [];
  hear = (...heard) => held.push(heard);
  const first = { to: `alice@${here.name}`, subject: "It works" };
  say(`3. A program hands serve-out a message for ${first.to}:`);
  await submit(messageText(first), { ...first, port: places.serveOut, tell });
  say(`4. serve-out looks up the MX of ${here.name} and delivers the message there, over STARTTLS:`);
  for (const heard of held) tell(...heard);
  hear = tell;
  const relayed = await serveOut.event(({ event, recipient }) =>
    event === "attempt.relayed" && recipient === first.to
  );
  const stored = await whereStored(serveIn, relayed);
  await serveOut.event(({ event, id }) => event === "queue.done" && id === relayed["id"]);
  hear = () => {};
  if (relayed["tls"] === "none") throw new CommandError("the message went without TLS", EXIT.software);
  say(`5. Stored as ${short(stored)}:`);
  for (const line of (await Deno.readTextFile(stored)).trimEnd().split("\n")) say(`     ${line}`);

  const second = { to: `bob@${later.name}`, subject: "It works later" };
  say(
    `6. A second message, for ${second.to}, handed over by the sendmail command. The server there is down:`,
  );
  const mailapp = (args: readonly string[], input?: string) => {
    say(`     $ mailapp ${args.map((arg) => (arg.startsWith("/") ? short(arg) : arg)).join(" ")}`);
    return runCommand(args, input);
  };
  const ownConfig = ["--config", files.serveOut];
  hear = tell;
  await mailapp(
    ["sendmail", ...ownConfig, "-f", SENDER, second.to],
    messageText(second).replaceAll("\r\n", "\n"),
  );
  const accepted = await serveOut.event(({ event, to }) =>
    event === "message.accepted" && Array.isArray(to) && to.includes(second.to)
  );
  const ofSecond = (name: string) => ({ event, id }: LoggedEvent) => event === name && id === accepted["id"];
  await serveOut.event(ofSecond("attempt.deferred"));
  hear = () => {};
  say("   So it waits in the queue:");
  const list = async () => {
    for (const line of (await mailapp(["queue", "list", ...ownConfig])).trimEnd().split("\n")) {
      say(`     ${line}`);
    }
  };
  await list();
  say("7. That server comes up, and serve-out tries again by itself, with a dialogue like the one above:");
  dialogues = false;
  hear = tell;
  const laterServer = start("later", ["serve-in", files.later]);
  for (const { address, port, tls } of await laterServer.ready) {
    tell("later", `${address} port ${port}, ${TLS[String(tls)]}`);
  }
  const relayedLater = await serveOut.event(ofSecond("attempt.relayed"));
  const storedLater = await whereStored(laterServer, relayedLater);
  await serveOut.event(ofSecond("queue.done"));
  hear = () => {};
  await list();
  say(`   Stored as ${short(storedLater)}`);
  if (once) {
    await servers.stop();
    return EXIT.ok;
  }

  const [inbox, laterInbox] = [here, later].map(({ name }) => short(join(files.mail, name, "bob")));
  const ownInbox = short(join(files.mail, HOME, "you"));
  say(byHand({ places, inbox, laterInbox, ownInbox, config: short(files.serveOut), task: taskCommand(io) }));
  servers.showLogs(tell);
  const codes = await servers.ended();
  return stop.aborted && codes.every((code) => code === 0) ? EXIT.ok : EXIT.software;
}

const TLS: Readonly<Record<string, string>> = {
  off: "no TLS",
  starttls: "with STARTTLS",
  implicit: "TLS from the first byte on",
};

/** What is worth showing of what a server logs. */
function outline(
  server: "serve-in" | "serve-out",
  { event, dialogues }: { readonly event: LoggedEvent; readonly dialogues: boolean },
): string | undefined {
  switch (event.event) {
    // serve-out's own clients are shown from their side.
    case "dialogue":
      return dialogues && server === "serve-out" && event["host"] !== undefined
        ? String(event["line"])
        : undefined;
    case "tls.started":
      return `(over ${event["protocol"]}, ${event["cipher"]})`;
    case "attempt.relayed":
      return `(${event["recipient"]} is relayed to ${event["host"]}; its certificate is ${event["tls"]})`;
    case "attempt.deferred":
      return `(${event["recipient"]} is deferred: ${event["host"]}: ${event["reply"] ?? event["error"]})`;
    case "message.delivered":
      return `(stored for ${event["mailbox"]})`;
    default:
      return undefined;
  }
}

/** Where serve-in put what serve-out relayed: the reply to the dot names the message. */
async function whereStored(serveIn: DemoServer, relayed: LoggedEvent): Promise<string> {
  const words = String(relayed["reply"]).split(/\s+/);
  const delivered = await serveIn.event(({ event, id }) =>
    event === "message.delivered" && words.includes(String(id))
  );
  return String(delivered["file"]);
}

/** The servers that run; disposing stops them. */
class Servers implements AsyncDisposable {
  readonly #servers: { readonly name: string; readonly server: DemoServer }[] = [];
  readonly #stopping: AbortSignal;

  constructor(stopping: AbortSignal) {
    this.#stopping = stopping;
    stopping.addEventListener("abort", () => this.stop());
  }

  add(name: string, server: DemoServer): DemoServer {
    this.#servers.push({ name, server });
    if (this.#stopping.aborted) server.stop();
    return server;
  }

  showLogs(tell: Tell): void {
    for (const { name, server } of this.#servers) server.showLog((line) => tell(name, line));
  }

  ended(): Promise<readonly number[]> {
    return Promise.all(this.#servers.map(async ({ server }) => {
      const code = await server.ended;
      // A server that fails ends the demo.
      if (code !== 0) await this.stop();
      return code;
    }));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map(({ server }) => server.stop()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/**
 * Makes the directory if it is not there, and keeps a second demo out of it until the result is disposed.
 * @throws {CommandError} when it cannot be created or locked
 */
async function claimDirectory(directory: string): Promise<Disposable> {
  let lock: Deno.FsFile;
  try {
    await Deno.mkdir(directory, { recursive: true });
    lock = await Deno.open(directory);
  } catch (error) {
    const reason = errorText(error);
    const exitCode = error instanceof Deno.errors.PermissionDenied ? EXIT.noPermission : EXIT.unavailable;
    throw new CommandError(`the demo needs a directory ${directory} to write in: ${reason}`, exitCode);
  }
  if (await lock.tryLock(true)) return lock;
  lock.close();
  throw new CommandError(
    `another demo runs in ${directory}: stop it with Ctrl-C first`,
    EXIT.unavailable,
  );
}

async function submit(
  message: string,
  { to, port, tell }: {
    readonly to: string;
    readonly port: number;
    readonly tell: Tell;
  },
): Promise<void> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const client = new SmtpClient(new ConnTransport(conn, { clock: systemClock }), {
    hostname: "program.home.test",
    clock: systemClock,
    timeouts: { command: 10_000, data: 10_000, dataEnd: 30_000 },
    onLine: (side, line) => tell("program", `${side}: ${line}`),
  });
  await client.greeting();
  await client.hello();
  const data = new TextEncoder().encode(message);
  const { recipients: [result] } = await client.send({
    reversePath: SENDER,
    recipients: [{ address: to }],
    size: data.length,
    eightBit: true,
    smtputf8: false,
    chunks: async function* () {
      yield data;
    },
  });
  await client.quit();
  if (result?.kind !== "relayed") throw new CommandError("the message was not accepted", EXIT.unavailable);
}

function messageText({ to, subject }: { readonly to: string; readonly subject: string }): string {
  return [
    `From: The demo <${SENDER}>`,
    `To: ${to}`,
    `Date: ${formatDate(systemClock.now())}`,
    `Subject: ${subject}`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
    "",
    "Grüße from mailapp.",
    ".This line begins with a dot, and still does.",
    "",
  ].join("\r\n");
}

/** The command line of `deno task` here. */
function taskCommand({ env }: Io): string {
  return env.get("npm_command") === "exec" ? `npx --yes deno@${Deno.version.deno} task` : "deno task";
}

function byHand(
  { places, inbox, laterInbox, ownInbox, config, task }: {
    readonly places: Places;
    readonly inbox: string | undefined;
    readonly laterInbox: string | undefined;
    readonly ownInbox: string;
    readonly config: string;
    readonly task: string;
  },
): string {
  const { here, smtp, serveOut } = places;
  const to = `bob@${NAMES.here}`;
  const dialogue = `     EHLO me.test
     MAIL FROM:<${SENDER}>
     RCPT TO:<${to}>
     DATA
     Subject: By hand

     Hello Bob.
     .
     QUIT`;
  return `
Send the next one yourself. As a program on this machine, through serve-out:
     echo "Hello Bob." | ${task} mailapp sendmail --config ${config} -f ${SENDER} ${to}
     swaks --server 127.0.0.1:${serveOut} --from ${SENDER} --to ${to}
     nc -C 127.0.0.1 ${serveOut}
   and then type as below. Also to bob@${NAMES.later}; to any other domain it fails, since this DNS
   knows none, and a notice says so to ${SENDER}.
As a server from elsewhere, straight to serve-in, typed by hand (-C ends lines with CRLF):
     nc -C ${here} ${smtp}
${dialogue}
   the same over STARTTLS:
     openssl s_client -quiet -crlf -starttls smtp -connect ${here}:${smtp}
Read it:
     cat ${inbox}/new/*
     mutt -f ${inbox}         (for ${NAMES.later}: ${laterInbox})
     cat ${ownInbox}/new/*         (notices)
See the queue, and how a message would be handled:
     ${task} mailapp queue list --config ${config}
     ${task} mailapp explain ${to} --config ${config}

Serving until Ctrl-C. The log:`;
}
