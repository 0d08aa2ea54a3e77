/**
 * `mailapp send-test`: sends one message at once, bypassing the queue, and shows the dialogue.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Command } from "commander";
import { DkimSigner } from "../dkim/sign.ts";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { silentLogger } from "../base/log.ts";
import { findTargets, type Target } from "../relay/mx.ts";
import { type Attempt, pendingRecipient, type QueueEntry } from "../relay/queue_entry.ts";
import { explainReply } from "../relay/reply_causes.ts";
import { alternatesOf } from "../relay/target_order.ts";
import { HostConnection, type RecipientOutcome, type TransmitMessage } from "../relay/transmit.ts";
import { isAscii } from "../smtp/address.ts";
import { systemClock } from "../base/clock.ts";
import type { MailboxAddress } from "../smtp/envelope.ts";
import { formatDate } from "../base/date.ts";
import { loadDkimKeys } from "../server/dkim_parts.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import { parseAddress } from "./explain/explain.ts";
import type { Io } from "../server/io.ts";
import { passingPolicies } from "../server/mta_sts_parts.ts";
import { openResolver, ownTargets, sessionOptions, targetOptions } from "../server/relay_parts.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";
import { printable } from "./command_line/terminal.ts";

interface Flags {
  readonly config?: string;
  readonly from?: string;
}

/** Registers the subcommand. */
export function registerSendTest(program: Command, { io, action }: Registrar): void {
  program.command("send-test")
    .description("send one message at once and show the whole dialogue")
    .argument("<address>", "the recipient")
    .option("--from <address>", "the sender (default: postmaster in the qualify domain)")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp send-test you@gmail.com --from me@example.com"))
    .action(action((address: string, flags: Flags) => sendTest(address, { flags, io })));
}

async function sendTest(
  text: string,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const recipient = parseAddress(text, config);
  const sender = parseAddress(flags.from ?? "postmaster", config);
  const resolver = openResolver(config);
  const live = { config, resolver };
  const logger = silentLogger;
  const found = await findTargets(recipient.domain, {
    ...targetOptions(config, { resolver, logger, policies: passingPolicies({ live, logger }) }),
    ...ownTargets(config, { logger: silentLogger }),
  });
  if (found.kind !== "targets") {
    const code = found.kind === "failed" ? EXIT.unavailable : EXIT.tryAgain;
    throw new CommandError(`${recipient.domain}: ${found.status} ${printable(found.reason)}`, code);
  }
  const signer = new DkimSigner({ keys: await loadDkimKeys(config), logger: silentLogger });
  const message = await testMessage(config, { sender, recipient, signer });
  const session = sessionOptions(config, { resolver, logger: silentLogger });
  let last: Attempt | undefined;
  const tried = new Set<Target>();
  for (const asked of found.targets) {
    if (tried.has(asked)) continue;
    const show = (target: Target) => {
      tried.add(target);
      io.out(`${showTarget(target)}\n`);
      return target;
    };
    const alternate = () => {
      const other = alternatesOf(asked, found.targets).find((one) => !tried.has(one));
      if (other === undefined) return undefined;
      const which = other.host === asked.host ? "its next address" : "the next host";
      io.out(`  no answer yet; also trying ${which}:\n`);
      return show(other);
    };
    const onLine = (side: "C" | "S", line: string) => io.out(`  ${side}: ${printable(line)}\n`);
    const opened = await HostConnection.open(show(asked), { ...session, onLine, alternate });
    for (const { target: { address }, attempt: { error = "" } } of opened.unanswered ?? []) {
      io.out(`  ${address}: ${printable(error)}\n`);
    }
    if (opened.kind === "unavailable") {
      last = opened.attempt;
      io.out(`  ${printable(last.reply ?? last.error ?? last.status)}\n`);
      continue;
    }
    const { connection } = opened;
    io.out(`  (${connection.tls === "none" ? "no TLS" : `TLS, ${connection.tls}`})\n`);
    let outcome: RecipientOutcome | undefined;
    try {
      [outcome] = (await connection.send(message)).outcomes;
    } finally {
      await connection.close();
    }
    if (outcome === undefined) continue;
    last = outcome.attempt;
    if (outcome.result === "relayed") {
      io.out(`\n${thingsToCheck(config, { sender, attempt: last, signer })}`);
      return EXIT.ok;
    }
    if (!outcome.nextHost) break;
  }
  throw new CommandError(failure(last), last?.status.startsWith("5") ? EXIT.unavailable : EXIT.tryAgain);
}

