/**
 * `mailapp init`: a first configuration, with keys and certificate. Asks on a terminal, else uses its flags.
 *
 * @module
 */
import { constants } from "node:fs";
import { dirname, join, resolve } from "@std/path";
import { type Command, InvalidArgumentError } from "commander";
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/errors.ts";
import { DEFAULT_CONFIG_FILE, parseConfig } from "../../config/load.ts";
import { parseDomain, parseFullyQualified, parseLocalPartOrAddress } from "../../config/names.ts";
import { checkMailboxes } from "../../maildir/mailboxes.ts";
import { silentLogger } from "../../base/log.ts";
import { systemClock } from "../../base/clock.ts";
import { checkAccess, nearestExisting } from "../../storage/check_access.ts";
import { keepSelfSigned } from "../../tls/self_signed.ts";
import { configArgument } from "../command_line/config_argument.ts";
import { defaultSelector } from "../dkim/dkim.ts";
import { lastSelector, makeDkimFile } from "../dkim/key_files.ts";
import { dkimDirectory } from "../../server/dkim_directories.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import { DEFAULT_PATHS, type FirstAnswers, firstConfig } from "./first_config.ts";
import { type Io, unheeded } from "../../server/io.ts";
import { askOnTerminal } from "../command_line/terminal_question.ts";
import { type Ask, parseYesOrNo, Questions } from "./questions.ts";
import { chooseTls, type TlsFlags } from "./tls_answers.ts";
import { openMailboxes, prepareDataDir } from "../../server/parts.ts";
import { examples, type Registrar } from "../command_line/subcommand.ts";
import { errorText } from "../../base/error_text.ts";

interface Flags extends TlsFlags {
  readonly config?: string;
  readonly hostname?: string;
  readonly domain?: readonly string[];
  readonly mailbox?: readonly string[];
  readonly postmaster?: string;
  readonly submission?: boolean;
  readonly listen?: readonly string[];
  readonly port?: number;
  readonly dataDir?: string;
  readonly mailPath?: string;
  readonly yes?: true;
}

/** Registers the subcommand. */
export function registerInit(program: Command, { io, action }: Registrar): void {
  program.command("init")
    .description(
      "write a first configuration, keys and certificate; asks, or takes flags; overwrites nothing",
    )
    .option("--config <file>", `the file to write (default: $MAILAPP_CONFIG, else ${DEFAULT_CONFIG_FILE})`)
    .option(
      "--hostname <name>",
      "the server's full name, as reverse DNS has it",
      checked(parseFullyQualified, WANTED.hostname),
    )
    .option("--domain <name...>", "accept mail for these domains", each(checked(parseDomain, WANTED.domain)))
    .option(
      "--mailbox <name...>",
      'the mailboxes; "system" for those of all users of this machine',
      each(checked(parseMailbox, WANTED.mailbox)),
    )
    .option(
      "--postmaster <mailbox>",
      "who receives mail for postmaster, root and abuse",
      checked(parseMailbox, WANTED.mailbox),
    )
    .option("--cert <file>", "a certificate with its chain, PEM")
    .option("--key <file>", "its key, PEM")
    .option("--self-signed", "make a certificate even if one is found")
    .option("--acme", "get a certificate from Let's Encrypt once DNS leads here: port 80 must be open")
    .option("--no-acme", "get none from there")
    .option(
      "--acme-email <address>",
      "whom Let's Encrypt may write to (default: postmaster)",
      checked(parseEmail, WANTED.email),
    )
    .option("--mta-sts", "promise verified TLS to senders (MTA-STS): port 443 must be open")
    .option("--no-mta-sts", "promise nothing")
    .option("--submission", "configure serve-submit, for mail from phones and computers")
    .option("--no-submission", "leave serve-submit off")
    .option("--listen <address...>", 'where serve-in listens: "auto", "any", an interface, or addresses')
    .option("--port <number>", "the port of serve-in (default: 25)", parsePort)
    .option("--data-dir <directory>", `queue, state, keys (default: ${DEFAULT_PATHS.dataDir})`)
    .option("--mail-path <template>", `the Maildirs (default: ${DEFAULT_PATHS.mailPath})`)
    .option("--yes", "do not ask: use the defaults for what no flag sets")
    .addHelpText(
      "after",
      examples(
        "sudo mailapp init",
        "sudo mailapp init --hostname mx.example.com --domain example.com --mailbox alice bob --yes",
      ),
    )
    .action(action((flags: Flags) => {
      const asks = !flags.yes && Deno.stdin.isTerminal() && Deno.stdout.isTerminal();
      return init(flags, { io, ...(asks && { ask: (question) => askOnTerminal(question, io) }) });
    }));
}

/** The permitted answers. */
const WANTED = {
  hostname: "a full name, such as mx.example.com",
  domain: "a domain, such as example.com",
  mailbox: "a user's name, such as alice, or an address",
  email: "a mail address",
} as const;

