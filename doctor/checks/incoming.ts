/**
 * Whether serve-in can make the queries of its checks of incoming mail.
 *
 * @module
 */
import { type DnsList, testDnsList } from "../../checks/dns_lists.ts";
import type { Resolver } from "../../dns/resolver.ts";
import { failure, type Finding, ok, unanswered, warning } from "../finding.ts";

/** The checks, in doctor's terms. */
export interface IncomingChecks {
  /** Queries as serve-in does, without UDP of its own. */
  readonly resolver: Resolver;
  /** The DNS lists that it queries. */
  readonly lists: readonly DnsList[];
}

/** Queries as serve-in would, and tests each list. */
export async function checkIncoming(
  { incoming, hostname, dnsServers }: {
    readonly incoming?: IncomingChecks;
    readonly hostname: string;
    readonly dnsServers: string;
  },
): Promise<Finding[]> {
  if (incoming === undefined) return [];
  const { resolver, lists } = incoming;
  // The only type that Deno's resolver is never used for, so that this is TCP in any case.
  const answer = await resolver.cname(hostname);
  if (answer.kind === "failed") {
    return [failure("incoming.dns", dnsServers, {
      what:
        `the checks of incoming mail get no answer over TCP: ${answer.reason}; mail is accepted unchecked`,
      next:
        "Check that these servers accept TCP on that port, as all must, and that no firewall blocks it; " +
        "or name others in [dns] servers.",
    })];
  }
  const findings = await Promise.all(lists.map(({ zone }) => checkList(zone, resolver)));
  return [ok("incoming.dns", dnsServers, "answers the checks of incoming mail"), ...findings];
}

async function checkList(zone: string, resolver: Resolver): Promise<Finding> {
  const state = await testDnsList(zone, resolver);
  if (state === "untested") return unanswered("incoming.list", zone, "its test entries cannot be looked up");
  if (!("dead" in state)) return ok("incoming.list", zone, "works");
  return warning("incoming.list", zone, {
    what: `the DNS list is not used: ${state.dead}`,
    next: "Remove it from [serve-in.checks] dns_lists; or, if it refuses public resolvers, use your own.",
  });
}
