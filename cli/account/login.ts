/**
 * Resolves what an operator types to the login of an account.
 *
 * @module
 */
import type { Account } from "../../accounts/account.ts";
import { spellLogin } from "../../accounts/account_file.ts";
import type { Config } from "../../config/config.ts";
import { prepareLogin } from "../../sasl/prepare.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import { openMailboxes } from "../../server/parts.ts";
import { splitAddress } from "../../smtp/address.ts";
import { printable } from "../command_line/terminal.ts";

/**
 * The login for a new account: the address of a mailbox of this machine.
 * @throws {CommandError} when it is not one
 */
export function newMailboxLogin(config: Config, name: string): string {
  const mailboxes = openMailboxes(config);
  const login = readLogin(config, { name, accounts: [] });
  const all = mailboxes.all().map(({ address }) => address);
  if (all.includes(login)) return login;
  const found = mailboxes.resolve(splitAddress(login));
  const leads = found.kind === "local" ? found.mailboxes.map(({ address }) => address).join(", ") : "";
  const why = leads === ""
    ? `is not a mailbox of this server (${
      found.kind === "unknown" ? "[mailboxes] users" : "[serve-in] domains"
    })`
    : `is an alias for ${leads}: add the account for that mailbox, which may also send as ${login}`;
  throw new CommandError(`${printable(login)} ${why}`, EXIT.data);
}

/**
 * The login for a name; a bare name is that of the only account with it, else in the only domain.
 * @throws {CommandError} when it is not a valid login, or is ambiguous
 */
export function readLogin(
  { serveIn }: Pick<Config, "serveIn">,
  { name, accounts }: { readonly name: string; readonly accounts: readonly Account[] },
): string {
  const login = prepareLogin(name);
  if (login === undefined) {
    throw new CommandError(`${printable(name) || `""`} is not a valid login`, EXIT.data);
  }
  if (login.includes("@")) return spellLogin(login);
  const known = accounts.filter((account) => account.login.startsWith(`${login}@`)).map(({ login }) => login);
  const possible = known.length > 0 ? known : serveIn.domains.map((domain) => `${login}@${domain}`);
  const [only = login, ...others] = possible;
  if (others.length === 0) return only;
  throw new CommandError(`${printable(name)}: which one, ${possible.join(" or ")}?`, EXIT.usage);
}
