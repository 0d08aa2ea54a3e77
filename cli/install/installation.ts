/**
 * One installation: on this machine, or in the image of another one.
 *
 * @module
 */
import { dirname, resolve } from "@std/path";
import type { Config } from "../../config/config.ts";
import { DEFAULT_CONFIG_FILE, loadConfig, parseConfig } from "../../config/load.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { allServers } from "../../server/servers.ts";
import { vitalFiles } from "../../server/storage_parts.ts";
import { accountOf, SERVICE_ACCOUNT } from "../command_line/service_account.ts";
import { runSystemCommand } from "../command_line/system_commands.ts";

/** The target of an installation. */
export interface Installation {
  /** Its paths are those of the machine that it is for. */
  readonly config: Config;
  /** Output for the user. */
  readonly io: Io;
  /** What all paths are below; empty: this machine. */
  readonly prefix: string;
}

/**
 * The named configuration, as the machine below `prefix` has it. One that exists only on this machine is copied
 * there, with the keys and passwords that it names.
 * @throws as `loadConfig` of config/load.ts
 */
export async function loadInstalled(
  named: string | undefined,
  { prefix, io }: Omit<Installation, "config">,
): Promise<Config> {
  const path = named === undefined ? undefined : resolve(named);
  if (prefix === "") return await loadConfig(path, { env: io.env });
  const file = path ?? DEFAULT_CONFIG_FILE;
  const hostname = async () =>
    (await Deno.readTextFile(`${prefix}/etc/hostname`).catch(() => "")).trim() || undefined;
  const own = await hostname();
  const there = await Deno.readTextFile(prefix + file).catch(() => undefined);
  const here = await Deno.readTextFile(file).catch(() => undefined);
  const text = there ?? here;
  if (text === undefined) return await loadConfig(path, { env: io.env });
  return parseConfig(text, { file, systemHostname: () => own });
}

/** Copies files named by the configuration from this machine if the image lacks them. */
export async function copyConfigured({ config, io, prefix }: Installation): Promise<void> {
  const servers = (await allServers()).filter((server) => server.isConfigured(config));
  const account = await accountOf(prefix);
  for (const { path } of vitalFiles(config, servers)) {
    const to = prefix + path;
    if (await exists(to)) continue;
    const info = await Deno.stat(path).catch(() => undefined);
    if (info === undefined) {
      io.err(`${to}: missing, and there is no ${path} to copy; the servers need it\n`);
      continue;
    }
    await Deno.mkdir(dirname(to), { recursive: true, mode: 0o755 });
    await Deno.copyFile(path, to);
    const secret = ((info.mode ?? 0) & 0o004) === 0;
    await Deno.chmod(to, secret ? 0o640 : 0o644);
    if (secret && account !== undefined) await Deno.chown(to, 0, account.gid);
    io.out(`${to}: a copy of ${path}\n`);
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

/** Creates the account, with the first available tool. In an image without a passwd file its first boot does so. */
export async function makeAccount({ io, config, prefix }: Installation): Promise<void> {
  if (await accountOf(prefix) !== undefined) return;
  if (prefix !== "" && (Deno.uid() !== 0 || !await exists(`${prefix}/etc/passwd`))) return;
  const inImage = (option: string) => prefix === "" ? [] : [option, prefix];
  const ways = [
    ["systemd-sysusers", ...(prefix === "" ? [] : [`--root=${prefix}`]), "mailapp.conf"],
    [
      ...["useradd", ...inImage("--prefix"), "--system", "--user-group", "--no-create-home"],
      ...["--home-dir", config.dataDir, "--shell", "/usr/sbin/nologin"],
      ...["--comment", "mailapp mail server", SERVICE_ACCOUNT],
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

/** The units of the servers that this configuration has. */
export async function unitNames(config: Config): Promise<string[]> {
  return (await allServers()).filter((server) => server.isConfigured(config)).map(({ unit }) => unit.name);
}

/** Those of them that run on this machine. */
export async function runningUnits(units: readonly string[]): Promise<string[]> {
  const { code, stdout } = await runSystemCommand("systemctl", { args: ["is-active", ...units] });
  if (code === undefined) return [];
  const states = stdout.trim().split("\n");
  return units.filter((_, index) => states[index] === "active");
}
