/**
 * Hostile clients of serve-in: relay attempts, smuggling, injection, and what a good client must get all the same.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { errorText } from "../base/error_text.ts";
import type { Config } from "../config/config.ts";
import { failure, ok, warning, type Words } from "../doctor/finding.ts";
import { FALSE_ENDS } from "./cases/false_ends.ts";
import { RELAY_REPLIES, relayAttempts } from "./cases/relay_attempts.ts";
import type { Copy } from "./copies.ts";
import {
  brief,
  freshClient,
  freshToken,
  handIn,
  messageText,
  type Stage,
  storedBy,
  type Tell,
} from "./stage.ts";
import { SENDERS } from "./senders.ts";
import { namesOf } from "../tls/certificates.ts";
import type { ClientTlsInfo } from "../tls/client_upgrade.ts";
import { announces, CLOSED, Wire } from "./wire.ts";

const DEFECT =
  "This is a defect of mailapp, not of the configuration: please report it with this line, and stop serve-in where " +
  "that matters";

/** All of them, against one copy. */
export async function receivingCases(
  { config, own = "" }: Stage,
  { copy, tell }: { readonly copy: Copy; readonly tell: Tell },
): Promise<void> {
  const port = copy.port ?? 0;
  const target: Target = { copy, port, own, config };
  await goodMail(target, tell);
  await addresses(target, tell);
  await relays(target, tell);
  await smuggling(target, tell);
  await rudeness(target, tell);
  if (await encryption(target, tell)) await injection(target, tell);
}

interface Target {
  readonly copy: Copy;
  readonly port: number;
  readonly own: string;
  readonly config: Config;
}

const domainOf = (address: string) => address.slice(address.lastIndexOf("@") + 1);

/** Mail that must arrive. */
async function goodMail({ copy, port, config }: Target, tell: Tell): Promise<void> {
  for (const domain of config.serveIn.domains) {
    for (const role of ["postmaster", "abuse"]) {
      const token = freshToken();
      const recipient = `${role}@${domain}`;
      const tried = `a good message to ${recipient}`;
      const data = messageText({ from: `a@${SENDERS.honest}`, to: recipient, token });
      const { reply, at, taken } = await handIn({
        port,
        sender: `a@${SENDERS.honest}`,
        recipients: [recipient],
        data,
      });
      const stored = await storedBy(copy, token);
      const [first] = stored;
      if (taken && first !== undefined && !first.junk) {
        tell(
          ok(
            "deliver.role",
            tried,
            `accepted, and stored in ${stored.length === 1 ? "a mailbox" : `${stored.length} mailboxes`}`,
          ),
        );
      } else if (taken && first === undefined) {
        tell(
          failure("deliver.lost", tried, {
            what: `answered ${brief(reply)}, but it is not in any mailbox`,
            next: DEFECT,
          }),
        );
      } else if (taken) {
        tell(failure("deliver.junk", tried, {
          what: "filed as junk",
          next: "Check [serve-in.checks]: a sender whose SPF and DMARC pass must reach the inbox",
        }));
      } else if (role === "abuse" && at === "RCPT") {
        tell(warning("deliver.abuse", tried, {
          what: `refused: ${brief(reply)}`,
          next: `Add abuse to [mailboxes.aliases]: complaints about mail from ${domain} go there (RFC 2142)`,
        }));
      } else {
        tell(failure("deliver.refused", tried, {
          what: `refused at ${at}: ${brief(reply)}`,
          next: adviceOnRefusal(reply),
        }));
      }
    }
  }
}

/** What to look at when good mail is refused. */
export function adviceOnRefusal(reply: string): string {
  if (/^552|5\.3\.4/.test(reply)) return "Raise [serve-in] max_message_size: an ordinary message is larger";
  if (/^421|^452/.test(reply)) {
    return "Raise the limits of [serve-in]: this is the first message of this client";
  }
  if (/dmarc|spf/i.test(reply)) {
    return "Turn [serve-in.checks] spf and dkim on: DMARC treats a message as forged if it passes neither";
  }
  return "Check [serve-in.checks] and [mailboxes]: this is mail as any large provider sends it";
}