const SYSTEM_STANDS_ALONE = "--mailbox system cannot be combined with other mailboxes; use aliases for those";

function checked(parse: (text: string) => string | undefined, wanted: string): (text: string) => string {
  return (text) => {
    const parsed = parse(text);
    if (parsed === undefined) throw new InvalidArgumentError(`It must be ${wanted}.`);
    return parsed;
  };
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw new InvalidArgumentError("It must be a port, 1 to 65535.");
  return port;
}

/** A user's name or address that a Maildir can have, or `system`. */
function parseMailbox(text: string | undefined): string | undefined {
  const name = parseLocalPartOrAddress(text);
  if (name === undefined || name === "system") return name;
  const problems = checkMailboxes({
    path: DEFAULT_PATHS.mailPath,
    domains: [name.includes("@") ? name.slice(name.lastIndexOf("@") + 1) : "example.com"],
    users: [name],
    subaddressSeparator: "+",
    aliases: {},
  });
  return problems.some(({ key }) => key.startsWith("mailboxes.users")) ? undefined : name;
}

function parseEmail(text: string): string | undefined {
  return text.includes("@") ? parseLocalPartOrAddress(text) : undefined;
}

function each(parse: (text: string) => string): (text: string, before: string[] | undefined) => string[] {
  return (text, before = []) => [...before, parse(text)];
}

async function init(
  flags: Flags,
  { ask, ...access }: { readonly io: Io; readonly ask?: Ask },
): Promise<ExitCode> {
  const io = unheeded(access.io);
  const file = resolve(flags.config ?? (io.env.get("MAILAPP_CONFIG") || DEFAULT_CONFIG_FILE));
  await refuseIfThere(file);
  await requireWritable(dirname(file));
  if ((flags.cert === undefined) !== (flags.key === undefined)) {
    throw new CommandError("--cert and --key go together", EXIT.usage);
  }
  const answers = await gather(flags, { io, file, ...(ask && { ask }) });
  // Checked before anything is created, as if the keys existed.
  const config = checkAnswers(answers, file);
  await makeDirectory(dirname(file));
  await prepareDataDir(config);
  const dkim: Record<string, { selector: string; key: string }> = {};
  for (const domain of config.serveIn.domains) {
    const present = await lastSelector(config, domain);
    const selector = present ?? defaultSelector("rsa-sha256");
    const key = join(dkimDirectory(config), `${domain}.${selector}.pem`);
    if (present === undefined) await makeDkimFile(config, { domain, selector, algorithm: "rsa-sha256" });
    io.out(`${key}: ${present === undefined ? "made" : "there already, and used"}\n`);
    dkim[domain] = { selector, key };
  }
  if (answers.certificate === undefined && answers.acme === undefined) await makeCertificate(config, io);
  await writeNew(file, firstConfig({ ...answers, dkim }));
  io.out(`${file}: made\n${nextSteps(file, config)}`);
  return EXIT.ok;
}

async function refuseIfThere(file: string): Promise<void> {
  if (!await Deno.lstat(file).then(() => true, () => false)) return;
  throw new CommandError(
    `${file} already exists, and was not changed: edit it, or name another file with --config`,
    EXIT.usage,
  );
}

/** Called before any question is asked. */
async function requireWritable(directory: string): Promise<void> {
  try {
    await checkAccess(await nearestExisting(directory), constants.W_OK | constants.X_OK);
  } catch (error) {
    throw cannotWrite(directory, error);
  }
}

/** Collects the answers: from the flags, else from the user, else the defaults. */
async function gather(
  flags: Flags,
  { io, file, ask }: { readonly io: Io; readonly file: string; readonly ask?: Ask },
): Promise<FirstAnswers> {
  const question = new Questions(io, ask);
  if (ask !== undefined) {
    io.out(
      `This writes ${file}. Enter accepts the value in brackets; Ctrl-C aborts, and nothing is written.\n\n`,
    );
  }
  const hostname = flags.hostname ?? question.one("This server's full name, as reverse DNS has it", {
    flag: "--hostname",
    preset: parseFullyQualified(Deno.hostname()),
    parse: parseFullyQualified,
    wanted: WANTED.hostname,
  });
  const domains = flags.domain ?? question.several("Domains to accept mail for", {
    flag: "--domain",
    preset: parseFullyQualified(hostname.slice(hostname.indexOf(".") + 1)),
    parse: parseDomain,
    wanted: "domains, such as example.com",
  });
  const names = flags.mailbox ??
    question.several("Mailboxes, such as alice bob; or system for all users of this machine", {
      flag: "--mailbox",
      preset: parseMailbox(io.env.get("SUDO_USER")),
      parse: parseMailbox,
      wanted: "names, such as alice",
    });
  const users = names.length === 1 && names[0] === "system" ? "system" : names;
  if (users !== "system" && users.includes("system")) throw new CommandError(SYSTEM_STANDS_ALONE, EXIT.usage);
  const postmaster = flags.postmaster ?? question.one("Who receives mail for postmaster, root and abuse", {
    flag: "--postmaster",
    preset: users === "system" ? parseMailbox(io.env.get("SUDO_USER")) : users[0],
    parse: (name) => users === "system" || users.includes(name) ? parseMailbox(name) : undefined,
    wanted: "one of the mailboxes",
  });
  const tls = await chooseTls({ hostname, domain: domains[0] ?? hostname }, { flags, question, io });
  const submission = flags.submission ??
    question.one("Will people send mail from phones and computers", {
        flag: "--submission",
        preset: "no",
        parse: parseYesOrNo,
        wanted: "yes or no",
      }) === "yes";
  const own = Deno.uid() === 0 ? DEFAULT_PATHS : {
    dataDir: join(dirname(file), "mailapp-data"),
    mailPath: join(dirname(file), "mail", "{domain}", "{user}"),
  };
  return {
    hostname,
    ...(flags.listen && { listen: flags.listen }),
    ...(flags.port !== undefined && { port: flags.port }),
    domains,
    users,
    postmaster,
    ...tls,
    submission,
    dataDir: flags.dataDir === undefined ? own.dataDir : resolve(flags.dataDir),
    mailPath: flags.mailPath === undefined ? own.mailPath : resolve(flags.mailPath),
    dkim: {},
  };
}

