/**
 * serve-submit with wrong logins, logins without TLS, and logins that send in the name of others.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { dirname, join } from "@std/path";
import { formatAccounts } from "../accounts/account.ts";
import { makePassword, newAccount, storePassword } from "../accounts/new_password.ts";
import { argon2Hasher } from "../accounts/password_hash.ts";
import { MAIN_PASSWORD } from "../accounts/account.ts";
import { failure, ok, warning } from "../doctor/finding.ts";
import { openMailboxes } from "../server/parts.ts";
import type { Copy } from "./copies.ts";
import { brief, freshClient, freshToken, messageText, type Stage, type Tell } from "./stage.ts";
import { announces, Wire } from "./wire.ts";

const DEFECT = "This is a defect of mailapp, not of the configuration: please report it with this line";
/** Logins of [serve-submit.send_as] that are tried. */
const MAX_LOGINS = 5;

/** Accounts for the copy, with their own passwords. */
export interface TestAccounts {
  readonly file: string;
  readonly logins: readonly { readonly login: string; readonly password: string }[];
}

/** Makes an account for a mailbox here, and for those that may send as others; none where there is no mailbox. */
export async function makeAccounts({ config, places }: Stage): Promise<TestAccounts | undefined> {
  const mailboxes = openMailboxes(config).all().map(({ address }) => address);
  const [first] = mailboxes;
  if (first === undefined) return undefined;
  const special = Object.keys(config.serveSubmit?.sendAs ?? {});
  const named = mailboxes.filter((address) =>
    special.some((name) => address === name || address.slice(0, address.lastIndexOf("@")) === name)
  ).slice(0, MAX_LOGINS);
  const logins = [...new Set([first, ...named])].map((login) => ({ login, password: makePassword() }));
  const now = new Date();
  const accounts = await Promise.all(logins.map(async ({ login, password }) => {
    const account = newAccount(login, now);
    const stored = await storePassword(password, {
      account,
      id: MAIN_PASSWORD,
      label: "",
      now,
      hasher: argon2Hasher,
    });
    return { ...account, passwords: [stored] };
  }));
  const file = join(places.directory, "accounts", "accounts.json");
  await Deno.mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await Deno.writeTextFile(file, formatAccounts(accounts), { mode: 0o600 });
  return { file, logins };
}

const plain = (login: string, password: string) =>
  `AUTH PLAIN ${Buffer.from(`\0${login}\0${password}`).toString("base64")}`;

/** All of them, against one copy. */
export async function submissionCases(
  stage: Stage,
  { copy, tell, accounts }: { readonly copy: Copy; readonly tell: Tell; readonly accounts: TestAccounts },
): Promise<void> {
  const { config } = stage;
  const [first] = accounts.logins;
  if (first === undefined) return;
  if (copy.port !== undefined) await withoutTls(copy.port, { tell, ...first });
  const open = () => openSession(copy, config.hostname);
  await wrongLogins(open, { tell, ...first });
  await limits(stage, { tell, open, ...first });
  await room({ tell, copy, open, ...first });
  await otherSenders(stage, { tell, open, accounts });
}

async function withoutTls(
  port: number,
  { tell, login, password }: { readonly tell: Tell; readonly login: string; readonly password: string },
): Promise<void> {
  const { wire: opened, ehlo } = await Wire.open({ port, from: freshClient() });
  using wire = opened;
  const tried = "a login without TLS";
  const reply = await wire.say(plain(login, password));
  if (!announces(ehlo, "AUTH") && reply.startsWith("5")) tell(ok("login.plaintext", tried, brief(reply)));
  else tell(failure("login.plaintext", tried, { what: brief(reply), next: DEFECT }));
}

type OpenSession = () => Promise<{ readonly wire: Wire; readonly ehlo: string }>;

/** A connection with TLS, after EHLO. */
async function openSession({ port, tlsPort }: Copy, hostname: string): ReturnType<OpenSession> {
  const wire = await Wire.connect({ port: tlsPort ?? port ?? 0, from: freshClient() });
  if (tlsPort === undefined) {
    await wire.hear();
    await wire.say("EHLO phone.selftest.test");
    await wire.say("STARTTLS");
    await wire.startTls(hostname);
  } else {
    await wire.startTls(hostname);
    await wire.hear();
  }
  return { wire, ehlo: await wire.say("EHLO phone.selftest.test") };
}

async function wrongLogins(
  open: OpenSession,
  { tell, login, password }: { readonly tell: Tell; readonly login: string; readonly password: string },
): Promise<void> {
  const attempts = [
    ["mail without a login", "MAIL FROM:<a@b.test>", /^530/],
    ["a wrong password", plain(login, "wrong"), /^535/],
    ["an empty password", plain(login, ""), /^5/],
    ["an unknown login", plain(`no-such-user@${login.split("@")[1]}`, password), /^535/],
    ["a login with NUL in it", plain(`${login}\0x`, password), /^5/],
  ] as const;
  for (const [tried, line, right] of attempts) {
    const { wire: opened } = await open();
    using wire = opened;
    const reply = await wire.say(line);
    if (right.test(reply)) tell(ok("login.wrong", tried, brief(reply)));
    else tell(failure("login.wrong", tried, { what: brief(reply), next: DEFECT }));
  }
}

interface Login {
  readonly login: string;
  readonly password: string;
}

