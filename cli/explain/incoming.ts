/**
 * `mailapp explain --from --ip`: what serve-in's checks would say of a sender, and how the message would be handled. It
 * queries DNS only.
 *
 * @module
 */
import { isIP } from "node:net";
import { systemClock } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import { silentLogger } from "../../base/log.ts";
import { DnsLists, type Listing } from "../../checks/dns_lists.ts";
import { readGreylist } from "../../checks/greylist_file.ts";
import { judge, type Judgement } from "../../checks/judgement.ts";
import { checkSender, passOwnMail, type SenderFindings } from "../../checks/sender_checks.ts";
import type { Config } from "../../config/config.ts";
import { type DmarcVerdict, evaluateDmarc } from "../../dmarc/evaluate.ts";
import type { Resolver } from "../../dns/resolver.ts";
import { TimedResolver } from "../../dns/timed_resolver.ts";
import { isOfThisMachine } from "../../net/interfaces.ts";
import { AddressError, parseMailbox } from "../../smtp/address.ts";
import type { MailboxAddress } from "../../smtp/envelope.ts";
import { greylistFile, isOwnDomain } from "../../server/check_parts.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import { openMailboxes } from "../../server/parts.ts";
import { openResolver } from "../../server/relay_parts.ts";
import { printable } from "../command_line/terminal.ts";
import type { MessageEvidence } from "./evidence.ts";

/** The sender, as typed. */
export interface IncomingFlags {
  /** The reverse-path, also used as the author; `<>` for none. */
  readonly from: string;
  /** The client's address. */
  readonly ip: string;
  /** What the client says in EHLO; absent: the name that reverse DNS has for it. */
  readonly helo?: string;
}

/** How the message would be handled. */
export interface IncomingExplanation {
  readonly address: string;
  readonly from: string;
  readonly ip: string;
  readonly helo: string;
  /** Whether the recipient exists. */
  readonly recipient: "accepted" | "unknown" | "not_local";
  readonly spf?: SenderFindings["spf"];
  readonly heloSpf?: SenderFindings["heloSpf"];
  readonly iprev: SenderFindings["iprev"];
  readonly listings: readonly Listing[];
  /** Lists that are not used, each with the reason. */
  readonly ignoredLists: readonly { readonly zone: string; readonly reason: string }[];
  /** Without a DKIM signature, if none is known; absent where DMARC is off. */
  readonly dmarc?: DmarcVerdict;
  /** `greylist`: the client would be asked to retry first. */
  readonly outcome: "refuse" | "greylist" | "junk" | "inbox";
  /** Absent where nothing decided. */
  readonly why?: string;
  /** The directories that it would be filed in; none if it is refused. */
  readonly folders: readonly string[];
  /** Why it is unknown whether greylisting knows the sender. */
  readonly greylistUnknown?: string;
}

/**
 * Runs the checks.
 * @throws {CommandError} where the sender cannot be read
 */
export async function explainIncoming(
  config: Config,
  { address, text, flags, message, then }: {
    readonly address: MailboxAddress;
    readonly text: string;
    readonly flags: IncomingFlags;
    /** What is known of the message. */
    readonly message?: MessageEvidence;
    /** To decide as at another time: what DNS said then, and whether greylisting knew the sender. */
    readonly then?: { readonly resolver: Resolver; readonly isKnown: boolean };
  },
): Promise<IncomingExplanation> {
  const { ip } = flags;
  if (isIP(ip) === 0) throw new CommandError(`--ip ${printable(ip)}: not an IP address`, EXIT.usage);
  const from = flags.from === "<>" ? "" : readSender(flags.from);
  const { serveIn: { checks } } = config;
  using resolver = new TimedResolver({
    resolver: then?.resolver ?? openResolver(config),
    clock: systemClock,
    timeoutMs: checks.timeoutMs,
  });
  const ignoredLists: { zone: string; reason: string }[] = [];
  using lists = new DnsLists({
    lists: checks.dnsLists,
    resolver,
    clock: systemClock,
    logger: {
      ...silentLogger,
      warn: (_, fields) => ignoredLists.push(fields as { zone: string; reason: string }),
    },
  });
  await lists.start();
  const [name] = flags.helo === undefined ? await reverseNames(ip, resolver) : [flags.helo];
  const helo = name ?? (ip.includes(":") ? `[IPv6:${ip}]` : `[${ip}]`);
  const identity = { ip, helo, mailFrom: from };
  const { hostname, serveIn: { domains } } = config;
  const sender = passOwnMail(await checkSender(identity, { resolver, spf: checks.spf, lists }), {
    helo,
    isOwnClient: isOfThisMachine(ip),
    hostname,
    isOwnDomain: (domain) => isOwnDomain(domain, { hostname, domains }),
  });
  const { dkim = [], arc, author = from.slice(from.lastIndexOf("@") + 1) } = message ?? {};
  const dmarc = checks.dmarc === "off" || author === "" ? undefined : await evaluateDmarc({
    authors: [author],
    spf: sender.spf ?? { result: "none" },
    dkim: checks.dkim ? dkim : [],
    resolver,
  });
  const judgement = judge({ ...sender, ...(dmarc && { dmarc }), ...(arc && checks.arc && { arc }) }, {
    identity,
    enforceDmarc: checks.dmarc === "enforce",
    trustedSealers: checks.trustedSealers,
  });
  const greylist = await askGreylist(config, {
    sender,
    judgement,
    identity,
    ...(then && { isKnown: then.isKnown }),
  });
  const mailboxes = openMailboxes(config).resolve(address);
  const recipient = mailboxes.kind === "local"
    ? "accepted"
    : mailboxes.kind === "unknown"
    ? "unknown"
    : "not_local";
  const outcome = judgement.action === "refuse" || recipient !== "accepted"
    ? "refuse"
    : greylist === true
    ? "greylist"
    : judgement.junk && config.mailboxes.junkFolder !== undefined
    ? "junk"
    : "inbox";
  const folder = outcome === "junk" ? `.${config.mailboxes.junkFolder}/new` : "new";
  return {
    address: text,
    from,
    ip,
    helo,
    recipient,
    ...sender,
    ignoredLists,
    ...(dmarc && { dmarc }),
    outcome,
    ...(judgement.why !== "" && { why: judgement.why }),
    folders: mailboxes.kind === "local" && outcome !== "refuse"
      ? mailboxes.mailboxes.map(({ path }) => `${path}/${folder}`)
      : [],
    ...(typeof greylist === "string" && { greylistUnknown: greylist }),
  };
}