/** Builds and checks the configuration of the answers. */
function checkAnswers(answers: FirstAnswers, file: string): Config {
  try {
    const config = parseConfig(firstConfig(answers), { file });
    openMailboxes(config);
    return config;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const problems = error.issues.map(({ key, value, problem }) =>
      `${key}${value === undefined ? "" : ` = ${value}`}: ${problem}`
    );
    throw new CommandError(`invalid configuration; nothing was written\n${problems.join("\n")}`, EXIT.usage, {
      cause: error,
    });
  }
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** Makes it now, so that its fingerprint can be published; if the service owns the directory, the service makes it. */
async function makeCertificate(config: Config, io: Io): Promise<void> {
  const { dataDir, hostname } = config;
  if ((await Deno.stat(dataDir)).uid !== Deno.uid()) {
    io.out(`${dataDir}: not ours; serve-in makes its certificate when it starts\n`);
    return;
  }
  const { cert } = await keepSelfSigned({ dataDir, hostname, clock: systemClock, logger: silentLogger });
  io.out(`${cert}: a self-signed certificate; mail to this server is encrypted\n`);
}

async function writeNew(file: string, text: string): Promise<void> {
  try {
    await Deno.writeTextFile(file, text, { createNew: true, mode: 0o644 });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) await refuseIfThere(file);
    throw cannotWrite(file, error);
  }
}

function cannotWrite(path: string, error: unknown): CommandError {
  const denied = error instanceof Deno.errors.PermissionDenied ||
    (error as { code?: unknown }).code === "EACCES";
  const reason = errorText(error);
  return new CommandError(
    denied
      ? `${path}: this account cannot write there: run init as root, or name another place with --config`
      : `${path}: ${reason}`,
    denied ? EXIT.noPermission : EXIT.unavailable,
    { cause: error },
  );
}

function nextSteps(file: string, config: Config): string {
  const named = configArgument(file);
  const { serveIn: { domains }, serveSubmit, servePolicy, tls: { acme } } = config;
  const units = ["mailapp-in", "mailapp-out", ...(serveSubmit ? ["mailapp-submit"] : [])];
  const servers = ["serve-in", "serve-out", ...(serveSubmit ? ["serve-submit"] : [])];
  const isRoot = Deno.uid() === 0;
  const start = isRoot
    ? `mailapp install${named} && systemctl enable --now ${units.join(" ")}`
    : servers.map((server) => `mailapp ${server}${named}`).join(" and ");
  const further = [
    ...(servePolicy === undefined ? [] : [isRoot ? "mailapp-policy" : `mailapp serve-policy${named}`]),
    ...(acme !== undefined && isRoot ? ["mailapp-certificate.timer"] : []),
  ];
  const steps = [
    `Look through the file, then: mailapp check-config${named}`,
    `Start the servers: ${start}`,
    `Publish the records in the zone of ${
      domains.join(", ")
    }: mailapp dns${named}; then: mailapp doctor${named}`,
    ...(acme === undefined ? [] : [
      `When others can see the records, get the certificate: mailapp certificate obtain${named}`,
    ]),
    ...(further.length === 0 ? [] : [
      isRoot ? `Then: systemctl enable --now ${further.join(" ")}` : `Then: ${further.join(" and ")}`,
    ]),
    ...(serveSubmit === undefined ? [] : [
      `Give each person a password: mailapp account add LOGIN${named}; what to type into a mail program: ` +
      `mailapp account show LOGIN${named}`,
    ]),
  ];
  return ["", "Next:", ...steps.map((step, index) => `${index + 1}. ${step}`), ""].join("\n");
}
