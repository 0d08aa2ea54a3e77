/**
 * Whether DNS answers at all.
 *
 * @module
 */
import type { Resolver } from "../../dns/resolver.ts";
import { failure, type Finding, ok, warning } from "../finding.ts";
import type { Setup } from "../setup.ts";

/** The input of the check. */
export interface DnsCheck {
  /** Answers. */
  readonly resolver: Resolver;
  /** Names of our own. */
  readonly names: readonly string[];
  /** A name of others. */
  readonly foreign: string;
  /** The DNS servers, for people. */
  readonly servers: string;
}

/** Checks DNS with the names of doctor's setup. */
export async function checkResolver(
  { resolver, domains, hostname, probe, dnsServers, dnsProblems }: Pick<
    Setup,
    "resolver" | "domains" | "hostname" | "probe" | "dnsServers" | "dnsProblems"
  >,
): ReturnType<typeof checkDns> {
  const names = domains.length > 0 ? domains : [hostname];
  const { findings, down } = await checkDns({ resolver, names, foreign: probe, servers: dnsServers });
  const settings = dnsProblems.map((what) =>
    warning("dns.setting", dnsServers, {
      what,
      next: "Name a server that this machine can use there or in [dns] servers.",
    })
  );
  return { findings: [...settings, ...findings], down };
}

/** Queries our own names and a foreign one. `down`: nothing was answered, so further queries are pointless. */
export async function checkDns(
  { resolver, names, foreign, servers }: DnsCheck,
): Promise<{ findings: Finding[]; down: boolean }> {
  const [{ kind }, own] = await Promise.all([
    resolver.mx(foreign),
    Promise.all(names.map((name) => resolver.mx(name))),
  ]);
  const failed = own.flatMap((answer, i) =>
    answer.kind === "failed" ? [{ name: names[i] ?? "", ...answer }] : []
  );
  if (failed.length === 0) return { findings: [ok("dns", servers, "answers")], down: false };
  if (kind === "failed" && failed.length === names.length) {
    return {
      down: true,
      findings: [failure("dns.down", servers, {
        what: `no query is answered: ${failed[0]?.reason}`,
        next:
          "Check that this machine has a network, and that /etc/resolv.conf or [dns] servers names a server " +
          "that answers.",
      })],
    };
  }
  return {
    down: false,
    findings: failed.map(({ name, reason }) =>
      failure("dns.zone", name, {
        what: `DNS lookups fail: ${reason}`,
        next: "Check the zone at your DNS provider; named-checkzone and dnsviz.net show details.",
      })
    ),
  };
}
