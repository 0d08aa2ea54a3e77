/**
 * TLS in the dialogue with a host: who asks for it, how far it has to go, and what was wrong with it.
 *
 * The configuration goes first; then DANE (RFC 7672), where the host has TLSA records that can be used; then the MTA-STS
 * policy of the domain (RFC 8461).
 *
 * @module
 */
import { type DaneNeed, daneNeed, matchesTlsa } from "../tls/dane.ts";
import { type AuthorityCheck, type AuthorityProblem, authorityProblem } from "../tls/dane_authority.ts";
import type { Clock } from "../base/clock.ts";
import { type NotedAnswers, notingResolver } from "../dns/noted_answers.ts";
import type { Resolver } from "../dns/resolver.ts";
import type { SmtpClient } from "../smtp/client.ts";
import { DialogueError } from "../smtp/send_result.ts";
import { ConnectionError } from "../net/conn_transport.ts";
import type { RemoteReply } from "../smtp/reply_reader.ts";
import { DeadlineError, type Transport } from "../net/transport.ts";
import type { ClientTlsInfo, clientUpgrade } from "../tls/client_upgrade.ts";
import { errorText } from "../base/error_text.ts";
import { type AttemptEnd, temporaryStatus } from "./attempt_record.ts";
import type { Target } from "./mx.ts";
import type { TlsDemand, TlsLevel } from "./queue_entry.ts";

/** What was wrong with TLS, by the result types of TLSRPT (RFC 8460 §4.3). */
export interface TlsProblem {
  readonly type:
    | "starttls-not-supported"
    | "certificate-host-mismatch"
    | "certificate-expired"
    | "certificate-not-trusted"
    | "tlsa-invalid"
    | "dnssec-invalid"
    | "dane-required"
    | "validation-failure";
  /** In words. */
  readonly why: string;
}

/** There is no TLS at all. */
export const NO_STARTTLS: TlsProblem = {
  type: "starttls-not-supported",
  why: "the server does not offer STARTTLS",
};

/** Whether TLS fails for a while, so that the host counts as not available, or for good. */
export type TlsFailure = "passing" | "lasting";

/** The dialogue cannot go on, though the connection stands. */
export class Refusal extends Error {
  readonly end: AttemptEnd;
  readonly tlsFailure: TlsFailure | undefined;
  readonly problem: TlsProblem | undefined;
  constructor(
    end: AttemptEnd,
    { tlsFailure, problem }: {
      readonly tlsFailure?: TlsFailure | undefined;
      readonly problem?: TlsProblem | undefined;
    } = {},
  ) {
    super(end.error);
    this.end = end;
    this.tlsFailure = tlsFailure;
    this.problem = problem;
  }
}

/** The server's reply does not let the dialogue go on. */
export function refused(
  reply: RemoteReply,
  { tlsFailure, problem }: {
    readonly tlsFailure?: TlsFailure | undefined;
    readonly problem?: TlsProblem | undefined;
  } = {},
): Refusal {
  const end = { status: temporaryStatus(reply), reply };
  // Whoever closes with 421 has other problems than TLS.
  return reply.code === 421 ? new Refusal(end) : new Refusal(end, { tlsFailure, problem });
}

/** What DNSSEC says of the host's certificate; nothing where the configuration asks for less. */
export async function lookUpDane(
  target: Target,
  { daneResolver, signal, noted }: {
    readonly daneResolver?: Resolver;
    readonly signal?: AbortSignal;
    readonly noted?: NotedAnswers;
  },
): Promise<DaneNeed> {
  const { configured = false, relaxed = false, tls } = target;
  if (relaxed) return { kind: "none", reason: "the message says TLS-Required: No" };
  if (configured && (tls === "prefer" || tls === "require")) {
    return { kind: "none", reason: `[serve-out.tls_policy] is ${tls}` };
  }
  return daneResolver === undefined
    ? { kind: "none", reason: "the DNS servers are not trusted to validate (dnssec is off)" }
    : await daneNeed(target, {
      resolver: notingResolver(daneResolver, noted),
      ...(signal && { signal }),
    });
}

/** What asks for TLS. */
export function demandOf({ tls, sts }: Target, { kind }: DaneNeed): TlsDemand | undefined {
  if (kind === "records" || tls === "dane") return kind === "records" ? "dane" : "configuration";
  if (sts?.mode === "enforce") return "mta-sts";
  if (tls !== "prefer") return "configuration";
  if (kind === "encrypt" || kind === "unknown") return "dane";
  return sts?.mode === "testing" ? "mta-sts-testing" : undefined;
}

/** Why the host may not be connected to at all. */
export function forbidden(
  { host, tls, sts }: Target,
  dane: DaneNeed,
): { readonly end: AttemptEnd; readonly problem: TlsProblem } | undefined {
  if (dane.kind === "unknown") {
    const problem: TlsProblem = { type: "dnssec-invalid", why: dane.reason };
    return { end: { status: "4.4.3", error: dane.reason }, problem };
  }
  if (tls === "dane" && dane.kind !== "records") {
    const problem: TlsProblem = { type: "dane-required", why: dane.reason };
    return { end: { status: "4.7.5", error: `DANE is required: ${dane.reason}` }, problem };
  }
  if (sts?.mode === "enforce" && !sts.allowed && dane.kind !== "records") {
    const why = `the MTA-STS policy of ${sts.domain} does not list ${host}`;
    return { end: { status: "4.7.5", error: why }, problem: { type: "validation-failure", why } };
  }
  return undefined;
}

