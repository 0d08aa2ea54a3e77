/**
 * `mailapp install`: makes the two servers services of this machine, under systemd.
 *
 * @module
 */
import { lchown } from "node:fs/promises";
import { dirname, join, relative, resolve } from "@std/path";
import type { Command } from "commander";
import type { Config } from "../../config/config.ts";
import { loadConfig } from "../../config/load.ts";
import { configArgument } from "../command_line/config_argument.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import { writeInstalled } from "./installed_files.ts";
import type { Io } from "../../server/io.ts";
import { openMailboxes } from "../../server/parts.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import type { Account } from "../../doctor/checks/storage.ts";
import { accountOf, SERVICE_ACCOUNT } from "../command_line/service_account.ts";
import { runSystemCommand } from "../command_line/system_commands.ts";
import { certbotHookPath, certbotLineage, type InstalledFile, installedFiles } from "./units.ts";

interface Flags {
  readonly config?: string;
  readonly print?: true;
  readonly prefix?: string;
  readonly executable?: string;
}

/** Where the program goes when it lies where services should not run it from. */
const EXECUTABLE = "/usr/local/bin/mailapp";

/** Registers the subcommand. */
export function registerInstall(program: Command, { io, action }: Registrar): void {
  program.command("install")
    .description("write the systemd units, the service account and the directories; overwrites no changes")
    .addOption(configOption())
    .option("--print", "show the files, and write nothing")
    .option("--prefix <directory>", "write below this directory, for the image of another machine")
    .option(
      "--executable <file>",
      `what the services run (default: this file, copied to ${EXECUTABLE})`,
    )
    .addHelpText("after", examples("mailapp install --print", "sudo mailapp install"))
    .action(action((flags: Flags) => install(flags, io)));
}

/** One installation: where to, and whose things are. */
interface Installation {
  readonly config: Config;
  readonly io: Io;
  /** Empty: this machine. */
  readonly prefix: string;
}

async function install(flags: Flags, io: Io): Promise<ExitCode> {
  const named = flags.config ?? (io.env.get("MAILAPP_CONFIG") || undefined);
  const config = await loadConfig(named === undefined ? undefined : resolve(named), { env: io.env });
  const mailRoot = config.serveIn.domains.length === 0 ? dirname(config.dataDir) : openMailboxes(config).root;
  const executable = flags.executable === undefined ? EXECUTABLE : resolve(flags.executable);
  const files = await installedFiles(config, { executable, mailRoot });
  if (flags.print) {
    io.out(files.map(({ path, text }) => `# ── ${path}\n${text}`).join("\n"));
    return EXIT.ok;
  }
  const prefix = flags.prefix === undefined ? "" : resolve(flags.prefix);
  if (prefix === "" && Deno.uid() !== 0) {
    throw new CommandError(
      "install writes below /etc and makes an account: run it as root, or look first with --print",
      EXIT.noPermission,
    );
  }
  const installation: Installation = { config, io, prefix };
  try {
    if (flags.executable === undefined) await placeExecutable(installation);
    await writeFiles(files, installation);
    if (prefix === "") await makeAccount(installation);
    await makeDirectories(mailRoot, installation);
    if (prefix === "") await settleIn(installation);
  } catch (error) {
    if (error instanceof CommandError || !(error instanceof Error)) throw error;
    throw new CommandError(
      `install has stopped: ${error.message}`,
      error instanceof Deno.errors.PermissionDenied ? EXIT.noPermission : EXIT.unavailable,
      { cause: error },
    );
  }
  io.out(nextSteps(installation));
  return EXIT.ok;
}

/** The built file that runs; `undefined` when it runs from source. */
export function builtFile({ env }: Pick<Io, "env">): string | undefined {
  const form = (globalThis as { mailappBuild?: { form: string } }).mailappBuild?.form;
  if (form === undefined) return undefined;
  const path = form === "portable" ? env.get("MAILAPP_SELF") : Deno.execPath();
  return path === undefined ? undefined : Deno.realPathSync(path);
}

