/**
 * `mailapp account`: who may log in to serve-submit.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { type Account, MAIN_PASSWORD } from "../../accounts/account.ts";
import { systemClock } from "../../base/clock.ts";
import type { Config } from "../../config/config.ts";
import { DEFAULT_CONFIG_FILE, loadConfig } from "../../config/load.ts";
import { requireConfigFile } from "../../server/config_file.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { requireDomains } from "../../server/parts.ts";
import { JsonArray, moment, printJson } from "../command_line/json.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { count, printable, showTime } from "../command_line/terminal.ts";
import { registerExport } from "./export.ts";
import { newMailboxLogin, readLogin } from "./login.ts";
import { makeAppPassword, makeMainPassword, newAccount, readPassword } from "./passwords.ts";
import { describeSettings, mailSettings } from "./settings.ts";
import { AccountStore } from "./store.ts";

interface Flags {
  readonly config?: string;
  readonly json?: true;
  readonly passwordStdin?: true;
  readonly remove?: string;
  readonly dryRun?: true;
}

interface Context {
  readonly flags: Flags;
  readonly io: Io;
}

/** Registers the subcommand and its own subcommands. */
export function registerAccount(program: Command, { io, action }: Registrar): void {
  const account = program.command("account")
    .description("manage the logins of serve-submit, the server for mail programs")
    .addHelpText(
      "after",
      examples(
        "mailapp account add alice@example.com",
        "mailapp account app-password alice@example.com phone",
      ),
    );
  const enter = (name: string, description: string) =>
    account.command(name).description(description).option("--json", "print JSON").addOption(configOption());
  const login =
    "a mailbox of this server, such as alice@example.com; the domain is optional if there is only one";
  enter("add", "add an account for a mailbox; unless a password is given, one is generated and shown once")
    .argument("<login>", login)
    .option("--password-stdin", "read the password from the first line of standard input")
    .addHelpText("after", examples("mailapp account add alice@example.com"))
    .action(action((name: string, flags: Flags) => add(name, { flags, io })));
  enter("password", "change an account's password; its app passwords stay")
    .argument("<login>", login)
    .option("--password-stdin", "read the password from the first line of standard input")
    .addHelpText("after", examples("mailapp account password alice@example.com"))
    .action(action((name: string, flags: Flags) => changePassword(name, { flags, io })));
  enter("app-password", "add a password for one device, shown once; or remove one")
    .argument("<login>", login)
    .argument("[label]", "a label for it, such as phone", readLabel)
    .option("--remove <label>", "remove the password with this label or id")
    .option("--dry-run", "with --remove: only say what would be removed")
    .addHelpText(
      "after",
      examples(
        "mailapp account app-password alice@example.com phone",
        "mailapp account app-password alice@example.com --remove phone",
      ),
    )
    .action(
      action((name: string, label: string | undefined, flags: Flags) =>
        appPassword(name, { label, flags, io })
      ),
    );
  enter("list", "list the accounts")
    .addHelpText("after", examples("mailapp account list"))
    .action(action((flags: Flags) => list({ flags, io })));
  enter("show", "show an account, and the settings to enter in a mail program")
    .argument("<login>", login)
    .addHelpText("after", examples("mailapp account show alice@example.com"))
    .action(action((name: string, flags: Flags) => show(name, { flags, io })));
  enter("disable", "block logins to an account until it is enabled; its passwords stay")
    .argument("<login>", login)
    .addHelpText("after", examples("mailapp account disable alice@example.com"))
    .action(action((name: string, flags: Flags) => setDisabled(name, { disabled: true, flags, io })));
  enter("enable", "allow logins to an account again")
    .argument("<login>", login)
    .addHelpText("after", examples("mailapp account enable alice@example.com"))
    .action(action((name: string, flags: Flags) => setDisabled(name, { disabled: false, flags, io })));
  enter("remove", "remove an account with its passwords; the mailbox stays")
    .argument("<login>", login)
    .option("--dry-run", "only say what would be removed")
    .addHelpText("after", examples("mailapp account remove alice@example.com"))
    .action(action((name: string, flags: Flags) => remove(name, { flags, io })));
  registerExport(account, { io, action });
}

const MAX_LABEL = 100;

function readLabel(text: string): string {
  const label = text.trim();
  if (label === "" || label.length > MAX_LABEL || /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(label)) {
    throw new InvalidArgumentError(`Allowed is text in one line, up to ${MAX_LABEL} characters.`);
  }
  return label;
}