/** What {@linkcode encrypt} needs. */
export interface EncryptOptions {
  /** Makes the handshake. */
  readonly upgrade: typeof clientUpgrade;
  /** Authorities to verify against, as PEM, instead of the built-in ones. */
  readonly ca?: string | readonly string[];
  /** What DNSSEC says of the host. */
  readonly dane: DaneNeed;
  /** Tells whether certificates are valid now. */
  readonly clock: Clock;
}

/** How far TLS went. */
export interface Encrypted {
  readonly tls: TlsLevel;
  /** What is wrong with it, where it is good enough all the same. */
  readonly problem: TlsProblem | undefined;
}

/**
 * TLS at once, or STARTTLS if it is offered; what else is asked for decides whether that is enough.
 * @throws {Refusal} where it is not
 */
export async function encrypt(
  client: SmtpClient,
  target: Target,
  { upgrade, ca, dane, clock }: EncryptOptions,
): Promise<Encrypted> {
  const { implicitTls = false, sts } = target;
  const optional = !implicitTls && target.tls === "prefer" && dane.kind === "none";
  // Who asks, where it is not our own configuration.
  const asker = demandOf(target, dane) === "mta-sts" ? ` (MTA-STS policy of ${sts?.domain})` : "";
  if (!implicitTls && !client.capabilities.startTls) {
    if (optional) return { tls: "none", problem: NO_STARTTLS };
    const error = `TLS is required, and the server does not offer it${asker}`;
    throw new Refusal({ status: "4.7.4", error }, { problem: NO_STARTTLS });
  }
  let handshake = false;
  const makeHandshake = (plain: Transport) => {
    handshake = true;
    return upgrade(plain, {
      servername: dane.kind === "records" ? dane.baseDomain : target.host,
      // Where DNSSEC names the certificate, neither its issuer nor its name matters.
      verify: target.tls === "verify" && dane.kind !== "records",
      ...(ca !== undefined && { ca }),
    });
  };
  try {
    const tls = implicitTls ? await client.secure(makeHandshake) : await startTls();
    if (dane.kind !== "records") {
      if (tls.authorized) return { tls: "verified", problem: undefined };
      return { tls: "unverified", problem: certificateProblem(tls.authorizationError) };
    }
    const problem = daneProblem(tls, {
      records: dane.records,
      names: daneNames(target, dane.baseDomain),
      now: clock.now(),
    });
    if (problem === undefined) return { tls: "dane", problem: undefined };
    throw new Refusal({ status: "4.7.5", error: problem.why }, { problem });
  } catch (error) {
    if (!handshake || error instanceof Refusal || error instanceof DialogueError) throw error;
    throw new Refusal({ status: "4.7.5", error: `${handshakeError(error)}${asker}` }, {
      tlsFailure: optional ? "lasting" : undefined,
      problem: handshakeProblem(error),
    });
  }

  async function startTls(): Promise<ClientTlsInfo> {
    const { reply, tls } = await client.startTls(makeHandshake);
    if (tls !== undefined) return tls;
    throw refused(reply, {
      tlsFailure: optional ? reply.code >= 500 ? "lasting" : "passing" : undefined,
      problem: NO_STARTTLS,
    });
  }
}

/** The names that a certificate under a named authority may be for (RFC 7672 §3.2.3); DNSSEC secures all of them. */
function daneNames({ host, policyDomain }: Target, baseDomain: string): string[] {
  return [...new Set([baseDomain, host, ...(policyDomain === undefined ? [] : [policyDomain])])];
}

/** What is wrong with the certificate, by the records; one that fits is enough. */
function daneProblem(
  { peerCertificate, peerChain = [] }: ClientTlsInfo,
  check: AuthorityCheck,
): TlsProblem | undefined {
  const { records } = check;
  if (
    peerCertificate !== undefined &&
    records.some((record) => record.usage === 3 && matchesTlsa(peerCertificate, record))
  ) return undefined;
  const why = "the certificate is not the one that DNSSEC names (TLSA)";
  if (!records.some(({ usage }) => usage === 2)) return { type: "validation-failure", why };
  const type = authorityProblem(peerChain, check);
  return type === undefined ? undefined : { type, why: `${why}: ${AUTHORITY_PROBLEMS[type]}` };
}

const AUTHORITY_PROBLEMS: Readonly<Record<AuthorityProblem, string>> = {
  "certificate-not-trusted": "it does not come from an authority that is named",
  "certificate-expired": "it, or what it comes from, is not valid at this time",
  "certificate-host-mismatch": "it is for another name",
};

/** What broke the connection says no more than that; what was wrong with TLS says so itself. */
function handshakeError(error: unknown): string {
  const broken = error instanceof DeadlineError || error instanceof ConnectionError;
  return `${broken ? "TLS handshake failed: " : ""}${errorText(error)}`;
}

function handshakeProblem(error: unknown): TlsProblem {
  const { code } = error as { code?: unknown };
  const known = typeof code === "string" ? certificateProblem(code) : undefined;
  return known !== undefined && /certificate not accepted/.test(errorText(error))
    ? known
    : { type: "validation-failure", why: handshakeError(error) };
}

/** By the code of the TLS library. */
function certificateProblem(code = "no reason given"): TlsProblem {
  const type = code === "CERT_HAS_EXPIRED"
    ? "certificate-expired"
    : code === "ERR_TLS_CERT_ALTNAME_INVALID"
    ? "certificate-host-mismatch"
    : "certificate-not-trusted";
  return { type, why: `the certificate is not accepted: ${code}` };
}
