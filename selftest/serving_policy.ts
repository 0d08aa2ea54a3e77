/**
 * Senders that fetch our MTA-STS policy, and hostile clients of serve-policy.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import { latin1, latin1Bytes } from "../base/latin1.ts";
import type { Config } from "../config/config.ts";
import { failure, ok, untested } from "../doctor/finding.ts";
import { policyHostOf } from "../mta_sts/own_policy.ts";
import { allowsMx, parsePolicy, type Policy } from "../mta_sts/policy.ts";
import { createDial } from "../net/dial.ts";
import { DeadlineError, type Transport } from "../net/transport.ts";
import { namesOf } from "../tls/certificates.ts";
import { type ClientTlsInfo, clientUpgrade } from "../tls/client_upgrade.ts";
import { type PolicyRequest, policyRequests } from "./cases/policy_requests.ts";
import type { Copy } from "./copies.ts";
import { freshClient, type Stage, type Tell } from "./stage.ts";

const DEFECT = "This is a defect of mailapp, not of the configuration: please report it with this line";

/** For an answer, in milliseconds: serve-policy itself ends slow clients after ten seconds. */
const PATIENCE = 30_000;
/** Of a response, in octets. */
const MAX_RESPONSE = 1024 * 1024;

/** All of them, against one copy. */
export async function policyCases(
  { config }: Stage,
  { copy, tell }: { readonly copy: Copy; readonly tell: Tell },
): Promise<void> {
  const port = copy.tlsPort ?? 0;
  const [first = "", second = first] = config.serveIn.domains;
  const slow = slowClients({ port, host: policyHostOf(first), tell });
  for (const domain of config.serveIn.domains) await asSender(domain, { port, config, copy, tell });
  const host = policyHostOf(first);
  for (const asked of policyRequests(host, { other: policyHostOf(second) })) {
    await request(asked, { port, host, tell });
  }
  await slow;
}

/** A connection over TLS, to be closed. @throws what fails in it */
async function open(
  port: number,
  host: string,
): Promise<{ transport: Transport; tls: ClientTlsInfo } & Disposable> {
  const plain = await dial(port);
  const { transport, tls } = await clientUpgrade(plain, { servername: host, verify: false });
  return { transport, tls, [Symbol.dispose]: () => transport.close() };
}

async function dial(port: number): Promise<Transport> {
  const connect = createDial({ clock: systemClock, timeout: PATIENCE, sourceIpv4: freshClient() });
  const transport = await connect({ address: "127.0.0.1", port });
  transport.deadline = systemClock.monotonic() + PATIENCE;
  return transport;
}

/** What comes until the server closes. @throws {DeadlineError} when it does not */
async function rest(transport: Transport): Promise<string> {
  const buffer = new Uint8Array(16_384);
  let text = "";
  while (text.length < MAX_RESPONSE) {
    const size = await transport.read(buffer);
    if (size === null) break;
    text += latin1(buffer.subarray(0, size));
  }
  return text;
}

const bodyOf = (response: string) => response.slice(response.indexOf("\r\n\r\n") + 4);

/** The certificate, and what a sender reads. */
async function asSender(
  domain: string,
  { port, config, copy, tell }: {
    readonly port: number;
    readonly config: Config;
    readonly copy: Copy;
    readonly tell: Tell;
  },
): Promise<void> {
  const host = policyHostOf(domain);
  const tried = `the policy of ${domain}, fetched as a sender does`;
  let policy: Policy;
  let tls: ClientTlsInfo;
  try {
    using opened = await open(port, host);
    ({ tls } = opened);
    const [asked] = policyRequests(host);
    await opened.transport.write(latin1Bytes(asked?.request ?? ""));
    policy = parsePolicy(bodyOf(await rest(opened.transport)));
  } catch (error) {
    tell(failure("policy.fetch", tried, { what: errorText(error), next: "Check [tls] cert and key" }));
    return;
  }
  certificate(host, { tls, config, copy, tell });
  const { hostname } = config;
  const { mode, mx } = policy;
  if (mode === "none") {
    tell(untested("policy.mx", tried, { what: "the policy is switched off (mode: none)" }));
  } else if (allowsMx(policy, hostname)) {
    tell(ok("policy.mx", tried, `mode ${mode}, and it allows ${hostname}`));
  } else {
    tell(failure("policy.mx", tried, {
      what: `it lists ${mx.join(", ")}, and not ${hostname}: ${
        mode === "enforce" ? "senders keep their mail" : "senders would keep their mail under enforce"
      }`,
      next: `Add ${hostname} to mx in [mta_sts], or leave mx out: it is [hostname] then`,
    }));
  }
}

