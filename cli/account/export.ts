/**
 * `mailapp account export`: accounts and settings for other programs.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { MAX_PASSWORDS } from "../../accounts/account.ts";
import { loadConfig } from "../../config/load.ts";
import { normalizeDomain } from "../../net/domain_name.ts";
import { requireConfigFile } from "../../server/config_file.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { requireDomains } from "../../server/parts.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { printable } from "../command_line/terminal.ts";
import { newMailboxLogin, readLogin } from "./login.ts";
import { autoconfigXml, mailSettings, mobileConfig } from "./settings.ts";
import { AccountStore } from "./store.ts";

interface Flags {
  readonly config?: string;
  readonly nth?: number;
  readonly imapHost?: string;
}

/** Registers the subcommand. */
export function registerExport(account: Command, { io, action }: Pick<Registrar, "io" | "action">): void {
  account.command("export")
    .description(
      "print accounts for Dovecot (dovecot), or settings for mail programs (autoconfig; mobileconfig of one login)",
    )
    .argument("<what>", "dovecot, autoconfig or mobileconfig", readWhat)
    .argument("[login]", "for mobileconfig")
    .option(
      "--nth <number>",
      "dovecot: which password of each account (2 is the second, and so on); a file holds one each",
      readNth,
    )
    .option("--imap-host <name>", "autoconfig, mobileconfig: the IMAP server (default: hostname)", readHost)
    .addOption(configOption())
    .addHelpText(
      "after",
      examples(
        "mailapp account export dovecot | install -g dovecot -m 640 /dev/stdin /etc/dovecot/users",
        "mailapp account export autoconfig >config-v1.1.xml",
        "mailapp account export mobileconfig alice@example.com >alice.mobileconfig",
      ),
    )
    .action(
      action((what: What, login: string | undefined, flags: Flags) => exportAs(what, { login, flags, io })),
    );
}

const WHATS = ["dovecot", "autoconfig", "mobileconfig"] as const;
type What = typeof WHATS[number];

function readWhat(text: string): What {
  const what = WHATS.find((one) => one === text);
  if (what === undefined) throw new InvalidArgumentError(`Allowed are ${WHATS.join(", ")}.`);
  return what;
}

function readNth(text: string): number {
  if (!/^\d{1,2}$/.test(text) || Number(text) < 1 || Number(text) > MAX_PASSWORDS) {
    throw new InvalidArgumentError(`Allowed are 1 to ${MAX_PASSWORDS}.`);
  }
  return Number(text);
}

function readHost(text: string): string {
  const host = normalizeDomain(text);
  if (host === undefined) throw new InvalidArgumentError("That is not a host name.");
  return host;
}

async function exportAs(
  what: What,
  { login: name, flags, io }: { readonly login: string | undefined; readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  requireConfigFile(config, "account export");
  requireDomains(config);
  if ((what === "mobileconfig") !== (name !== undefined)) {
    throw new CommandError(
      what === "mobileconfig"
        ? "account export mobileconfig: name a login"
        : `account export ${what} takes no login`,
      EXIT.usage,
    );
  }
  const settings = mailSettings(config, flags);
  if (what === "autoconfig") {
    io.out(autoconfigXml(settings, config.serveIn.domains));
    return EXIT.ok;
  }
  if (name !== undefined && config.serveSubmit?.dovecotSocket !== undefined) {
    io.out(mobileConfig(settings, newMailboxLogin(config, name)));
    return EXIT.ok;
  }
  const accounts = await (await AccountStore.open(config)).read();
  if (name === undefined) {
    for (const { login, disabled, passwords } of accounts) {
      const password = passwords[(flags.nth ?? 1) - 1];
      // A colon separates the fields; no mailbox of ours has one.
      if (!disabled && password !== undefined && !login.includes(":")) {
        io.out(`${login}:{ARGON2ID}${password.argon2id}\n`);
      }
    }
    return EXIT.ok;
  }
  const login = readLogin(config, { name, accounts });
  if (!accounts.some((one) => one.login === login)) {
    throw new CommandError(`${printable(login)} has no account`, EXIT.unavailable);
  }
  io.out(mobileConfig(settings, login));
  return EXIT.ok;
}
