/**
 * `deno task demo`: the product from nothing, on loopback. A development tool, so it is not in `--help`.
 *
 * @module
 */
import { basename, join, relative } from "@std/path";
import type { Command } from "commander";
import type { LogFields, LogLevel } from "../observe/log.ts";
import { formatText } from "../observe/log_format.ts";
import { SmtpClient } from "../smtp/client.ts";
import { systemClock } from "../smtp/clock.ts";
import { ConnTransport } from "../smtp/conn_transport.ts";
import { clientUpgrade } from "../tls/client_upgrade.ts";
import { CommandError, EXIT, type ExitCode } from "./exit_codes.ts";
import type { Io } from "./io.ts";
import { examples, type Registrar } from "./subcommand.ts";

/** Enters the command. */
export function registerDemo(program: Command, { io, action }: Registrar): void {
  program.command("demo", { hidden: true })
    .description("everything from nothing, on loopback high ports, under ./demo-data")
    .option("--once", "end after the first delivery")
    .addHelpText("after", examples("deno task demo", "deno task demo -- --once"))
    .action(action((options: { once?: true }) => demo(io, { once: options.once === true })));
}

const DOMAIN = "demo.test";
const HOSTNAME = `mx.${DOMAIN}`;
const USERS = ["alice", "bob"];
const STARTUP_PATIENCE = 60_000;

async function demo(io: Io, { once }: { readonly once: boolean }): Promise<ExitCode> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) io.onSignal(signal, () => stop.abort());
  const say = (text = "") => io.out(`${text}\n`);

  const directory = join(Deno.cwd(), "demo-data");
  const short = (path: string) => `./${relative(Deno.cwd(), path)}`;
  const places = choosePlaces();
  const configFile = join(directory, "config.toml");
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeTextFile(configFile, configText({ directory, ...places }));
  say(`1. A configuration: ${short(configFile)}, mail for ${DOMAIN}, mailboxes ${USERS.join(" and ")}.`);

  await using server = startServer(configFile);
  stop.signal.addEventListener("abort", () => server.stop());
  const listeners = await server.ready;
  say("2. serve-in is up, as a process of its own:");
  for (const { address, port, tls } of listeners) say(`     ${address} port ${port}, ${tls}`);
  const target = listeners.find(({ tls, address }) => tls === "starttls" && !address.includes(":"));
  if (target === undefined) throw new CommandError("serve-in offers no STARTTLS", EXIT.unavailable);

  const mailbox = join(directory, "mail", DOMAIN, "alice", "new");
  const before = new Set(await entries(mailbox));
  say("3. A message for alice, over STARTTLS:");
  await sendMessage(target, say);
  const added = (await entries(mailbox)).filter((name) => !before.has(name));
  const [name] = added;
  if (name === undefined || added.length !== 1) {
    throw new CommandError(`${mailbox} has ${added.length} new files; one was sent`, EXIT.software);
  }
  say(`4. Stored as ${short(join(mailbox, name))}:`);
  const stored = await Deno.readTextFile(join(mailbox, name));
  for (const line of stored.trimEnd().split("\n")) say(`     ${line}`);
  if (once) {
    await server.stop();
    return EXIT.ok;
  }

  say(byHand(target, { mailbox: short(join(directory, "mail", DOMAIN, "bob")) }));
  server.showLog(say);
  const code = await server.ended;
  return stop.signal.aborted && code === 0 ? EXIT.ok : EXIT.software;
}

interface Places {
  readonly addresses: readonly string[];
  readonly port: number;
  readonly tlsPort: number;
}

/** The addresses of loopback that are there, and two ports that are free on all of them; 0 where the usual are not. */
function choosePlaces(): Places {
  const canBind = (hostname: string, port: number) => {
    try {
      Deno.listen({ hostname, port }).close();
      return true;
    } catch {
      return false;
    }
  };
  const addresses = ["127.0.0.1", "::1"].filter((address) => canBind(address, 0));
  const free = (port: number) => addresses.every((address) => canBind(address, port)) ? port : 0;
  return { addresses, port: free(2525), tlsPort: free(2465) };
}

function configText(options: Places & { readonly directory: string }): string {
  const { directory, addresses, port, tlsPort } = options;
  const quoted = JSON.stringify;
  return `# Written by "deno task demo", anew each time.
hostname = ${quoted(HOSTNAME)}
data_dir = ${quoted(join(directory, "state"))}

[log]
format = "json"

[tls]
self_signed = true

[serve-in]
listen = ${quoted(addresses)}
port = ${port}
tls_port = ${tlsPort}
domains = [${quoted(DOMAIN)}]
min_free_space = "16MiB"

[mailboxes]
path = ${quoted(join(directory, "mail", "{domain}", "{user}"))}
users = ${quoted(USERS)}

[mailboxes.aliases]
postmaster = "alice"
`;
}