/** Whether a sender would believe it. */
function certificate(
  host: string,
  { tls: { authorized, authorizationError = "", peerCertificate }, config, copy, tell }: {
    readonly tls: ClientTlsInfo;
    readonly config: Config;
    readonly copy: Copy;
    readonly tell: Tell;
  },
): void {
  const tried = `the certificate of ${host}`;
  if (copy.config.tls.certificate?.certFile !== config.tls.certificate?.certFile) {
    tell(untested("policy.certificate", tried, {
      what: "there is none yet; the copy has one of the self-test",
      next: "mailapp certificate obtain",
    }));
  } else if (authorized) {
    tell(ok("policy.certificate", tried, "valid"));
  } else {
    const leaf = peerCertificate && new X509Certificate(Buffer.from(peerCertificate));
    const misnamed = leaf !== undefined && leaf.checkHost(host) === undefined;
    tell(failure("policy.certificate", tried, {
      what: misnamed
        ? `senders do not take the policy: the certificate is for ${namesOf(leaf).join(", ")}`
        : `senders do not take the policy: ${authorizationError}`,
      next: `[tls] needs a certificate of an authority for ${host}, too${
        config.tls.acme === undefined ? "" : ": mailapp certificate renew"
      }`,
    }));
  }
}

/** One of the shared requests. */
async function request(
  { tried, request, status, bodyless }: PolicyRequest,
  { port, host, tell }: { readonly port: number; readonly host: string; readonly tell: Tell },
): Promise<void> {
  const id = "policy.request";
  const subject = `a request to serve-policy: ${tried}`;
  try {
    using opened = await open(port, host);
    await opened.transport.write(latin1Bytes(request));
    const response = await rest(opened.transport);
    const [first = ""] = response.split("\r\n");
    const hasPolicy = bodyOf(response).startsWith("version: STSv1\r\n");
    if (first.startsWith(`HTTP/1.1 ${status} `) && hasPolicy === (status === 200 && !bodyless)) {
      tell(ok(id, subject, first));
    } else {
      tell(failure(id, subject, { what: `${first}${hasPolicy ? ", with the policy" : ""}`, next: DEFECT }));
    }
  } catch (error) {
    tell(failure(id, subject, { what: errorText(error), next: DEFECT }));
  }
}

/** Clients that keep a connection and do not go on. */
async function slowClients(
  { port, host, tell }: { readonly port: number; readonly host: string; readonly tell: Tell },
): Promise<void> {
  const clients: Readonly<Record<string, () => Promise<Transport>>> = {
    "a client that connects and is silent": () => dial(port),
    "a client that is silent after the handshake": async () => (await open(port, host)).transport,
    "a client whose request does not end": async () => {
      const { transport } = await open(port, host);
      await transport.write(latin1Bytes("GET / HTTP/1.1\r\n"));
      return transport;
    },
  };
  await Promise.all(
    Object.entries(clients).map(async ([tried, connect]) => {
      try {
        const transport = await connect();
        try {
          await rest(transport);
        } finally {
          transport.close();
        }
        tell(ok("policy.slow", tried, "the connection is closed"));
      } catch (error) {
        if (error instanceof DeadlineError) {
          tell(failure("policy.slow", tried, { what: "the connection stays open", next: DEFECT }));
        } else tell(ok("policy.slow", tried, `the connection is broken off: ${errorText(error)}`));
      }
    }),
  );
}
