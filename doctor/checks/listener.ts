/**
 * The test that web pages for mail servers make, on serve-in's own listener: connect, banner, EHLO, STARTTLS,
 * certificate, open relay, time taken. Sends no message.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import type { SocketAddress } from "../../net/transport.ts";
import type { Transport } from "../../net/transport.ts";
import { refusalNow, shown } from "../accepts_mail.ts";
import { Dialogue } from "../dialogue.ts";
import { failure, type Finding, ok, untested, warning } from "../finding.ts";
import type { Setup } from "../setup.ts";
import { errorText } from "../../base/error_text.ts";
import { probeName } from "../../smtp/own_probe.ts";

/** The listener to test, and what to expect of it. */
export interface ListenerCheck {
  /** Where serve-in listens. */
  readonly endpoint: SocketAddress;
  /** The hostname that the server should announce. */
  readonly hostname: string;
  /** Whether it has a certificate, and so must offer STARTTLS. */
  readonly hasCertificate: boolean;
  /** A domain of the server's. */
  readonly domain: string;
  /** Connects. */
  readonly dial: (to: SocketAddress) => Promise<Transport>;
  /** Measures the time. */
  readonly clock: Clock;
}

// Milliseconds. Senders wait for minutes, web checkers and people do not.
const TIMEOUT = 20_000;
const SLOW = 5_000;
/** Reserved (RFC 2606): even if accepted, it could not be delivered. */
const FOREIGN = "open-relay-test@doctor.invalid";

/** Upper bound of the addresses on which serve-in is tested. */
export const MAX_LISTENERS = 4;

/** Tests serve-in on the addresses that it is bound to. */
export async function checkListeners(
  { own, serveInPort: port, hostname, domains, certificate, dial, clock }: Pick<
    Setup,
    "own" | "serveInPort" | "hostname" | "domains" | "certificate" | "dial" | "clock"
  >,
): Promise<Finding[]> {
  const [domain] = domains;
  if (domain === undefined) return [];
  if (port === 0) {
    return [untested("smtp", "serve-in", { what: "[serve-in] port = 0: its port is not known" })];
  }
  const hasCertificate = certificate.kind === "known" && certificate.pair !== undefined;
  const findings = await Promise.all(
    own.bound.slice(0, MAX_LISTENERS).map((address) =>
      checkListener({ endpoint: { address, port }, hostname, hasCertificate, domain, dial, clock })
    ),
  );
  return [
    ...findings.flat(),
    untested("smtp.outside", hostname, {
      what: "whether the Internet reaches serve-in cannot be tested from here",
      next: `From another machine: nc -C ${hostname} ${port}; it must greet with 220.`,
    }),
  ];
}

/** Tests one listener. Never throws. */
export async function checkListener(check: ListenerCheck): Promise<Finding[]> {
  const { endpoint: { address, port }, dial, clock } = check;
  const subject = address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  const began = clock.monotonic();
  let transport: Transport;
  try {
    transport = await dial(check.endpoint);
  } catch (error) {
    return [failure("smtp.no-connection", subject, {
      what: `no answer: ${errorText(error)}`,
      next: "systemctl start mailapp-in; its log says why if it stops again.",
    })];
  }
  using dialogue = new Dialogue(transport, { clock, timeout: TIMEOUT });
  const findings: Finding[] = [];
  try {
    findings.push(...await talk(dialogue, { ...check, subject }));
  } catch (error) {
    findings.push(failure("smtp.broken", subject, {
      what: `the session broke off: ${errorText(error)}`,
      next: "Its log says why; a firewall that inspects mail is another common cause.",
      dialogue: dialogue.lines,
    }));
  }
  const taken = clock.monotonic() - began;
  if (taken > SLOW) {
    findings.push(warning("smtp.slow", subject, {
      what: `the session took ${(taken / 1000).toFixed(1)} s; some clients do not wait`,
      next: "Check the machine's load.",
      dialogue: dialogue.lines,
    }));
  }
  if (findings.length > 0) return findings;
  return [ok(
    "smtp",
    subject,
    `banner, EHLO${check.hasCertificate ? ", STARTTLS" : ""}, no open relay; ` +
      `${Math.round(taken)} ms`,
  )];
}

async function talk(
  dialogue: Dialogue,
  { hostname, hasCertificate, domain, subject }: ListenerCheck & { readonly subject: string },
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const fail = (id: string, words: { what: string; next: string }) =>
    failure(id, subject, { ...words, dialogue: [...dialogue.lines] });
  const banner = await dialogue.listen();
  if (banner.code >= 300) {
    return [fail("smtp.busy", {
      what: `it greets with ${banner.code}: ${banner.lines.join(" ")}`,
      next: "See the log of serve-in.",
    })];
  }
  const called = banner.lines[0]?.split(" ")[0];
  if (called !== hostname) {
    findings.push(fail("smtp.banner", {
      what: `it calls itself ${called}, and the configuration says ${hostname}`,
      next:
        "Check whether another program has this port; otherwise restart serve-in: systemctl restart mailapp-in.",
    }));
  }
  let ehlo = await dialogue.say(`EHLO ${probeName("doctor")}`);
  const offersTls = ehlo.lines.some((line) => line.trim().toUpperCase() === "STARTTLS");
  if (hasCertificate && !offersTls) {
    findings.push(fail("smtp.no-starttls", {
      what: "it does not offer STARTTLS, although there is a certificate",
      next: "Restart serve-in; its log says whether the certificate can be used.",
    }));
  }
  if (offersTls && (await dialogue.say("STARTTLS")).code < 300) {
    const tls = await dialogue.startTls(hostname);
    if (!tls.authorized) {
      findings.push(warning("smtp.certificate", subject, {
        what:
          `its certificate does not verify: ${tls.authorizationError}. Most senders send anyway; those that ` +
          "verify do not",
        next:
          "Get one from a public authority, such as Let's Encrypt: by [tls.acme], or by certbot with [tls] cert and key.",
      }));
    }
    ehlo = await dialogue.say(`EHLO ${probeName("doctor")}`);
  }
  if (ehlo.code >= 300) {
    findings.push(
      fail("smtp.ehlo", { what: `EHLO is answered ${ehlo.code}`, next: "See the log of serve-in." }),
    );
    await dialogue.end();
    return findings;
  }
  findings.push(...await testRelay(dialogue, { domain, subject }));
  const refusal = await refusalNow(dialogue);
  if (refusal !== undefined) {
    findings.push(fail("smtp.defers", {
      what: `it accepts no mail now: ${shown(refusal)}`,
      next: "Its log says why, as a rule at level error: journalctl -u mailapp-in -p err.",
    }));
  }
  await dialogue.end();
  return findings;
}

/** Tries to relay from a foreign and a local sender to a foreign recipient; sends no message. */
async function testRelay(
  dialogue: Dialogue,
  { domain, subject }: { readonly domain: string; readonly subject: string },
): Promise<Finding[]> {
  for (const sender of ["doctor@doctor.invalid", `postmaster@${domain}`, ""]) {
    if ((await dialogue.say(`MAIL FROM:<${sender}>`)).code >= 300) continue;
    const reply = await dialogue.say(`RCPT TO:<${FOREIGN}>`);
    await dialogue.say("RSET");
    if (reply.code < 300) {
      return [failure("smtp.open-relay", subject, {
        what: "it accepts mail for other domains: an open relay, which is block-listed within hours",
        next:
          "Stop it at once; serve-in cannot be configured that way: find out which program has the port (ss -ltnp).",
        dialogue: [...dialogue.lines],
      })];
    }
  }
  return [];
}
