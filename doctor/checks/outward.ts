/**
 * Whether mail can leave: port 25 outwards, which many providers block.
 *
 * @module
 */
import { isIP } from "node:net";
import type { Resolver } from "../../dns/resolver.ts";
import type { Clock } from "../../base/clock.ts";
import { SUBMISSIONS_PORT } from "../../smtp/client.ts";
import { ConnectionError } from "../../net/conn_transport.ts";
import type { SocketAddress } from "../../net/transport.ts";
import type { Transport } from "../../net/transport.ts";
import { Dialogue } from "../dialogue.ts";
import { failure, type Finding, ok, untested } from "../finding.ts";
import type { Setup } from "../setup.ts";
import { errorText } from "../../base/error_text.ts";

/** Which servers to connect to. */
export interface OutwardCheck {
  /** A domain with mail servers that are always up; or the smarthost, by its name or IP address. */
  readonly target: { readonly domain: string } | { readonly host: string };
  /** The port, 25 as a rule. */
  readonly port: number;
  /** The families that mail is sent over; a smarthost's IP address has its own. */
  readonly families: readonly (4 | 6)[];
  /** Finds the target. */
  readonly resolver: Resolver;
  /** Connects, from the address that mail is sent from. */
  readonly dial: (to: SocketAddress) => Promise<Transport>;
  /** The clock of the timeouts. */
  readonly clock: Clock;
}

const TIMEOUT = 20_000;
const HOSTS = 2;

/** Tests the smarthost, or else the mail servers of the probe's domain. */
export async function checkWayOut(
  { own, probe, wayOut, resolver, clock }: Pick<Setup, "own" | "probe" | "wayOut" | "resolver" | "clock">,
): Promise<Finding[]> {
  const target = own.smarthost === undefined ? { domain: probe } : { host: own.smarthost.host };
  return await checkOutward({ ...wayOut, target, resolver, clock });
}

/** Connects, waits for the greeting (after a handshake on port 465), and says QUIT. Never throws. */
export async function checkOutward(check: OutwardCheck): Promise<Finding[]> {
  const { target, resolver } = check;
  const hosts = "host" in target ? [target.host] : await mailHosts(target.domain, resolver);
  const name = "host" in target ? target.host : target.domain;
  if (typeof hosts === "string") return [untested("outward", name, { what: hosts })];
  const own = isIP(name);
  const families = own === 4 || own === 6 ? [own] as const : check.families;
  return await Promise.all(
    families.map(async (family) => await tryFamily(family, { ...check, hosts, name })),
  );
}

async function mailHosts(domain: string, resolver: Resolver): Promise<readonly string[] | string> {
  const answer = await resolver.mx(domain);
  if (answer.kind === "failed") return `DNS gave no answer about ${domain}: ${answer.reason}`;
  if (answer.kind !== "found") return `${domain} has no mail server in DNS`;
  return answer.records.map(({ exchange }) => exchange).slice(0, HOSTS);
}

async function tryFamily(
  family: 4 | 6,
  check: OutwardCheck & { readonly hosts: readonly string[]; readonly name: string },
): Promise<Finding> {
  const { hosts, name, port, resolver, dial, clock } = check;
  const subject = `port ${port} over IPv${family}`;
  const tried: string[] = [];
  let unreachable = false;
  let foreignSource = false;
  for (const host of hosts) {
    const address = await addressOf(host, family, resolver);
    if (address === undefined) continue;
    const shown = host === address ? address : `${host} [${address}]`;
    try {
      const transport = await dial({ address, port });
      using dialogue = new Dialogue(transport, { clock, timeout: TIMEOUT });
      if (port === SUBMISSIONS_PORT) await dialogue.startTls(host);
      const { code } = await dialogue.listen();
      await dialogue.end();
      return ok("outward", subject, `${shown} greets with ${code}`);
    } catch (error) {
      const code = error instanceof ConnectionError ? error.code : "";
      unreachable ||= code === "ENETUNREACH";
      foreignSource ||= code === "EADDRNOTAVAIL";
      tried.push(`${shown}: ${errorText(error)}`);
    }
  }
  if (tried.length === 0) {
    return untested("outward", subject, { what: `${name} has no IPv${family} address` });
  }
  if (foreignSource) {
    return failure("outward.source", subject, {
      what: `nothing can be sent: ${tried.join("; ")}`,
      next: `Give [serve-out] source_ipv${family} an address of this machine, or take it out.`,
    });
  }
  if (unreachable) {
    return untested("outward", subject, {
      what: `this machine has no way into the Internet over IPv${family}: ${tried.join("; ")}`,
    });
  }
  return failure("outward.blocked", subject, {
    what: `no connection to ${name}: ${tried.join("; ")}`,
    next: port === 25
      ? "Many providers block port 25 outwards: ask yours to open it. Or send through a smarthost on port 587: " +
        `[serve-out.routes] "*".`
      : "Check name and port, and whether a firewall blocks it.",
  });
}

async function addressOf(host: string, family: 4 | 6, resolver: Resolver): Promise<string | undefined> {
  if (isIP(host) === family) return host;
  const answer = await (family === 4 ? resolver.a(host) : resolver.aaaa(host));
  return answer.kind === "found" ? answer.records[0] : undefined;
}
