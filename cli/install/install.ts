/**
 * `mailapp install`: installs the servers as systemd services.
 *
 * @module
 */
import { dirname, resolve } from "@std/path";
import type { Command } from "commander";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import { type Io, unheeded } from "../../server/io.ts";
import { openMailboxes } from "../../server/parts.ts";
import { configArgument } from "../command_line/config_argument.ts";
import { SERVICE_ACCOUNT } from "../command_line/service_account.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { runSystemCommand } from "../command_line/system_commands.ts";
import { makeDirectories } from "./directories.ts";
import {
  copyConfigured,
  type Installation,
  loadInstalled,
  makeAccount,
  runningUnits,
  unitNames,
} from "./installation.ts";
import { removeInstalled, writeInstalled } from "./installed_files.ts";
import { DASHBOARD_UNIT } from "./dashboard_unit.ts";
import { COPIED_EXECUTABLE, isOfPackage, isPackaged, PACKAGED_EXECUTABLE, packagedPath } from "./package.ts";
import { certbotHookPath, certbotLineage, type InstalledFile, installedFiles } from "./units.ts";

interface Flags {
  readonly config?: string;
  readonly print?: true;
  readonly prefix?: string;
  readonly executable?: string;
}

/** Registers the subcommand. */
export function registerInstall(program: Command, { io, action }: Registrar): void {
  program.command("install")
    .description(
      "create the systemd units, the service account and the directories; keeps files that you have changed",
    )
    .addOption(configOption())
    .option("--print", "only show the files")
    .option("--prefix <directory>", "write below this directory, for the image of another machine")
    .option(
      "--executable <file>",
      `what the services run (default: this file, copied to ${COPIED_EXECUTABLE} unless a package has it)`,
    )
    .addHelpText("after", examples("mailapp install --print", "sudo mailapp install"))
    .action(action((flags: Flags) => install(flags, io)));
}

async function install(flags: Flags, io: Io): Promise<ExitCode> {
  const prefix = flags.prefix === undefined ? "" : resolve(flags.prefix);
  const named = flags.config ?? (io.env.get("MAILAPP_CONFIG") || undefined);
  const config = await loadInstalled(named, { prefix, io });
  const mailRoot = config.serveIn.domains.length === 0 ? dirname(config.dataDir) : openMailboxes(config).root;
  const executable = flags.executable === undefined
    ? isPackaged(builtFile(io)) ? PACKAGED_EXECUTABLE : COPIED_EXECUTABLE
    : resolve(flags.executable);
  const files = await installedFiles(config, { executable, mailRoot });
  if (flags.print) {
    io.out(files.map(({ path, text }) => `# ── ${path}\n${text}`).join("\n"));
    return EXIT.ok;
  }
  if (prefix === "" && Deno.uid() !== 0) {
    throw new CommandError(
      "install writes below /etc and makes an account: run it as root, or look first with --print",
      EXIT.noPermission,
    );
  }
  const installation: Installation = { config, io: unheeded(io), prefix };
  try {
    if (executable === COPIED_EXECUTABLE) await placeExecutable(installation);
    await writeFiles(files, installation);
    await makeAccount(installation);
    await makeDirectories(mailRoot, installation);
    // After the directories have their modes.
    if (prefix !== "") await copyConfigured(installation);
    if (prefix === "") await finishInstall(installation);
  } catch (error) {
    if (error instanceof CommandError || !(error instanceof Error)) throw error;
    throw new CommandError(
      `install has stopped: ${error.message}`,
      error instanceof Deno.errors.PermissionDenied ? EXIT.noPermission : EXIT.unavailable,
      { cause: error },
    );
  }
  io.out(await nextSteps(installation, executable));
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
  const to = prefix + COPIED_EXECUTABLE;
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
    if (await isOfPackage(path, { text, prefix }) && await removeInstalled(to)) {
      io.out(`${prefix}${packagedPath(path)}: as the package has it\n`);
      continue;
    }
    const outcome = await writeInstalled({ path: to, text, mode });
    io.out(
      outcome === "kept"
        ? `${to}: kept, because it was changed; the new version is in ${to}.new\n`
        : `${to}: ${outcome}\n`,
    );
  }
}

/** The last steps on this machine: runs certbot's hook, and reloads systemd. */
async function finishInstall({ config, io }: Installation): Promise<void> {
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
    io.out("systemd does not run here: it finds the units when it starts\n");
    return;
  }
  const { code, stderr } = await runSystemCommand("systemctl", { args: ["daemon-reload"] });
  if (code !== 0) io.out(`systemctl daemon-reload failed: ${stderr}\n`);
}

async function nextSteps({ config, prefix }: Installation, executable: string): Promise<string> {
  const units = await unitNames(config);
  const timers = [
    ...(config.tls.acme === undefined ? [] : ["mailapp-certificate.timer"]),
    ...(config.dashboard.installed ? [`${DASHBOARD_UNIT}.service`] : []),
  ];
  const servers = units.join(" ");
  const named = configArgument(config.file);
  const link = `ln -s ${executable} ${prefix}/usr/sbin/sendmail`;
  const sendmail = existsSync(`${prefix}/usr/sbin/sendmail`)
    ? []
    : ["", `Programs that look for sendmail find it after: ${link}`];
  if (prefix !== "") {
    return [
      "",
      "Next:",
      `1. Enable them in the image: systemctl --root=${prefix} enable ${[...units, ...timers].join(" ")}`,
      `2. On the machine, check that ${SERVICE_ACCOUNT} has all it needs: mailapp check-config${named}`,
      ...sendmail,
      "",
    ].join("\n");
  }
  const running = await runningUnits(units);
  const others = [...units.filter((unit) => !running.includes(unit)), ...timers];
  const start = [
    ...(running.length === 0 ? [] : [`systemctl restart ${running.join(" ")}`]),
    ...(others.length === 0 ? [] : [`systemctl enable --now ${others.join(" ")}`]),
  ].join("; ");
  return [
    "",
    "Next:",
    `1. Check that ${SERVICE_ACCOUNT} has all it needs: mailapp check-config${named}`,
    `2. ${running.length === 0 ? "Start them" : "Restart them with this version and these units"}: ${start}`,
    `3. Watch them: systemctl status ${servers}; journalctl -u ${units[0]} -f`,
    ...sendmail,
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