async function addresses(target: Target, tell: Tell): Promise<void> {
  const { config, own, port } = target;
  for (const domain of config.serveIn.domains) await unknownAddress(domain, { ...target, tell });
  await unsafeNames(domainOf(own), { port, config, tell });
}

async function unknownAddress(
  domain: string,
  { port, config, tell }: Pick<Target, "port" | "config"> & { readonly tell: Tell },
): Promise<void> {
  const unknown = `no-such-user-${freshToken()}@${domain}`;
  const tried = `a message to an address of ${domain} that does not exist`;
  const reply = await recipientReply(port, unknown);
  if (/^550[- ]5\.1\.1/.test(reply)) {
    tell(ok("address.unknown", tried, `refused: ${brief(reply)}`));
  } else if (reply.startsWith("250")) {
    const keys = Object.keys(config.mailboxes.aliases).filter((key) => key.startsWith("*"));
    tell(warning("address.catch_all", tried, {
      what: `accepted by the catch-all ${keys.map((key) => JSON.stringify(key)).join(", ")}`,
      next:
        "Take the catch-all out of [mailboxes.aliases] and list the addresses that people have: with it every " +
        "guessed and mistyped address is accepted, and the sender of a mistyped one gets no error",
    }));
  } else {
    tell(failure("address.unknown", tried, { what: brief(reply), next: adviceOnRefusal(reply) }));
  }
}

/** Local parts that a careless server would take for paths. */
async function unsafeNames(
  domain: string,
  { port, config, tell }: Pick<Target, "port" | "config"> & { readonly tell: Tell },
): Promise<void> {
  for (const name of ["../../etc/passwd", "a/b", ".", "..", "new", "~root", "-x", '"a/../b"', '"\\000"']) {
    const hostile = `${name}@${domain}`;
    const said = await recipientReply(port, hostile);
    const what = `the local part ${name}, which could be taken for a path`;
    const caught = said.startsWith("250") &&
      Object.keys(config.mailboxes.aliases).some((key) => key.startsWith("*"));
    if (/^(?:550|501|553)/.test(said) || caught) {
      tell(
        ok(
          "address.path",
          what,
          caught ? "accepted by the catch-all, not as a path" : `refused: ${brief(said)}`,
        ),
      );
    } else tell(failure("address.path", what, { what: brief(said), next: DEFECT }));
  }
}

async function recipientReply(port: number, recipient: string): Promise<string> {
  const { wire: opened, ehlo } = await Wire.open({ port, from: freshClient() });
  using wire = opened;
  if (!ehlo.startsWith("250")) return ehlo;
  const sender = await wire.say(`MAIL FROM:<a@${SENDERS.honest}>`);
  if (!sender.startsWith("250")) return sender;
  return await wire.say(`RCPT TO:<${recipient}>`);
}

async function relays({ port, own, config }: Target, tell: Tell): Promise<void> {
  const catchAll = Object.keys(config.mailboxes.aliases).some((key) => key.startsWith("*"));
  for (const { path, expected } of relayAttempts(own)) {
    // Another domain of ours is not foreign.
    if (expected === "foreign" && config.serveIn.domains.includes(domainOf(path))) continue;
    const tried = `mail to <${path}>`;
    const reply = await recipientReply(port, path);
    const caught = expected === "unknown" && catchAll && reply.startsWith("250");
    if (RELAY_REPLIES[expected].test(reply) || caught) {
      tell(ok("relay.attempt", tried, caught ? "accepted by the catch-all, not relayed" : brief(reply)));
    } else if (reply.startsWith("250")) {
      tell(failure("relay.open", tried, { what: `taken: ${brief(reply)}`, next: DEFECT }));
    } else {
      tell(failure("relay.reply", tried, { what: brief(reply), next: adviceOnRefusal(reply) }));
    }
  }
}

