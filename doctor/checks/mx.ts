/**
 * Whether mail for the domains finds this server.
 *
 * @module
 */
import { isIP } from "node:net";
import type { MxRecord } from "../../dns/resolver.ts";
import { failure, type Finding, ok, unanswered, warning } from "../finding.ts";
import { includesAddress, type MachineName, type World } from "../world.ts";

/** Checks the MX records of each domain that mail is taken for, and of the machine's own names. */
export async function checkMx(world: World): Promise<Finding[]> {
  const { domains, machineNames = [] } = world;
  const findings = await Promise.all([
    ...domains.map((domain) => checkDomain(domain, world)),
    ...machineNames.map((name) => checkMachineName(name, world)),
  ]);
  return findings.flat();
}

/** Mail to a name of this machine is its own, unless others read that domain's mail. */
async function checkMachineName({ name, home }: MachineName, world: World): Promise<Finding[]> {
  const answer = await world.resolver.mx(name);
  if (answer.kind !== "found" || answer.records.some(({ exchange }) => exchange === ".")) return [];
  const hosts = await Promise.all(answer.records.map((record) => look(record, world)));
  if (hosts.some(({ ours }) => ours)) return [];
  const [{ exchange } = { exchange: "" }] = answer.records.toSorted((one, other) =>
    one.preference - other.preference
  );
  return [warning("mx.machine", name, {
    what:
      `mail to ${name} has its mailboxes at ${exchange}, as DNS says; but mail that programs of this machine ` +
      `send there goes to those of ${home} here, since it is this machine's own name`,
    next:
      `Add "${name}" = "${exchange}" to [serve-out.routes]; or give this machine a name of its own, such as ` +
      `mail.${name}.`,
  })];
}

async function checkDomain(domain: string, world: World): Promise<Finding[]> {
  const { hostname, resolver } = world;
  const publish = `Publish: ${domain}. MX 10 ${hostname}.`;
  const answer = await resolver.mx(domain);
  if (answer.kind === "failed") return [unanswered("mx", domain, answer.reason)];
  if (answer.kind !== "found") {
    const what = answer.kind === "none"
      ? "the domain has no MX record, so its mail goes to its A or AAAA address, if it has one"
      : "the domain does not exist in DNS";
    return [failure("mx.missing", domain, { what, next: publish })];
  }
  const records = answer.records;
  if (records.some(({ exchange }) => exchange === ".")) {
    return [failure("mx.null", domain, {
      what: `MX "." says that the domain accepts no mail (RFC 7505)`,
      next: `Remove it. ${publish}`,
    })];
  }
  const hosts = await Promise.all(records.map((record) => look(record, world)));
  const findings = hosts.flatMap((host) => host.finding === undefined ? [] : [host.finding(domain)]);
  if (findings.length > 0) return findings;
  if (!hosts.some(({ ours }) => ours)) {
    return [failure("mx.elsewhere", domain, {
      what: `its MX is ${records.map(({ exchange }) => exchange).join(", ")}, which is not this server`,
      next: publish,
    })];
  }
  const best = Math.min(...records.map(({ preference }) => preference));
  if (!hosts.some(({ ours, preference }) => ours && preference === best)) {
    const first = records.filter(({ preference }) => preference === best).map(({ exchange }) => exchange);
    return [warning("mx.second", domain, {
      what: `its mail goes to ${first.join(", ")} first, and here only when that does not answer`,
      next: `If that is not intended: give ${hostname} the lowest number of all MX records.`,
    })];
  }
  return [
    ok("mx", domain, records.map(({ preference, exchange }) => `${preference} ${exchange}`).join(", ")),
  ];
}

interface Exchange {
  readonly ours: boolean;
  readonly preference: number;
  readonly finding?: (domain: string) => Finding;
}

async function look({ preference, exchange }: MxRecord, world: World): Promise<Exchange> {
  const { hostname, resolver, listening } = world;
  const replace = `Publish the server's own name in its place: MX ${preference} ${hostname}.`;
  if (exchange === "" || isIP(exchange) !== 0) {
    return {
      ours: false,
      preference,
      finding: (domain) =>
        failure("mx.no-name", domain, {
          what: `its MX ${exchange || "record"} is not a host name; many senders reject it`,
          next: replace,
        }),
    };
  }
  const alias = await resolver.cname(exchange);
  if (alias.kind === "found") {
    return {
      ours: true,
      preference,
      finding: (domain) =>
        failure("mx.cname", domain, {
          what:
            `its MX ${exchange} is an alias (CNAME) of ${alias.records[0]}; many senders do not follow it ` +
            "(RFC 2181 §10.3)",
          next: `${replace} Or give ${exchange} A and AAAA records of its own.`,
        }),
    };
  }
  if (exchange === hostname) return { ours: true, preference };
  const answers = await Promise.all([resolver.a(exchange), resolver.aaaa(exchange)]);
  const addresses = answers.flatMap((answer) => answer.kind === "found" ? answer.records : []);
  if (addresses.length === 0 && answers.every(({ kind }) => kind !== "failed")) {
    return {
      ours: false,
      preference,
      finding: (domain) =>
        failure("mx.dead", domain, {
          what: `its MX ${exchange} has no address`,
          next: `Remove it, or give ${exchange} an A record. ${replace}`,
        }),
    };
  }
  return { ours: addresses.some((address) => includesAddress(listening, address)), preference };
}