async function load({ flags, io }: Context): Promise<Config> {
  const config = await loadConfig(flags.config, { env: io.env });
  requireConfigFile(config, "account");
  requireDomains(config);
  return config;
}

function now(): Date {
  return new Date(systemClock.now());
}

/** An account as `--json` prints it, without hashes. */
function jsonOf({ login, disabled, created, passwords }: Account): object {
  return {
    login,
    disabled,
    created_at: moment(Date.parse(created)),
    passwords: passwords.map(({ id, label, created }) => ({
      id,
      ...(label !== "" && { label }),
      created_at: moment(Date.parse(created)),
    })),
  };
}

function print(value: object, { io }: Context): ExitCode {
  printJson(value, io);
  return EXIT.ok;
}

/** Prints a generated password; one that was given is known already. */
function tellPassword(
  { account, id, made }: { account: Account; id: string; made?: string },
  context: Context,
): ExitCode {
  const { flags, io } = context;
  const secret = made !== undefined && { password: made };
  if (flags.json) return print({ ...jsonOf(account), id, ...secret }, context);
  if (made !== undefined) io.out(`password: ${made}\n(shown only once; only a hash is stored)\n`);
  io.out(`Settings for mail programs: mailapp account show ${account.login}\n`);
  return EXIT.ok;
}

async function add(name: string, context: Context): Promise<ExitCode> {
  const { flags, io } = context;
  const config = await load(context);
  const login = newMailboxLogin(config, name);
  const given = flags.passwordStdin && await readPassword(Deno.stdin, login);
  const store = await AccountStore.open(config);
  const done = await store.change(async (accounts) => {
    if (accounts.some((one) => one.login === login)) {
      throw new CommandError(
        `${login} already has an account; change its password with mailapp account password ${login}`,
        EXIT.usage,
      );
    }
    const { account, made } = await makeMainPassword(newAccount(login, now()), { given, now: now() });
    return {
      accounts: [...accounts, account],
      result: { account, id: MAIN_PASSWORD, ...(made && { made }) },
    };
  });
  if (!flags.json) io.out(`${login}: account added\n`);
  if (config.serveSubmit === undefined) {
    io.err(
      `warning: serve-submit is off: it needs [serve-submit] in ${config.file ?? DEFAULT_CONFIG_FILE}\n`,
    );
  }
  return tellPassword(done, context);
}

/** Changes one account. */
async function change<T>(
  name: string,
  context: Context,
  alter: (account: Account) => Promise<{ account?: Account; result: T }> | { account?: Account; result: T },
): Promise<T> {
  const config = await load(context);
  const store = await AccountStore.open(config);
  return await store.change(async (accounts) => {
    const login = readLogin(config, { name, accounts });
    const before = accounts.find((one) => one.login === login);
    if (before === undefined) throw new CommandError(`${printable(login)} has no account`, EXIT.unavailable);
    const { account, result } = await alter(before);
    if (account === before) return { result };
    if (account === undefined) return { accounts: accounts.filter((one) => one !== before), result };
    return { accounts: accounts.map((one) => one === before ? account : one), result };
  });
}

async function changePassword(name: string, context: Context): Promise<ExitCode> {
  const { flags, io } = context;
  // Before the file is locked: the user may be typing.
  const given = flags.passwordStdin && await readPassword(Deno.stdin, name);
  const done = await change(name, context, async (before) => {
    const { account, made } = await makeMainPassword(before, { given, now: now() });
    return { account, result: { account, id: MAIN_PASSWORD, ...(made && { made }) } };
  });
  const others = done.account.passwords.length - 1;
  if (!flags.json) {
    const stay = others === 0 ? "" : `; ${count(others, "app password")} as before`;
    io.out(`${done.account.login}: password changed${stay}\n`);
  }
  return tellPassword(done, context);
}