async function smuggling({ copy, port, own }: Target, tell: Tell): Promise<void> {
  for (const sequence of FALSE_ENDS) {
    for (const how of ["DATA", "BDAT"] as const) {
      const smuggled = freshToken();
      const tried = `a second message after ${JSON.stringify(sequence)} by ${how}`;
      const behind =
        `MAIL FROM:<x@${SENDERS.honest}>\r\nRCPT TO:<${own}>\r\nDATA\r\nSubject: ${smuggled}\r\n\r\n`;
      const data = messageText({
        from: `a@${SENDERS.honest}`,
        to: own,
        token: freshToken(),
        body: `hello${sequence}${behind}`,
      });
      const { wire: opened, ehlo } = await Wire.open({ port, from: freshClient() });
      using wire = opened;
      const replies = ehlo.startsWith("250")
        ? await wire.sayAll([`MAIL FROM:<a@${SENDERS.honest}>`, `RCPT TO:<${own}>`])
        : [ehlo];
      if (replies.some((reply) => !reply.startsWith("250"))) {
        tell(
          failure("smuggling.refused", tried, {
            what: brief(replies.at(-1) ?? ""),
            next: adviceOnRefusal(replies.at(-1) ?? ""),
          }),
        );
        continue;
      }
      if (how === "DATA") {
        await wire.say("DATA");
        await wire.send(`${data}.\r\nNOOP\r\n`);
      } else {
        await wire.send(`BDAT ${data.length} LAST\r\n${data}NOOP\r\n`);
      }
      const [verdict, after] = [await wire.hear(), await wire.hear()];
      // One reply to the message, one to NOOP; what the message says is not a command.
      const stored = await storedBy(copy, `Subject: ${smuggled}`);
      const separate = stored.filter(({ text }) =>
        new RegExp(`^(?:[^\\n]+\\n)*Subject: ${smuggled}\n`).test(text)
      );
      const inStep = /^(?:250|55\d)/.test(verdict) && (after.startsWith("250") || after === CLOSED);
      if (separate.length === 0 && inStep) {
        tell(ok("smuggling.data", tried, `one message, ${brief(verdict)}`));
      } else {tell(
          failure("smuggling.data", tried, { what: `${brief(verdict)}, then ${brief(after)}`, next: DEFECT }),
        );}
    }
  }
}

/** Clients that are no mail servers, or bad ones. */
async function rudeness({ port }: Target, tell: Tell): Promise<void> {
  for (const line of ["GET / HTTP/1.1", "POST /x HTTP/1.1", "CONNECT mx:25 HTTP/1.1"]) {
    using wire = await Wire.connect({ port, from: freshClient() });
    await wire.hear();
    await wire.send(`${line}\r\nHost: x\r\n\r\nMAIL FROM:<a@b.test>\r\n`);
    const last = await wire.ended();
    const tried = `a browser: ${line}`;
    if (/^(?:5\d\d|421|\(connection closed\))/.test(last)) {
      tell(ok("rude.http", tried, "the connection is closed"));
    } else tell(failure("rude.http", tried, { what: brief(last), next: DEFECT }));
  }
  using wire = await Wire.connect({ port, from: freshClient() });
  await wire.hear();
  await wire.send("XYZZY\r\n".repeat(200));
  const last = await wire.ended();
  const tried = "a storm of 200 bad commands";
  if (last.startsWith("421")) tell(ok("rude.storm", tried, brief(last)));
  else tell(failure("rude.storm", tried, { what: brief(last), next: DEFECT }));
}

