/**
 * `mailapp config`: shows settings of the configuration.
 *
 * @module
 */
import type { Command } from "commander";
import { parse, type TomlTable, type TomlValue } from "smol-toml";
import { withoutByteOrderMark } from "../../base/text_file.ts";
import type { Config } from "../../config/config.ts";
import { defaultSettings, EXAMPLE, knownSettings } from "../../config/example.ts";
import { loadConfig } from "../../config/load.ts";
import { nearest } from "../../config/nearest.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { differing, isTable, keyParts, merged, settingsText, SWITCHES, toToml, valueOf } from "./settings.ts";

interface Flags {
  readonly config?: string;
  readonly example?: true;
  readonly defaults?: true;
}

/** Tables whose keys are names of the user's own. */
const OPEN_TABLES = [
  "mailboxes.aliases",
  "serve-out.routes",
  "serve-out.tls_policy",
  "serve-submit.send_as",
  "dkim",
];

/** Registers the subcommand and its own subcommand. */
export function registerConfig(program: Command, { io, action }: Registrar): void {
  const command = program.command("config")
    .description("show the settings that differ from the defaults, all defaults, or one setting")
    .option("--example", "print config.example.toml: every key, its default and the reason")
    .option("--defaults", "print every key that has a default, with its value")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp config", "mailapp config get serve-in.max_message_size"))
    .action(action((flags: Flags) => show(flags, io)));
  command.command("get")
    .description("print the value of a setting, or its default if it is not set")
    .argument("<key>", "the key as TOML writes it, such as hostname, serve-in.port or mailboxes.aliases")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp config get hostname", "mailapp config get serve-out.retry"))
    .action(
      action((key: string, _: unknown, command: Command) =>
        get(key, { flags: command.optsWithGlobals<Flags>(), io })
      ),
    );
}

async function show(flags: Flags, io: Io): Promise<ExitCode> {
  if (flags.example && flags.defaults) {
    throw new CommandError("config: --example and --defaults exclude each other", EXIT.usage);
  }
  if (flags.example) io.out(EXAMPLE);
  else if (flags.defaults) io.out(settingsText(differing(defaultSettings(), {})));
  else {
    const { settings } = await readSettings(flags, io);
    io.out(settingsText(differing(settings, defaultSettings())));
  }
  return EXIT.ok;
}

/** `config get`: text without quotes, as scripts want it; all else as TOML writes it. */
async function get(
  key: string,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const parts = keyParts(key);
  const known = knownSettings();
  if (parts === undefined || !isKnown(parts, known)) {
    const meant = nearest(key, keysOf(known));
    throw new CommandError(
      `config get: unknown key ${key}; ${meant ? `did you mean ${meant}?` : "see mailapp config --example"}`,
      EXIT.usage,
    );
  }
  const { settings, config } = await readSettings(flags, io);
  const value = valueOf(effective(settings, config), parts);
  if (value === undefined) {
    const absent = SWITCHES.find((name) =>
      key.startsWith(`${name}.`) && valueOf(settings, name.split(".")) === undefined
    );
    const why = absent === undefined ? "it is not set, and has no default" : `it needs a table [${absent}]`;
    throw new CommandError(`config get: ${key}: ${why}`, EXIT.unavailable);
  }
  const text = typeof value === "string" ? value : toToml(value);
  io.out(text === "" && isTable(value) ? "" : `${text}\n`);
  return EXIT.ok;
}

/** The settings of the file, which must be valid; and what they mean. */
async function readSettings(
  { config: file }: Flags,
  io: Io,
): Promise<{ settings: TomlTable; config: Config }> {
  const config = await loadConfig(file, { env: io.env });
  const text = config.file === undefined ? undefined : await Deno.readTextFile(config.file).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  return { settings: text === undefined ? {} : parse(withoutByteOrderMark(text)), config };
}

/** With defaults, and those that depend on the system or on other settings. */
function effective(settings: TomlTable, { hostname, serveOut }: Config): TomlTable {
  let all = merged(settings, defaultSettings());
  const known = knownSettings();
  for (const name of SWITCHES) {
    const parts = name.split(".");
    const table = valueOf(known, parts);
    // The server of a policy has one, whether or not its own table is there.
    const given = valueOf(settings, parts) ??
      (name === "mta_sts" && settings["serve-policy"] !== undefined ? {} : undefined);
    if (!isTable(given) || !isTable(table)) continue;
    // These have no default; the example shows their form.
    const { send_as: _send, dns: _dns, ...defaults } = table;
    const inside = parts.reduceRight<TomlTable>(
      (value, part) => ({ [part]: value }),
      merged(given, defaults),
    );
    all = merged(inside, all);
  }
  const out = isTable(all["serve-out"]) ? all["serve-out"] : {};
  return { ...all, hostname, "serve-out": { ...out, qualify_domain: serveOut.qualifyDomain } };
}

function isKnown(parts: readonly string[], known: TomlTable): boolean {
  if (valueOf(known, parts) !== undefined) return true;
  return OPEN_TABLES.some((table) => {
    const names = table.split(".");
    return parts.length > names.length && names.every((name, index) => parts[index] === name);
  });
}

/** All keys, with those of the tables that they are in. */
function keysOf(table: TomlTable, prefix = ""): string[] {
  return Object.entries(table).flatMap(([name, value]: [string, TomlValue]) => {
    const key = `${prefix}${name}`;
    return isTable(value) && !OPEN_TABLES.includes(key) ? [key, ...keysOf(value, `${key}.`)] : [key];
  });
}
