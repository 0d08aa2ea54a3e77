/**
 * serve-out with receivers that are good, hostile, or not to be found.
 *
 * @module
 */
import { failure, ok, warning } from "../doctor/finding.ts";
import { BROKEN_DNS } from "./cases/broken_dns.ts";
import { type Fault, type FaultMoment, REACTIONS, SENDING_FAULTS } from "./cases/sending_faults.ts";
import { type Copy, ownServer, routeHost } from "./copies.ts";
import type { LoggedEvent } from "./log_tail.ts";
import { SENDERS } from "./senders.ts";
import { brief, freshToken, handIn, messageText, type Stage, storedBy, type Tell } from "./stage.ts";
import { Wire } from "./wire.ts";
import { zoneOf } from "./zone.ts";

const DEFECT = "This is a defect of mailapp, not of the configuration: please report it with this line";
/** For one attempt, in milliseconds; a silent DNS server is asked several times. */
const ATTEMPT = 60_000;
const GOOD = "good.selftest.test";

/** An outcome of one attempt in the words of the log. */
function outcomeOf(recipient: string): (event: LoggedEvent) => boolean {
  return (event) =>
    ["attempt.relayed", "attempt.failed", "attempt.deferred", "queue.expired"].includes(event.event) &&
    event["recipient"] === recipient;
}

const resultOf = ({ event }: LoggedEvent) => event.slice(event.indexOf(".") + 1);

function describe(event: LoggedEvent | undefined): string {
  if (event === undefined) return "no attempt within a minute";
  const reason = event["reply"] ?? event["error"] ?? "";
  const dot = event["dot_sent_no_reply"] === true ? ", dot sent, no reply" : "";
  return `${resultOf(event)}, ${event["status"]}${dot}${reason === "" ? "" : `: ${brief(String(reason))}`}`;
}

interface Options {
  /** serve-out. */
  readonly copy: Copy;
  readonly tell: Tell;
}

/** Adds the names of good receivers to DNS: the one for everyone, and one for each host that a route names. */
export async function addReceivers({ config, dns, peers, authority }: Stage): Promise<void> {
  const host = `mx.${GOOD}`;
  const address = peers.add({ certificate: await authority.issue({ names: [host] }), auth: true });
  Object.assign(
    dns.zone,
    zoneOf({
      [GOOD]: { MX: [host] },
      [host]: { A: [address] },
      [SENDERS.honest]: { A: ["127.0.0.1"], MX: [host], TXT: ["v=spf1 ip4:127.0.0.0/8 -all"] },
    }),
  );
  for (const [domain, route] of Object.entries(config.serveOut.routes)) {
    const name = routeHost(domain, route.host);
    if (ownServer(config, route) !== undefined || `${name} A` in dns.zone) continue;
    const to = peers.add({ certificate: await authority.issue({ names: [name] }), auth: true });
    Object.assign(dns.zone, zoneOf({ [name]: { A: [to] } }));
  }
}

/** Mail that must go out, by the routes and with the keys as configured. */
export async function goodSending(
  stage: Stage,
  { copy, tell, receiver }: Options & { readonly receiver: Copy | undefined },
): Promise<void> {
  const { config, own, peers } = stage;
  const { routes, qualifyDomain } = config.serveOut;
  const port = copy.port ?? 0;
  const send = async (
    recipient: string,
    options: { readonly from?: string; readonly sender?: string } = {},
  ) => {
    const { from = `a@${qualifyDomain}` } = options;
    const { sender = from } = options;
    const token = freshToken();
    const handed = await handIn({
      port,
      from: "127.0.0.1",
      sender,
      recipients: [recipient],
      data: messageText({ from, to: recipient, token }),
    });
    if (!handed.taken) return { token, what: `serve-out refuses it at ${handed.at}: ${brief(handed.reply)}` };
    const event = await copy.log.find(outcomeOf(recipient), ATTEMPT);
    const message = peers.messages.find(({ data }) => data.includes(token));
    return { token, event, message, what: describe(event) };
  };

  const star = routes["*"];
  const to = `b-${freshToken()}@${GOOD}`;
  const tried = star === undefined
    ? "a message to another domain"
    : 'a message to another domain, by the route "*"';
  const { message, what } = await send(to);
  if (message !== undefined) {
    tell(ok("send.good", tried, `relayed${message.tls ? " over TLS" : ""}`));
  } else {
    tell(failure("send.good", tried, { what, next: adviceOnRoute(stage, "*") }));
  }
  for (const domain of Object.keys(routes)) {
    if (domain === "*" || config.serveIn.domains.includes(domain)) continue;
    const sent = await send(`b-${freshToken()}@${domain}`);
    const by = `a message to ${domain}, by its route`;
    if (sent.message !== undefined) {
      tell(ok("send.route", by, `relayed${sent.message.tls ? " over TLS" : ""}`));
    } else tell(failure("send.route", by, { what: sent.what, next: adviceOnRoute(stage, domain) }));
  }
  if (own !== undefined && receiver !== undefined) {
    const { token, what } = await send(own);
    const stored = await storedBy(receiver, token);
    const local = "a message of a local program to a mailbox here";
    if (stored.length > 0) tell(ok("send.local", local, "handed to serve-in, and stored"));
    else {tell(
        failure("send.local", local, {
          what,
          next: "Check [serve-in.checks]: serve-in does not take serve-out's mail",
        }),
      );}
  }
  await signatures(stage, { tell, send });
  await bareNames(stage, { tell, send });
  await outLimits(stage, { copy, tell });
}