function readSender(text: string): string {
  try {
    return parseMailbox(text, { smtputf8: true, bare: "none" }).text;
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    throw new CommandError(`--from ${printable(text)}: ${error.message}`, EXIT.data, { cause: error });
  }
}

async function reverseNames(ip: string, resolver: TimedResolver): Promise<readonly string[]> {
  const answer = await resolver.ptr(ip);
  return answer.kind === "found" ? answer.records : [];
}

/** Whether the client would be asked to retry; a reason if that is unknown. */
async function askGreylist(
  config: Config,
  { sender, judgement, identity: { ip, helo, mailFrom }, isKnown }: {
    readonly isKnown?: boolean;
    readonly sender: SenderFindings;
    readonly judgement: Judgement;
    readonly identity: { readonly ip: string; readonly helo: string; readonly mailFrom: string };
  },
): Promise<boolean | string> {
  const { greylist } = config.serveIn.checks;
  if (greylist === "off" || judgement.allowed || (greylist === "suspicious" && !judgement.suspicious)) {
    return false;
  }
  if (isKnown !== undefined) return !isKnown;
  try {
    const list = await readGreylist(greylistFile(config), { now: () => systemClock.now() });
    return !list.knows({
      ip,
      domain: mailFrom === "" ? helo : mailFrom.slice(mailFrom.lastIndexOf("@") + 1),
      authorized: sender.spf?.result === "pass",
    });
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? true : errorText(error);
  }
}

const OUTCOMES: Readonly<Record<IncomingExplanation["outcome"], string>> = {
  refuse: "refused",
  greylist: "deferred for a minute by greylisting (451 4.7.1), then accepted",
  junk: "filed as junk",
  inbox: "taken",
};

/** The same for people. */
export function describeIncoming(explanation: IncomingExplanation): string {
  const { address, from, ip, helo, recipient, spf, heloSpf, iprev, listings, ignoredLists } = explanation;
  const { dmarc, outcome, why, folders, greylistUnknown } = explanation;
  const because = (reason: string | undefined) => reason === undefined ? "" : `: ${reason}`;
  const lines = [
    // Without reverse DNS the EHLO name is the address literal.
    `to ${address}, from ${from === "" ? "<>" : from}, by ${/^\[/.test(helo) ? "" : `${helo} `}[${ip}]`,
    ...(spf === undefined ? [] : [`  SPF ${spf.result} for ${spf.domain}${because(spf.reason)}`]),
    ...(heloSpf === undefined
      ? []
      : [`  SPF ${heloSpf.result} for ${heloSpf.domain} (HELO)${because(heloSpf.reason)}`]),
    `  reverse DNS ${iprev.result}${because(iprev.name)}`,
    ...listings.map(({ list, code, text }) =>
      `  listed by ${list.zone} (${list.action}, ${code})${because(text)}`
    ),
    ...ignoredLists.map(({ zone, reason }) => `  ${zone} is not used: ${reason}`),
    ...(dmarc === undefined ? [] : [`  DMARC ${describeDmarc(dmarc)}`]),
    ...(recipient === "accepted" ? [] : [
      recipient === "unknown"
        ? "  no such mailbox: 550 5.1.1"
        : "  the domain is not in [serve-in] domains: 550 5.7.1",
    ]),
    ...(greylistUnknown === undefined
      ? []
      : [`  cannot tell whether greylisting knows the sender: ${greylistUnknown}`]),
    `  ${OUTCOMES[outcome]}${because(why)}`,
    ...folders.map((folder) => `    ${folder}`),
  ];
  return lines.map((line) => `${printable(line)}\n`).join("");
}

function describeDmarc({ result, policy, policyDomain, disposition, why }: DmarcVerdict): string {
  const policies = policy === undefined
    ? ""
    : ` (p=${policy} of ${policyDomain}, which asks for ${disposition})`;
  const signed = result === "fail" ? "; a DKIM signature of the domain would make it pass" : "";
  return `${result}${policies}: ${why}${signed}`;
}
