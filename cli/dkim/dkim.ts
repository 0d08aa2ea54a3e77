/**
 * `mailapp dkim`: makes signing keys, and says what to publish for them.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { type DkimAlgorithm, type DkimKey, loadDkimKey, splitText } from "../../dkim/keys.ts";
import type { Config, DkimConfig } from "../../config/config.ts";
import { DEFAULT_CONFIG_FILE, loadConfig } from "../../config/load.ts";
import { parseDomain } from "../../config/names.ts";
import { systemClock } from "../../base/clock.ts";
import { makeDkimFile } from "./key_files.ts";
import { loadDkimKeys } from "../../server/dkim_parts.ts";
import { describeWide, dkimKeyPaths } from "../../server/rights.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { printJson } from "../command_line/json.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";

interface NewFlags {
  readonly config?: string;
  readonly selector?: string;
  readonly ed25519?: true;
}

interface ShowFlags {
  readonly config?: string;
  readonly json?: true;
}

/** Registers the subcommand and its own subcommands. */
export function registerDkim(program: Command, { io, action }: Registrar): void {
  const dkim = program.command("dkim")
    .description("make the keys that serve-out signs with, and show what to publish for them")
    .addHelpText("after", examples("mailapp dkim new example.com", "mailapp dkim show"));
  dkim.command("new")
    .description("make a key for a domain; changes no configuration, overwrites nothing")
    .argument("<domain>", "the domain in the From field of what is signed", readName)
    .option("--selector <name>", "the name of the record (default: s or e, with year and month)", readName)
    .option("--ed25519", "make an Ed25519 key, to use in addition to RSA")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp dkim new example.com --selector s2027"))
    .action(action((domain: string, flags: NewFlags) => makeNew(domain, { flags, io })));
  dkim.command("show")
    .description("show the DNS records of the keys in the configuration")
    .argument("[domain]", "only of this domain", readName)
    .option("--json", "print JSON: an array, one element for each key")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp dkim show example.com"))
    .action(action((domain: string | undefined, flags: ShowFlags) => show(domain, { flags, io })));
}

function readName(text: string): string {
  const name = parseDomain(text);
  if (name === undefined) throw new InvalidArgumentError("That is not a valid DNS name.");
  return name;
}

async function makeNew(
  domain: string,
  { flags, io }: { readonly flags: NewFlags; readonly io: Io },
): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const algorithm: DkimAlgorithm = flags.ed25519 ? "ed25519-sha256" : "rsa-sha256";
  const selector = flags.selector ?? defaultSelector(algorithm);
  const present = config.dkim[domain] ?? [];
  if (present.some((key) => key.selector === selector)) {
    throw new CommandError(
      `[dkim] has a key for ${domain} with the selector ${selector} already: choose another with --selector`,
      EXIT.usage,
    );
  }
  const keyFile = await makeDkimFile(config, { domain, selector, algorithm });
  const key = await loadDkimKey({ domain, selector, keyFile });
  io.out(instructions(config, { key, keyFile, present }));
  return EXIT.ok;
}

/** The selector of a new key, which tells algorithms and rotations apart: s202611, e202611. */
export function defaultSelector(algorithm: DkimAlgorithm): string {
  const month = new Date(systemClock.now()).toISOString().slice(0, 7).replace("-", "");
  return `${algorithm === "rsa-sha256" ? "s" : "e"}${month}`;
}

function instructions(
  { file }: Config,
  { key, keyFile, present }: {
    readonly key: DkimKey;
    readonly keyFile: string;
    readonly present: readonly DkimConfig[];
  },
): string {
  const { domain, selector, recordName } = key;
  return [
    `Made ${keyFile} (${key.algorithm}). Keep it secret: whoever has it can sign as ${domain}.`,
    "",
    `1. Publish this record in the zone of ${domain}:`,
    "",
    zoneRecord(key),
    "",
    "   In a web form: type TXT, with this name and this value, in one line without quotes:",
    "",
    `${recordName}`,
    `${key.record}`,
    "",
    `2. Once it is published (dig +short TXT ${recordName}), put this into ${file ?? DEFAULT_CONFIG_FILE}:`,
    "",
    "[dkim]",
    configLine(domain, [...present, { selector, keyFile }]),
    "",
    "3. Reload serve-out: systemctl reload mailapp-out, or SIGHUP.",
    ...(present.length === 0 ? [] : [
      "",
      "With several keys each message is signed with each. To retire an old one, remove it here; remove its",
      "record from the zone a week later, when no mail signed with it is in transit any more.",
    ]),
    "",
  ].join("\n");
}

/** The entry of the domain as TOML; several keys one a line. */
function configLine(domain: string, keys: readonly DkimConfig[]): string {
  const tables = keys.map(({ selector, keyFile }) =>
    `{ selector = ${JSON.stringify(selector)}, key = ${JSON.stringify(keyFile)} }`
  );
  const [only] = tables;
  const value = tables.length === 1 ? only : `[\n${tables.map((table) => `  ${table},\n`).join("")}]`;
  return `${JSON.stringify(domain)} = ${value}`;
}

/** The record as a line of a zone file. */
export function zoneRecord({ recordName, record }: Pick<DkimKey, "recordName" | "record">): string {
  const strings = splitText(record).map((text) => `"${text}"`);
  const data = strings.length === 1 ? strings.join() : `(\n  ${strings.join("\n  ")} )`;
  return `${recordName}. IN TXT ${data}`;
}

async function show(
  domain: string | undefined,
  { flags, io }: { readonly flags: ShowFlags; readonly io: Io },
): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const all = await loadDkimKeys(config);
  const keys = all.filter((key) => domain === undefined || key.domain === domain);
  if (flags.json) {
    const shown = keys.map(({ domain, selector, algorithm, recordName, record }) => (
      { domain, selector, algorithm, name: recordName, value: record, strings: splitText(record) }
    ));
    printJson(shown, io);
    return EXIT.ok;
  }
  for (const warning of await describeWide(dkimKeyPaths(config))) io.err(`warning: ${warning}\n`);
  if (keys.length === 0) {
    const whom = domain ?? "any domain";
    throw new CommandError(
      `[dkim] has no key for ${whom}: make one with mailapp dkim new ${domain ?? "DOMAIN"}`,
      EXIT.unavailable,
    );
  }
  io.out(
    keys.map((key) => `; ${key.domain}, selector ${key.selector}, ${key.algorithm}\n${zoneRecord(key)}\n`)
      .join("\n"),
  );
  return EXIT.ok;
}