type Send = (
  recipient: string,
  options?: { readonly from?: string; readonly sender?: string },
) => Promise<
  { readonly message?: { readonly data: string; readonly from: string } | undefined; readonly what: string }
>;

function adviceOnRoute({ config }: Stage, domain: string): string {
  const route = config.serveOut.routes[domain];
  if (route === undefined) return "Check [serve-out]: this is mail to a good server";
  const own = ownServer(config, route);
  return own === undefined
    ? `Check [serve-out.routes] ${JSON.stringify(domain)}: its host did not accept the message`
    : `Change [serve-out.routes] ${
      JSON.stringify(domain)
    }: it leads to ${own} of this machine, back to ourselves`;
}

async function signatures(
  { config }: Stage,
  { tell, send }: { readonly tell: Tell; readonly send: Send },
): Promise<void> {
  for (const domain of config.serveIn.domains) {
    const tried = `a message from ${domain}: whether it is signed (DKIM)`;
    const { message, what } = await send(`b-${freshToken()}@${GOOD}`, { from: `a@${domain}` });
    if (message === undefined) {
      // That is told already.
      if (config.serveOut.routes["*"] === undefined) {
        tell(failure("send.signature", tried, { what, next: DEFECT }));
      }
      continue;
    }
    const [header = ""] = message.data.split("\r\n\r\n", 1);
    const fields = header.replaceAll(/\r\n[ \t]/g, "").split("\r\n");
    const signers = fields.flatMap((field) => {
      const isSignature = field.toLowerCase().startsWith("dkim-signature:");
      const domain = isSignature ? /[:;]\s*d=([^;\s]+)/.exec(field)?.[1] : undefined;
      return domain === undefined ? [] : [domain];
    });
    const aligned = signers.some((signer) => signer === domain || domain.endsWith(`.${signer}`));
    if (aligned) tell(ok("send.signature", tried, `signed by ${signers.join(", ")}`));
    else {
      tell(warning("send.signature", tried, {
        what: "it leaves unsigned",
        next:
          `Make a key: mailapp dkim key, and add ${
            JSON.stringify(domain)
          } to [dkim]; large receivers refuse ` +
          `unsigned mail. [dkim] has ${Object.keys(config.dkim).join(", ") || "no domain"}`,
      }));
    }
  }
}

async function bareNames(
  { config }: Stage,
  { tell, send }: { readonly tell: Tell; readonly send: Send },
): Promise<void> {
  const { domains } = config.serveIn;
  const { qualifyDomain } = config.serveOut;
  if (domains.length === 0) return;
  const tried = "mail of a program that calls its sender root";
  const { message, what } = await send(`b-${freshToken()}@${GOOD}`, {
    from: `a@${qualifyDomain}`,
    sender: "root",
  });
  if (message === undefined) return void what;
  const domain = message.from.slice(message.from.lastIndexOf("@") + 1);
  if (domains.includes(domain)) return tell(ok("send.bare", tried, `it leaves from ${message.from}`));
  tell(warning("send.bare", tried, {
    what: `it leaves from ${message.from}, and replies and notices do not come back here`,
    next: `Set [serve-out] qualify_domain to one of ${domains.join(", ")}, or take the key out`,
  }));
}