async function placeExecutable({ io, prefix }: Installation): Promise<void> {
  const self = builtFile(io);
  const to = prefix + EXECUTABLE;
  if (self === undefined) {
    throw new CommandError(
      "this mailapp runs from source, which services should not: deno task build, then dist/mailapp install",
      EXIT.usage,
    );
  }
  if (await Deno.realPath(to).catch(() => undefined) === self) return;
  await Deno.mkdir(dirname(to), { recursive: true, mode: 0o755 });
  const temporary = `${to}.mailapp-tmp`;
  await Deno.copyFile(self, temporary);
  await Deno.chmod(temporary, 0o755);
  await Deno.rename(temporary, to);
  io.out(`${to}: a copy of ${self}\n`);
}

async function writeFiles(files: readonly InstalledFile[], { io, prefix }: Installation): Promise<void> {
  for (const { path, text, mode } of files) {
    const to = prefix + path;
    const outcome = await writeInstalled({ path: to, text, mode });
    io.out(
      outcome === "kept"
        ? `${to}: kept, as it was changed; what it would be now is in ${to}.new\n`
        : `${to}: ${outcome}\n`,
    );
  }
}

/** The account, by the first of these that is there. */
async function makeAccount({ io, config }: Installation): Promise<void> {
  if (await accountOf("") !== undefined) return;
  const ways = [
    ["systemd-sysusers", "/etc/sysusers.d/mailapp.conf"],
    [
      ...["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", config.dataDir],
      ...["--shell", "/usr/sbin/nologin", "--comment", "mailapp mail server", SERVICE_ACCOUNT],
    ],
  ];
  for (const [program = "", ...args] of ways) {
    const { code, stderr } = await runSystemCommand(program, { args });
    if (code === undefined) continue;
    if (code !== 0) {
      throw new CommandError(`${program} ${args.join(" ")}: ${stderr}`, EXIT.unavailable);
    }
    io.out(`account ${SERVICE_ACCOUNT}: made by ${program}\n`);
    return;
  }
  throw new CommandError(
    `there is neither systemd-sysusers nor useradd here: make an account ${SERVICE_ACCOUNT} with a group of that name`,
    EXIT.unavailable,
  );
}

/** Data, mail and log: for the account and its group. */
async function makeDirectories(mailRoot: string, installation: Installation): Promise<void> {
  const { config, io, prefix } = installation;
  const account = await accountOf(prefix);
  if (account === undefined) io.out("owners of the directories: left to that machine\n");
  const make = async (path: string, options: { readonly mode: number; readonly known?: readonly string[] }) =>
    io.out(`${prefix}${path}: ${await makeDirectory(prefix + path, { ...options, account })}\n`);
  await make(config.dataDir, { mode: 0o750, known: DATA_ROOMS });
  await makeRooms(prefix + config.dataDir, account);
  for (const path of await mailDirectories(mailRoot, installation)) await make(path, { mode: 0o2770 });
  if (config.log.file === undefined) return;
  const logDirectory = dirname(config.log.file);
  if (logDirectory === "/var/log") {
    io.err(`[log] file: give it a directory of its own; ${SERVICE_ACCOUNT} cannot make files in /var/log\n`);
  } else await make(logDirectory, { mode: 0o2750 });
}

/** What `init` and `dkim new` may have made in the data directory as root. */
const DATA_ROOMS = ["dkim", "tls", "incoming", "spool"];

/** Makes a directory, or hands over one that root has prepared; what became of it. */
async function makeDirectory(
  path: string,
  { mode, account, known = [] }: {
    readonly mode: number;
    readonly account: Account | undefined;
    /** What may be in it if it is to be handed over. */
    readonly known?: readonly string[];
  },
): Promise<string> {
  await Deno.mkdir(dirname(path), { recursive: true, mode: 0o755 });
  const isNew = await Deno.mkdir(path).then(() => true, (error) => {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  });
  const { uid, gid } = await Deno.lstat(path);
  const theirs = account === undefined ? !isNew : !isNew && uid === account.uid && gid === account.gid;
  if (theirs) return "there already";
  if (!isNew) {
    if (uid !== 0) return `left as it is, but it belongs to uid ${uid}, not to ${SERVICE_ACCOUNT}`;
    const inside = await Array.fromAsync(Deno.readDir(path), ({ name }) => name);
    const strange = inside.find((name) => !known.includes(name));
    if (strange !== undefined) {
      return `left as it is, with ${strange} in it, but it belongs to root, not to ${SERVICE_ACCOUNT}`;
    }
  }
  if (account !== undefined) await handOver(path, account);
  await Deno.chmod(path, mode);
  return isNew ? "made" : `handed over to ${SERVICE_ACCOUNT}`;
}

