/**
 * The input of the DNS checks.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { Resolver } from "../dns/resolver.ts";
import { addressScope, isIpv6, sameAddress } from "../net/ip_address.ts";
import { failure, type Finding, ok, unanswered, untested, warning } from "./finding.ts";

/** A full name of this machine, to which programs such as cron send mail. */
export interface MachineName {
  /** The name. */
  readonly name: string;
  /** The domain of serve-in whose mailboxes get that mail. */
  readonly home: string;
}

/** The configuration, and the resolver to check it against DNS. */
export interface World {
  /** The server's name. */
  readonly hostname: string;
  /** The domains that serve-in takes mail for. */
  readonly domains: readonly string[];
  /** Full names of this machine whose mail serve-out delivers to a domain of its own; absent: none. */
  readonly machineNames?: readonly MachineName[];
  /** The addresses of serve-in; empty if it is not configured. */
  readonly listening: readonly string[];
  /** The source addresses of serve-out; empty if unknown, or if mail leaves through a smarthost. */
  readonly sending: readonly string[];
  /** The host that all mail leaves through. */
  readonly smarthost?: string;
  /** Whether private addresses count as public ones. */
  readonly closedNetwork: boolean;
  /** The public keys of the signing keys. */
  readonly dkim: readonly { readonly domain: string; readonly recordName: string; readonly record: string }[];
  /** The certificate of STARTTLS. */
  readonly certificate?: X509Certificate;
  /** Whether the DNS servers validate. */
  readonly dnssec: boolean;
  /** Answers. */
  readonly resolver: Resolver;
}

/**
 * Checks that the server's name resolves to its addresses. If all IPv4 addresses are private, the machine is behind
 * NAT, and the returned world has the addresses that the name resolves to.
 */
export async function checkAddresses(world: World): Promise<{ findings: Finding[]; world: World }> {
  const { hostname, resolver, closedNetwork } = world;
  const answers = await Promise.all([resolver.a(hostname), resolver.aaaa(hostname)]);
  const failed = answers.find((answer) => answer.kind === "failed");
  if (failed?.kind === "failed") return { findings: [unanswered("address", hostname, failed.reason)], world };
  const published = answers.flatMap((answer) => answer.kind === "found" ? answer.records : []);
  const own = [...new Set([...world.listening, ...world.sending])];
  const hidden = closedNetwork ? [] : own.filter((address) => addressScope(address) !== "public");
  const findings: Finding[] = [];
  let seen = world;
  if (hidden.length > 0) {
    const outside = published.filter((address) => !address.includes(":"));
    if (outside.length > 0) {
      findings.push(untested("address.nat", hostname, {
        what: `this machine has ${hidden.join(", ")}, so it is behind NAT; ` +
          `whether ${outside.join(", ")} leads here cannot be tested from here`,
        next: "The router must forward port 25 to this machine. Test it from elsewhere: nc -C " +
          `${hostname} 25`,
      }));
      seen = {
        ...world,
        listening: throughNat(world.listening, { hidden, outside }),
        sending: throughNat(world.sending, { hidden, outside }),
      };
    } else {
      findings.push(failure("address.missing", hostname, {
        what: `the name has no IPv4 address in DNS`,
        next: `Publish an A record for ${hostname} with the public address; mailapp dns prints the line.`,
      }));
    }
  }
  if (world.domains.length > 0 && !closedNetwork && published.length > 0 && published.every(isIpv6)) {
    findings.push(warning("address.no-ipv4", hostname, {
      what:
        "the name has no IPv4 address: servers that have no IPv6, which are many, can neither send mail here nor " +
        "get any from here",
      next:
        "Get an IPv4 address, or have a server that has one as a second MX, and for outgoing mail a smarthost " +
        "(docs/guide/smarthost.md).",
    }));
  }
  const known = [...new Set([...seen.listening, ...seen.sending])].filter((own) => !hidden.includes(own));
  for (const address of seen.sending.filter((own) => !hidden.includes(own))) {
    if (includesAddress(published, address)) continue;
    findings.push(failure("address.missing", address, {
      what: `mail is sent from here, and ${hostname} has no ${recordType(address)} record with this address`,
      next: `Publish: ${hostname}. ${recordType(address)} ${address}; or send from another address ` +
        `([serve-out] ${address.includes(":") ? "source_ipv6, or family" : "source_ipv4"}).`,
    }));
  }
  for (const address of published) {
    if (world.listening.length === 0 || includesAddress(known, address)) continue;
    findings.push(failure("address.foreign", address, {
      what:
        `${hostname} is in DNS, but is not an address of this server: mail that goes there is lost or late`,
      next: `Take the ${recordType(address)} record of ${hostname} with ${address} out, or listen there.`,
    }));
  }
  if (findings.length === 0 && published.length > 0) {
    findings.push(ok("address", hostname, published.join(", ")));
  } else if (published.length === 0 && findings.length === 0) {
    findings.push(failure("address.missing", hostname, {
      what: "the name has no address in DNS, so this server cannot be found",
      next: `Publish an A record for ${hostname}; mailapp dns prints the line.`,
    }));
  }
  return { findings, world: seen };
}

/** Whether one of the texts is this address. */
export function includesAddress(addresses: readonly string[], address: string): boolean {
  return addresses.some((other) => sameAddress(other, address));
}

/** The type of record that holds such an address. */
export function recordType(address: string): "A" | "AAAA" {
  return address.includes(":") ? "AAAA" : "A";
}

function throughNat(
  addresses: readonly string[],
  { hidden, outside }: { hidden: readonly string[]; outside: readonly string[] },
): string[] {
  const kept = addresses.filter((address) => !hidden.includes(address));
  return kept.length === addresses.length ? kept : [...kept, ...outside];
}