/** What programs of a machine need. */
const AT_ONCE = 5;
const RECIPIENTS = 100;
const USUAL_SIZE = 25 * 1024 ** 2;

async function outLimits({ config }: Stage, { copy, tell }: Options): Promise<void> {
  const port = copy.port ?? 0;
  using stack = new DisposableStack();
  const wires = await Promise.all(
    Array.from({ length: AT_ONCE }, async () => stack.use(await Wire.connect({ port }))),
  );
  const greetings = await Promise.all(wires.map((wire) => wire.hear()));
  const refused = greetings.find((reply) => !reply.startsWith("220"));
  const tried = `${AT_ONCE} programs that send at the same time`;
  if (refused === undefined) tell(ok("send.connections", tried, "all are greeted"));
  else {
    tell(failure("send.connections", tried, {
      what: brief(refused),
      next:
        `Raise [serve-out] max_connections, which is ${config.serveOut.maxConnections}: programs do not try again`,
    }));
  }
  const [wire] = wires;
  if (wire === undefined || !greetings[0]?.startsWith("220")) return;
  await wire.say("EHLO program.selftest.test");
  const size = await wire.say(`MAIL FROM:<a@${config.serveOut.qualifyDomain}> SIZE=${USUAL_SIZE}`);
  const large = `a message of ${USUAL_SIZE / 1024 ** 2} MiB from a program`;
  if (size.startsWith("250")) tell(ok("send.size", large, brief(size)));
  else {
    tell(warning("send.size", large, { what: brief(size), next: "Raise [serve-out] max_message_size" }));
    await wire.say(`MAIL FROM:<a@${config.serveOut.qualifyDomain}>`);
  }
  const replies = await wire.sayAll(Array.from({ length: RECIPIENTS }, (_, i) => `RCPT TO:<b${i}@${GOOD}>`));
  const taken = replies.filter((reply) => reply.startsWith("250")).length;
  const many = `a message of a program to ${RECIPIENTS} recipients`;
  if (taken === RECIPIENTS) tell(ok("send.recipients", many, "all are accepted"));
  else {
    tell(failure("send.recipients", many, {
      what: `${taken} are accepted, then ${brief(replies[taken] ?? "")}`,
      next: `Raise [serve-out] max_recipients, which is ${config.serveOut.maxRecipients}`,
    }));
  }
}

/** Faults of receivers at each step, broken DNS, broken certificates; against a copy without routes, with short patience. */
export async function faultCases(stage: Stage, { copy, tell }: Options): Promise<void> {
  const cases = [...faults(stage), ...brokenDns(stage), ...await certificates(stage)];
  const sender = `a@${SENDERS.honest}`;
  const handed: { one: FaultCase; reply: string | undefined }[] = [];
  for (const one of cases) {
    const data = messageText({ from: sender, to: one.recipient, token: freshToken() });
    const { taken, reply } = await handIn({
      port: copy.port ?? 0,
      from: "127.0.0.1",
      sender,
      recipients: [one.recipient],
      data,
    });
    handed.push({ one, reply: taken ? undefined : reply });
  }
  for (const { one, reply } of handed) {
    if (reply !== undefined) {
      tell(
        failure(one.id, one.tried, {
          what: `serve-out refuses it: ${brief(reply)}`,
          next: "Check [serve-out]",
        }),
      );
      continue;
    }
    const event = await copy.log.find(outcomeOf(one.recipient), ATTEMPT);
    const what = describe(event);
    if (event !== undefined && one.isRight(event)) tell(ok(one.id, one.tried, what));
    else tell(failure(one.id, one.tried, { what: `${what}; it should be ${one.expected}`, next: DEFECT }));
  }
  const failed = handed.find(({ one }) => one.id === "fault.RCPT" && one.expected.startsWith("failed"));
  if (failed !== undefined) await notice(stage, { tell, recipient: failed.one.recipient });
}

interface FaultCase {
  readonly id: string;
  readonly tried: string;
  readonly recipient: string;
  readonly expected: string;
  readonly isRight: (event: LoggedEvent) => boolean;
}

const WORDS: Readonly<Record<Fault, string>> = {
  "4xx": "says 450",
  "5xx": "says 550",
  "421": "says 421",
  drop: "hangs up",
  stall: "falls silent",
};