async function appPassword(
  name: string,
  { label, ...context }: Context & { readonly label: string | undefined },
): Promise<ExitCode> {
  const { flags, io } = context;
  const unwanted = flags.remove;
  if ((label === undefined) === (unwanted === undefined) || (flags.dryRun && unwanted === undefined)) {
    throw new CommandError(
      "account app-password: give a label for a new password, or --remove with an existing label (and --dry-run)",
      EXIT.usage,
    );
  }
  if (label !== undefined) {
    const done = await change(name, context, async (before) => {
      const { account, id, made } = await makeAppPassword(before, { label, now: now() });
      return { account, result: { account, id, made } };
    });
    if (!flags.json) io.out(`${done.account.login}: app password ${printable(label)} made\n`);
    return tellPassword(done, context);
  }
  const account = await change(name, context, (before) => {
    const kept = before.passwords.filter(({ id, label }) =>
      id === MAIN_PASSWORD || (label !== unwanted && id !== unwanted)
    );
    if (kept.length === before.passwords.length) {
      throw new CommandError(
        `${before.login} has no app password ${printable(unwanted ?? "")}`,
        EXIT.unavailable,
      );
    }
    const account = { ...before, passwords: kept };
    return { account: flags.dryRun ? before : account, result: account };
  });
  if (flags.json) return print(jsonOf(account), context);
  io.out(`${account.login}: app password ${flags.dryRun ? "would be removed" : "removed"}\n`);
  return EXIT.ok;
}

async function list(context: Context): Promise<ExitCode> {
  const { flags, io } = context;
  const accounts = await (await AccountStore.open(await load(context))).read();
  if (flags.json) {
    using out = new JsonArray(io);
    for (const account of accounts) out.add(jsonOf(account));
    out.end();
    return EXIT.ok;
  }
  if (accounts.length === 0) io.out("no accounts yet; mailapp account add LOGIN adds one\n");
  for (const { login, disabled, passwords } of accounts) {
    const apps = passwords.filter(({ id }) => id !== MAIN_PASSWORD).map(({ label }) => printable(label));
    const and = apps.length === 0 ? "" : `  app passwords: ${apps.join(", ")}`;
    io.out(`${printable(login)}${disabled ? "  disabled" : ""}${and}\n`);
  }
  return EXIT.ok;
}

async function show(name: string, context: Context): Promise<ExitCode> {
  const { flags, io } = context;
  const config = await load(context);
  const settings = mailSettings(config);
  if (config.serveSubmit?.dovecotSocket !== undefined) {
    const login = newMailboxLogin(config, name);
    if (flags.json) return print({ login, settings: { ...settings, username: login } }, context);
    io.out(describeSettings(settings, login));
    return EXIT.ok;
  }
  const accounts = await (await AccountStore.open(config)).read();
  const login = readLogin(config, { name, accounts });
  const account = accounts.find((one) => one.login === login);
  if (account === undefined) throw new CommandError(`${printable(login)} has no account`, EXIT.unavailable);
  if (flags.json) return print({ ...jsonOf(account), settings: { ...settings, username: login } }, context);
  io.out(`${login}${account.disabled ? " (disabled; mailapp account enable allows logins again)" : ""}\n`);
  for (const { id, label, created } of account.passwords) {
    const what = id === MAIN_PASSWORD ? "password" : `app password ${printable(label)} (${id})`;
    io.out(`  ${what}, made ${showTime(Date.parse(created))}\n`);
  }
  io.out(`\n${describeSettings(settings, login)}`);
  if (config.serveSubmit === undefined) {
    io.err(
      `warning: serve-submit is off: it needs [serve-submit] in ${config.file ?? DEFAULT_CONFIG_FILE}\n`,
    );
  }
  return EXIT.ok;
}

async function setDisabled(
  name: string,
  { disabled, ...context }: Context & { readonly disabled: boolean },
): Promise<ExitCode> {
  const account = await change(name, context, (before) => {
    const account = { ...before, disabled };
    return { account, result: account };
  });
  if (context.flags.json) return print(jsonOf(account), context);
  context.io.out(
    `${account.login}: ${
      disabled ? "disabled; sessions that are logged in continue until they end" : "enabled"
    }\n`,
  );
  return EXIT.ok;
}

async function remove(name: string, context: Context): Promise<ExitCode> {
  const { flags, io } = context;
  const account = await change(
    name,
    context,
    (before) => ({ ...(flags.dryRun && { account: before }), result: before }),
  );
  if (flags.json) return print(jsonOf(account), context);
  io.out(
    flags.dryRun
      ? `${account.login}: would be removed, with ${
        count(account.passwords.length, "password")
      }; the mailbox stays\n`
      : `${account.login}: account removed; the mailbox stays\n`,
  );
  return EXIT.ok;
}