/** Sends a message as someone; the reply that refused it, or the last one. */
async function submit(
  open: OpenSession,
  { login, password, sender, recipient }: Login & { readonly sender: string; readonly recipient: string },
): Promise<string> {
  const { wire: opened } = await open();
  using wire = opened;
  const entered = await wire.say(plain(login, password));
  if (!entered.startsWith("235")) return entered;
  for (const line of [`MAIL FROM:<${sender}>`, `RCPT TO:<${recipient}>`, "DATA"]) {
    const reply = await wire.say(line);
    if (!/^[23]/.test(reply)) return reply;
  }
  await wire.send(`${messageText({ from: sender, to: recipient, token: freshToken() })}.\r\n`);
  return await wire.hear();
}

/** Messages that someone may send within minutes. */
const IN_A_ROW = 5;

async function limits(
  { config }: Stage,
  { tell, open, login, password }: Login & { readonly tell: Tell; readonly open: OpenSession },
): Promise<void> {
  const tried = `${IN_A_ROW} messages of a login in a row, in its own name`;
  for (let n = 1; n <= IN_A_ROW; n++) {
    const reply = await submit(open, {
      login,
      password,
      sender: login,
      recipient: `b${n}@good.selftest.test`,
    });
    if (reply.startsWith("250")) continue;
    tell(failure("submit.own", tried, {
      what: `the message number ${n}: ${brief(reply)}`,
      next: config.serveSubmit !== undefined && /limit|too many|4\.7/i.test(reply)
        ? "Raise [serve-submit] messages_an_hour, messages_a_day and the limits on recipients"
        : "Check [serve-submit] and [serve-out]",
    }));
    return;
  }
  tell(ok("submit.own", tried, "all are accepted"));
}

/** Connections of one household, and what mailing programs count on. */
const AT_ONCE = 5;
const RECIPIENTS = 50;
const USUAL_SIZE = 20 * 1024 ** 2;

async function room(
  { tell, open, copy, login, password }: Login & {
    readonly tell: Tell;
    readonly copy: Copy;
    readonly open: OpenSession;
  },
): Promise<void> {
  using stack = new DisposableStack();
  const from = freshClient();
  const wires = await Promise.all(
    Array.from(
      { length: AT_ONCE },
      async () => stack.use(await Wire.connect({ port: copy.port ?? copy.tlsPort ?? 0, from })),
    ),
  );
  if (copy.port !== undefined) {
    const greetings = await Promise.all(wires.map((wire) => wire.hear()));
    const refused = greetings.find((reply) => !reply.startsWith("220"));
    const tried = `${AT_ONCE} connections at once from one household`;
    if (refused === undefined) tell(ok("submit.connections", tried, "all are greeted"));
    else {
      tell(failure("submit.connections", tried, {
        what: brief(refused),
        next:
          "Raise [serve-submit] max_connections and max_connections_per_ip: mail programs open several connections",
      }));
    }
  }
  stack.dispose();
  const { wire: opened } = await open();
  using wire = opened;
  await wire.say(plain(login, password));
  const size = await wire.say(`MAIL FROM:<${login}> SIZE=${USUAL_SIZE}`);
  const large = `a message of ${USUAL_SIZE / 1024 ** 2} MiB of a login`;
  if (size.startsWith("250")) tell(ok("submit.size", large, brief(size)));
  else {
    tell(warning("submit.size", large, {
      what: brief(size),
      next: "Raise max_message_size of [serve-submit] and [serve-out]",
    }));
    await wire.say(`MAIL FROM:<${login}>`);
  }
  const replies = await wire.sayAll(
    Array.from({ length: RECIPIENTS }, (_, n) => `RCPT TO:<c${n}@good.selftest.test>`),
  );
  const taken = replies.filter((reply) => reply.startsWith("250")).length;
  const many = `a message of a login to ${RECIPIENTS} recipients`;
  if (taken === RECIPIENTS) tell(ok("submit.recipients", many, "all are accepted"));
  else {
    tell(warning("submit.recipients", many, {
      what: `${taken} are accepted, then ${brief(replies[taken] ?? "")}`,
      next: `Raise [serve-submit] max_recipients, recipients_an_hour and new_recipients_a_day`,
    }));
  }
}

async function otherSenders(
  { config }: Stage,
  { tell, open, accounts: { logins } }: {
    readonly tell: Tell;
    readonly open: OpenSession;
    readonly accounts: TestAccounts;
  },
): Promise<void> {
  const mailboxes = openMailboxes(config).all().map(({ address }) => address);
  const [first] = logins;
  if (first === undefined) return;
  const foreign = "boss@bank.example";
  const reply = await submit(open, { ...first, sender: foreign, recipient: "b@good.selftest.test" });
  const tried = "a login that sends in the name of a foreign address";
  if (/^5/.test(reply)) tell(ok("submit.foreign", tried, brief(reply)));
  else tell(failure("submit.foreign", tried, { what: brief(reply), next: "Check [serve-submit.send_as]" }));
  for (const { login, password } of logins) {
    const other = mailboxes.find((address) => address !== login);
    if (other === undefined) continue;
    const said = await submit(open, { login, password, sender: other, recipient: "b@good.selftest.test" });
    const asOther = `${login} sends in the name of ${other}`;
    if (/^5/.test(said)) tell(ok("submit.other", asOther, brief(said)));
    else {
      tell(warning("submit.other", asOther, {
        what: `taken: ${brief(said)}`,
        next:
          "List in [serve-submit.send_as] the addresses that this login shares, in place of a wildcard: " +
          "who steals its password can write as any user",
      }));
    }
  }
}