/** STARTTLS and the certificate. Whether there is TLS. */
async function encryption({ port, config }: Target, tell: Tell): Promise<boolean> {
  const { hostname, tls } = config;
  const tried = "STARTTLS, as a sender that verifies certificates";
  const { wire: opened, ehlo } = await Wire.open({ port, from: freshClient() });
  using wire = opened;
  if (!announces(ehlo, "STARTTLS")) {
    tell(warning("tls.none", tried, {
      what: "STARTTLS is not offered: mail arrives unencrypted",
      next: "Set [tls] cert and key, [tls.acme], or at least self_signed = true",
    }));
    return false;
  }
  await wire.say("STARTTLS");
  try {
    const info = await wire.startTls(hostname);
    const problems = certificateProblems(info, { hostname, selfSigned: tls.selfSigned });
    for (const words of problems) tell(failure("tls.certificate", tried, words));
    if (problems.length > 0) return true;
    const what = info.authorized
      ? `the certificate is valid for ${hostname}`
      : "with the self-signed certificate that [tls] asks for";
    tell(ok("tls.certificate", tried, `${info.protocol}, ${what}`));
  } catch (error) {
    tell(failure("tls.handshake", tried, { what: errorText(error), next: "Check [tls] cert and key" }));
    return false;
  }
  return true;
}

/** What a sender that verifies finds wrong with the certificate; nothing of a self-signed one that is meant to be. */
function certificateProblems(
  { authorized, authorizationError = "", peerCertificate }: ClientTlsInfo,
  { hostname, selfSigned }: { readonly hostname: string; readonly selfSigned: boolean },
): Pick<Words, "what" | "next">[] {
  if (authorized || selfSigned) return [];
  const certificate = peerCertificate && new X509Certificate(Buffer.from(peerCertificate));
  const problems: Pick<Words, "what" | "next">[] = [];
  if (certificate !== undefined && certificate.checkHost(hostname) === undefined) {
    problems.push({
      what: `the certificate is not for ${hostname}, but for ${namesOf(certificate).join(", ")}`,
      next: `Get a certificate that names ${hostname}, or set hostname to a name that this one has`,
    });
  }
  if (certificate !== undefined && certificate.validToDate.getTime() < Date.now()) {
    problems.push({
      what: `the certificate has expired: ${certificate.validToDate.toISOString()}`,
      next: "Renew the certificate of [tls] cert; mailapp certificate, or certbot, does it in time",
    });
  } else if (certificate !== undefined && certificate.validFromDate.getTime() > Date.now()) {
    problems.push({
      what: `the certificate is not valid before ${certificate.validFromDate.toISOString()}`,
      next: "Set this machine's clock, or wait",
    });
  }
  if (!/EXPIRED|ALTNAME|NOT_YET/.test(authorizationError)) {
    problems.push({
      what: `the certificate was not issued by a known authority: ${authorizationError}`,
      next:
        "Put the authority's intermediate certificates into [tls] cert, after the server's own; senders that " +
        "verify accept only certificates of a widely trusted authority",
    });
  }
  return problems;
}

/** Commands in plaintext after STARTTLS (CVE-2011-0411). */
async function injection({ port, own, config }: Target, tell: Tell): Promise<void> {
  const tried = "commands in one write with STARTTLS, in plaintext";
  const { wire: opened } = await Wire.open({ port, from: freshClient() });
  using wire = opened;
  await wire.send("STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<injected@injected.test>\r\n");
  await wire.hear();
  try {
    await wire.startTls(config.hostname);
    const reply = await wire.say(`RCPT TO:<${own}>`);
    if (reply.startsWith("503")) {
      tell(ok("tls.injection", tried, `dropped: RCPT is answered ${brief(reply)}`));
    } else tell(failure("tls.injection", tried, { what: brief(reply), next: DEFECT }));
    const ehlo = await wire.say("EHLO client.selftest.test");
    const again = announces(ehlo, "STARTTLS");
    const twice = "STARTTLS again, within TLS";
    if (again) tell(failure("tls.twice", twice, { what: "offered", next: DEFECT }));
    else tell(ok("tls.twice", twice, "not offered"));
  } catch {
    tell(ok("tls.injection", tried, "the connection is dropped"));
  }
}