interface ListenerEvent {
  readonly address: string;
  readonly port: number;
  readonly tls: string;
}

/** `mailapp serve-in` as a child process, whose log is read. */
function startServer(configFile: string) {
  const main = new URL("../main.ts", import.meta.url).href;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--frozen", "--no-prompt", main, "serve-in", "--config", configFile],
    stdin: "null",
    stderr: "piped",
  }).spawn();
  const { promise: ready, resolve, reject } = Promise.withResolvers<ListenerEvent[]>();
  const listeners: ListenerEvent[] = [];
  const early: string[] = [];
  let show: (line: string) => void = (line) => early.push(line);
  const startup = setTimeout(
    () => reject(new CommandError("serve-in does not start", EXIT.unavailable)),
    STARTUP_PATIENCE,
  );

  const reading = (async () => {
    let rest = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const event = parseEvent(line);
        if (event?.["event"] === "listener.ready") listeners.push(event as unknown as ListenerEvent);
        if (event?.["event"] === "server.ready") resolve(listeners);
        show(event === undefined ? line : readable(event));
      }
    }
  })();
  const ended = Promise.all([child.status, reading]).then(([{ code }]) => {
    clearTimeout(startup);
    reject(new CommandError(`serve-in ended with exit code ${code}:\n${early.join("\n")}`, EXIT.unavailable));
    return code;
  });
  ready.then(() => clearTimeout(startup), () => {});

  let running = true;
  ended.then(() => running = false);
  const stop = async () => {
    if (running) child.kill("SIGTERM");
    return await ended;
  };
  return {
    ready,
    ended,
    stop,
    /** Hands on what the server logs from now on. */
    showLog(to: (line: string) => void) {
      show = to;
    },
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

function parseEvent(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** An event as serve-in would write it on a terminal. */
function readable({ time, level, event, ...fields }: Record<string, unknown>): string {
  return formatText({
    time: Date.parse(String(time)),
    level: level as LogLevel,
    event: String(event),
    fields: fields as LogFields,
  });
}

async function sendMessage({ address, port }: ListenerEvent, say: (line: string) => void): Promise<void> {
  const conn = await Deno.connect({ hostname: address, port });
  const client = new SmtpClient(new ConnTransport(conn, { clock: systemClock }), {
    hostname: `client.${DOMAIN}`,
    clock: systemClock,
    timeouts: { command: 10_000, data: 10_000, dataEnd: 30_000 },
    onLine: (side, line) => say(`     ${side}: ${line}`),
  });
  await client.greeting();
  await client.hello();
  // The certificate is self-signed: it keeps readers out, and says nothing about who serves.
  const { tls } = await client.startTls((plain) =>
    clientUpgrade(plain, { servername: HOSTNAME, verify: false })
  );
  if (tls !== undefined) say(`     (now over ${tls.protocol}, ${tls.cipher})`);
  await client.hello();
  const data = new TextEncoder().encode(messageText());
  const { recipients } = await client.send({
    reversePath: `demo@client.${DOMAIN}`,
    recipients: [{ address: `alice@${DOMAIN}` }],
    size: data.length,
    eightBit: true,
    smtputf8: false,
    chunks: async function* () {
      yield data;
    },
  });
  await client.quit();
  const [result] = recipients;
  if (tls === undefined || result?.kind !== "relayed") {
    throw new CommandError("the message was not accepted", EXIT.unavailable);
  }
}

function messageText(): string {
  return [
    `From: The demo <demo@client.${DOMAIN}>`,
    `To: alice@${DOMAIN}`,
    `Date: ${new Date().toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <${crypto.randomUUID()}@client.${DOMAIN}>`,
    "Subject: It works",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
    "",
    "Grüße from mailapp.",
    ".This line begins with a dot, and still does.",
    "",
  ].join("\r\n");
}

async function entries(directory: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => basename(name));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function byHand({ address, port }: ListenerEvent, { mailbox }: { readonly mailbox: string }): string {
  const at = `${address} ${port}`;
  return `
Send the next one yourself. In the clear, typed by hand (-C ends lines with CRLF):
     nc -C ${at}
     EHLO me.test
     MAIL FROM:<me@me.test>
     RCPT TO:<bob@${DOMAIN}>
     DATA
     Subject: By hand

     Hello Bob.
     .
     QUIT
The same over STARTTLS:
     openssl s_client -quiet -crlf -starttls smtp -connect ${address}:${port}
Or with a program:
     swaks --server ${address}:${port} --tls --from me@me.test --to bob@${DOMAIN}
Read it:
     cat ${mailbox}/new/*
     mutt -f ${mailbox}

Serving until Ctrl-C. The log:`;
}
