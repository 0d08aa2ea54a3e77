/**
 * serve-submit on its own listeners, as a mail program sees it: the handshake, the certificate for the name that people
 * type in, logins over TLS alone, and no mail without one. Sends no message.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { errorText } from "../../base/error_text.ts";
import type { Clock } from "../../base/clock.ts";
import type { SocketAddress, Transport } from "../../net/transport.ts";
import { Dialogue } from "../dialogue.ts";
import { failure, type Finding, ok, untested, warning } from "../finding.ts";
import { probeName } from "../../smtp/own_probe.ts";

/** A listener of serve-submit. */
export interface SubmissionEndpoint extends SocketAddress {
  /** `implicit`: TLS from the start. */
  readonly tls: "implicit" | "starttls";
}

/** The input of the check. */
export interface SubmissionCheck {
  readonly endpoints: readonly SubmissionEndpoint[];
  /** The name that mail programs are configured with. */
  readonly hostname: string;
  /** Logs in as well. */
  readonly login?: { readonly login: string; readonly password: string };
  /** Connects. */
  readonly dial: (to: SocketAddress) => Promise<Transport>;
  /** Measures the time. */
  readonly clock: Clock;
}

// Milliseconds. A wrong password is answered late.
const TIMEOUT = 20_000;
/** Upper bound of the listeners tested. */
const MAX_ENDPOINTS = 8;

/** Tests each listener, and names what only another machine can test. */
export async function checkSubmission(check: SubmissionCheck): Promise<Finding[]> {
  const { endpoints, hostname } = check;
  const known = endpoints.filter(({ port }) => port !== 0).slice(0, MAX_ENDPOINTS);
  const found = await Promise.all(known.map((endpoint) => checkEndpoint(endpoint, check)));
  const ports = [...new Set(known.map(({ port }) => port))];
  return [
    ...found.flat(),
    untested("submission.outside", hostname, {
      what: `whether phones reach ${
        ports.join(" and ")
      } through firewalls and routers cannot be tested from here`,
      next: `From another network: openssl s_client -connect ${hostname}:${ports[0]}${
        known[0]?.tls === "starttls" ? " -starttls smtp" : ""
      }; it must greet with 220.`,
    }),
  ];
}

async function checkEndpoint(
  { address, port, tls }: SubmissionEndpoint,
  { hostname, login, dial, clock }: SubmissionCheck,
): Promise<Finding[]> {
  const subject = address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  let transport: Transport;
  try {
    transport = await dial({ address, port });
  } catch (error) {
    return [failure("submission.no-connection", subject, {
      what: `no answer: ${errorText(error)}`,
      next: "systemctl start mailapp-submit; its log says why if it stops again.",
    })];
  }
  using dialogue = new Dialogue(transport, { clock, timeout: TIMEOUT });
  try {
    const findings = await talk(dialogue, { subject, hostname, tls, login });
    await dialogue.end();
    return findings.length > 0 ? findings : [ok(
      "submission",
      subject,
      `TLS with a certificate for ${hostname}, logins over TLS alone, no mail without one` +
        (login === undefined ? "" : `; ${login.login} can log in`),
    )];
  } catch (error) {
    return [failure("submission.broken", subject, {
      what: `the session broke off: ${errorText(error)}`,
      next: "See the log of serve-submit.",
      dialogue: dialogue.lines,
    })];
  }
}

interface Talk extends Pick<SubmissionEndpoint, "tls"> {
  readonly subject: string;
  readonly hostname: string;
  readonly login: SubmissionCheck["login"];
}

async function talk(dialogue: Dialogue, { subject, hostname, tls, login }: Talk): Promise<Finding[]> {
  const findings: Finding[] = [];
  const fail = (id: string, words: { what: string; next: string }) =>
    findings.push(failure(id, subject, { ...words, dialogue: [...dialogue.lines] }));
  const mechanisms = (lines: readonly string[]) =>
    lines.find((line) => /^AUTH /i.test(line))?.toUpperCase().split(" ").slice(1) ?? [];
  const startTls = async () => {
    const { authorized, authorizationError } = await dialogue.startTls(hostname);
    if (authorized) return;
    findings.push(warning("submission.certificate", subject, {
      what:
        `its certificate does not verify for ${hostname}: ${authorizationError}. Mail programs warn about it, or ` +
        "do not send",
      next:
        "Get one from a public authority, such as Let's Encrypt: by [tls.acme], or by certbot with [tls] cert and key.",
    }));
  };
  if (tls === "implicit") await startTls();
  const greeting = await dialogue.listen();
  if (greeting.code >= 300) {
    fail("submission.busy", {
      what: `it greets with ${greeting.code}: ${greeting.lines.join(" ")}`,
      next: "See the log of serve-submit.",
    });
    return findings;
  }
  let ehlo = await dialogue.say(`EHLO ${probeName("doctor")}`);
  if (tls === "starttls") {
    if (mechanisms(ehlo.lines).length > 0) {
      fail("submission.plain-login", {
        what: "it accepts logins without TLS: passwords can be intercepted",
        next: "Check which program has this port (ss -ltnp): serve-submit accepts none.",
      });
    }
    if ((await dialogue.say("STARTTLS")).code >= 300) {
      fail("submission.no-starttls", {
        what: "it has no STARTTLS",
        next: "Restart serve-submit; its log says whether the certificate can be used.",
      });
      return findings;
    }
    await startTls();
    ehlo = await dialogue.say(`EHLO ${probeName("doctor")}`);
  }
  if (!mechanisms(ehlo.lines).includes("PLAIN")) {
    fail("submission.no-login", {
      what: "it does not offer AUTH PLAIN, which all mail programs use",
      next: "Check that serve-submit has this port (ss -ltnp).",
    });
    return findings;
  }
  if ((await dialogue.say(`MAIL FROM:<postmaster@${hostname}>`)).code < 300) {
    fail("submission.open", {
      what: "it accepts mail without a login: an open relay, which is block-listed within hours",
      next:
        "Stop it at once; serve-submit cannot be configured that way: find out which program has the port (ss -ltnp).",
    });
    return findings;
  }
  if (login === undefined) return findings;
  const secret = Buffer.from(`\0${login.login}\0${login.password}`).toString("base64");
  const reply = await dialogue.say(`AUTH PLAIN ${secret}`, { shown: "AUTH PLAIN …" });
  if (reply.code >= 300) {
    fail("submission.login", {
      what: `${login.login} cannot log in: ${reply.code} ${reply.lines.join(" ")}`,
      next: `Check the password. The log of serve-submit says why; mailapp account show ${login.login} ` +
        "says whether there is such an account.",
    });
  }
  return findings;
}