function faults({ dns, peers }: Stage): FaultCase[] {
  return Object.entries(SENDING_FAULTS).flatMap(([moment, row]) =>
    Object.entries(row).map(([fault, text]) => {
      const domain = `${fault}-at-${moment}.faults.selftest.test`.toLowerCase();
      const script = { [moment as FaultMoment]: REACTIONS[fault as Fault] };
      // At STARTTLS only where the script says so; elsewhere the handshake would be in the way.
      const address = peers.add({ script, ...(moment === "STARTTLS" && { offersTls: true }) });
      Object.assign(
        dns.zone,
        zoneOf({ [domain]: { MX: [`mx.${domain}`] }, [`mx.${domain}`]: { A: [address] } }),
      );
      const [result = "", status = ""] = text.replace("no host", "deferred").split(", ");
      const noReply = text.endsWith("no reply");
      return {
        id: `fault.${moment}`,
        tried: `a receiver that ${WORDS[fault as Fault]} at ${moment === "dot" ? "the final dot" : moment}`,
        recipient: `b@${domain}`,
        expected: [result, status, ...(noReply ? ["dot sent, no reply"] : [])].join(", "),
        isRight: (event: LoggedEvent) =>
          resultOf(event) === result && event["status"] === status &&
          (event["dot_sent_no_reply"] === true) === noReply,
      };
    })
  );
}

function brokenDns({ dns }: Stage): FaultCase[] {
  return BROKEN_DNS.map(({ label, what, entry, expected: { result, status } }) => {
    const domain = `${label}.dns.selftest.test`;
    if (entry !== undefined) Object.assign(dns.zone, zoneOf({ [domain]: entry }));
    return {
      id: `dns.${label}`,
      tried: `a domain ${what}`,
      recipient: `b@${domain}`,
      expected: `${result}, ${status.source.replace(/[\\^$]/g, "")}`,
      isRight: (event: LoggedEvent) => resultOf(event) === result && status.test(String(event["status"])),
    };
  });
}

/** The domains of broken certificates whose TLS policy is `verify`. */
export const VERIFIED = ["self-signed", "expired", "other-name"].map((kind) =>
  `${kind}.verify.selftest.test`
);

const DAY = 86_400_000;

async function certificates({ dns, peers, authority }: Stage): Promise<FaultCase[]> {
  const { createTestAuthority } = await import("./authority.ts");
  const stranger = await createTestAuthority("an untrusted authority");
  const found: FaultCase[] = [];
  const kinds = [
    ["self-signed", "of an untrusted authority", stranger, {}],
    ["expired", "that has expired", authority, {
      notBefore: new Date(Date.now() - 20 * DAY),
      notAfter: new Date(Date.now() - DAY),
    }],
    ["other-name", "for another name", authority, { names: ["mx.elsewhere.test"] }],
  ] as const;
  for (const [kind, what, issuer, options] of kinds) {
    for (const policy of ["prefer", "verify"] as const) {
      const domain = `${kind}.${policy}.selftest.test`;
      const host = `mx.${domain}`;
      const address = peers.add({ certificate: await issuer.issue({ names: [host], ...options }) });
      Object.assign(dns.zone, zoneOf({ [domain]: { MX: [host] }, [host]: { A: [address] } }));
      const result = policy === "prefer" ? "relayed" : "deferred";
      found.push({
        id: `certificate.${kind}`,
        tried: `a receiver with a certificate ${what}, where the policy is "${policy}"`,
        recipient: `b@${domain}`,
        expected: result,
        isRight: (event) => resultOf(event) === result,
      });
    }
  }
  return found;
}

/** The sender of a failed message hears of it. */
async function notice(
  { peers }: Stage,
  { tell, recipient }: { readonly tell: Tell; readonly recipient: string },
): Promise<void> {
  const tried = "a message that is refused for good: a notice to its sender";
  const until = performance.now() + ATTEMPT;
  const isNotice = ({ from, data }: { readonly from: string; readonly data: string }) =>
    from === "" && data.includes(recipient);
  while (!peers.messages.some(isNotice) && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  if (peers.messages.some(isNotice)) {
    tell(ok("send.notice", tried, "a notice with an empty reverse-path reached the sender"));
  } else tell(failure("send.notice", tried, { what: "no notice arrived", next: DEFECT }));
}