function showTarget({ host, address, port, tls, sts }: Target): string {
  const name = host === address ? host : `${printable(host)} [${address}]`;
  const source = sts === undefined || sts.mode === "none" ? "" : ` (MTA-STS, ${sts.mode})`;
  return `${name} port ${port}, TLS policy ${tls}${source}`;
}

function failure(attempt: Attempt | undefined): string {
  const words = printable(attempt?.reply ?? attempt?.error ?? "no answer");
  const cause = attempt && explainReply(attempt);
  if (cause === undefined) return `not sent: ${words}`;
  return `not sent: ${words}\n${cause.meaning}${cause.operator === undefined ? "" : ` ${cause.operator}`}`;
}

/** A message for this transaction alone; it is not stored. */
async function testMessage(
  { hostname }: Config,
  { sender, recipient, signer }: {
    readonly sender: MailboxAddress;
    readonly recipient: MailboxAddress;
    readonly signer: DkimSigner;
  },
): Promise<TransmitMessage> {
  const [from, to] = [sender, recipient].map(qualified);
  if (from === undefined || to === undefined) throw new Error("two addresses");
  const now = systemClock.now();
  const id = crypto.randomUUID().replaceAll("-", "").slice(0, 20);
  const unsigned = Buffer.from(
    [
      `Date: ${formatDate(now)}`,
      `From: <${from}>`,
      `To: <${to}>`,
      `Message-ID: <${id}@${hostname}>`,
      "Subject: A test of mailapp",
      "MIME-Version: 1.0",
      "Content-Type: text/plain; charset=us-ascii",
      "",
      `Sent by "mailapp send-test" on ${hostname}.`,
      "Its header section shows its path, and what the receiver found out about the sender.",
      "",
    ].join("\r\n"),
  );
  const bytes = await signer.sign(id, unsigned);
  const entry: QueueEntry = {
    id,
    acceptedAt: now,
    reversePath: from,
    body: "7BIT",
    smtputf8: false,
    size: bytes.length,
    content: { eightBitHeader: !isAscii(from + to), eightBitBody: false },
    recipients: [pendingRecipient(to, recipient.domain)],
  };
  return {
    entry,
    recipients: [0],
    queue: {
      open: () =>
        Promise.resolve({
          size: bytes.length,
          async *chunks() {
            yield bytes;
          },
          [Symbol.asyncDispose]: () => Promise.resolve(),
        }),
      dotSent: () => Promise.resolve(),
      dotAnswered: () => Promise.resolve(),
    },
  };
}

function qualified({ text, domain }: MailboxAddress): string {
  return text.includes("@") ? text : `${text}@${domain}`;
}

/** What to look for in the header section of the received message. */
function thingsToCheck(
  { hostname }: Config,
  { sender, attempt, signer }: {
    readonly sender: MailboxAddress;
    readonly attempt: Attempt;
    readonly signer: DkimSigner;
  },
): string {
  const { domain } = sender;
  const signedBy = signer.keysFor(domain)[0]?.domain;
  return [
    `${attempt.host} accepted it. Look at its header section where it arrived (also in the junk folder):`,
    `  Received: from ${hostname} (${hostname} [our address]): the name in the parentheses comes from reverse DNS;`,
    '    anything else there, such as "unknown", means that reverse DNS is missing or differs',
    `  ${
      attempt.tls === "none"
        ? "Received: with ESMTP: it came without TLS"
        : "Received: with ESMTPS and the TLS version"
    }`,
    "  Authentication-Results:",
    `    spf=pass smtp.mailfrom=${domain}: else the SPF record of ${domain} does not name our address`,
    signedBy !== undefined
      ? `    dkim=pass header.d=${signedBy}: else the public key is not in DNS, or not this one`
      : `    dkim=none: nothing is signed for ${domain}, since [dkim] has no key for it`,
    `    dmarc=pass header.from=${domain}: one of the two is enough; dmarc=none: there is no DMARC record`,
    "What to publish: mailapp dns. What is there now: mailapp doctor.",
    "",
  ].join("\n");
}