/** What each unit hides from the other server; it can only hide what is there when it starts. */
async function makeRooms(dataDir: string, account: Account | undefined): Promise<void> {
  if (account !== undefined && (await Deno.lstat(dataDir)).uid !== account.uid) return;
  for (const room of ["dkim", "incoming", "spool"]) {
    const path = join(dataDir, room);
    try {
      await Deno.mkdir(path, { mode: 0o700 });
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) continue;
      throw error;
    }
    if (account !== undefined) await lchown(path, account.uid, account.gid);
  }
}

/** The root of the Maildirs; where that is a directory of the system, as /var/mail is, what comes below it. */
async function mailDirectories(mailRoot: string, { config, prefix }: Installation): Promise<string[]> {
  if (config.serveIn.domains.length === 0) return [];
  const root = await Deno.stat(prefix + mailRoot).catch(() => undefined);
  const account = await accountOf(prefix);
  if (root === undefined || (account !== undefined && root.uid === account.uid)) return [mailRoot];
  const below = openMailboxes(config).all().flatMap(({ path }) => {
    const [first = "", ...rest] = relative(mailRoot, path).split("/");
    // A Maildir itself, or a home, is not for us to make.
    return rest.length === 0 ? [] : [join(mailRoot, first)];
  });
  return [...new Set(below)];
}

async function handOver(path: string, account: Account): Promise<void> {
  await lchown(path, account.uid, account.gid);
  for await (const { name, isDirectory } of Deno.readDir(path)) {
    const inside = join(path, name);
    if (isDirectory) await handOver(inside, account);
    else await lchown(inside, account.uid, account.gid);
  }
}

/** What the machine must be told. */
async function settleIn({ config, io }: Installation): Promise<void> {
  const lineage = certbotLineage(config);
  if (lineage !== undefined && await Deno.stat(lineage).then(() => true, () => false)) {
    const { code, stderr } = await runSystemCommand(certbotHookPath, {
      args: [],
      env: { RENEWED_LINEAGE: lineage },
    });
    io.out(
      code === 0
        ? `${lineage}: its key can be read by the group ${SERVICE_ACCOUNT}\n`
        : `${certbotHookPath} failed: ${stderr}\n`,
    );
  }
  if (!await Deno.stat("/run/systemd/system").then(() => true, () => false)) {
    io.out("systemd does not run here: it will find the units when it starts\n");
    return;
  }
  const { code, stderr } = await runSystemCommand("systemctl", { args: ["daemon-reload"] });
  if (code !== 0) io.out(`systemctl daemon-reload failed: ${stderr}\n`);
}

function nextSteps({ config, prefix }: Installation): string {
  const servers = config.serveIn.domains.length > 0 ? "mailapp-in mailapp-out" : "mailapp-out";
  const first = servers.split(" ")[0];
  const named = configArgument(config.file);
  return [
    "",
    "Next:",
    `1. See whether all is there that ${SERVICE_ACCOUNT} needs: mailapp check-config${named}`,
    `2. Start them: systemctl enable --now ${servers}`,
    `3. See how they do: systemctl status ${servers}; journalctl -u ${first} -f`,
    ...(prefix === "" && !existsSync("/usr/sbin/sendmail")
      ? ["", `Programs that look for sendmail find it after: ln -s ${EXECUTABLE} /usr/sbin/sendmail`]
      : []),
    "",
  ].join("\n");
}

function existsSync(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
