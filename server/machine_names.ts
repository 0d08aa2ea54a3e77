/**
 * The machine's own names, which programs such as cron send mail to: such mail is for its own mailboxes.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { addressScope } from "../net/ip_address.ts";
import { openMailboxes } from "./parts.ts";

/** Maps a name of this machine to the local domain that it stands for; `undefined` for any other domain. */
export type MachineDomain = (domain: string) => string | undefined;

/**
 * The domain that the machine's names stand for: the qualify domain if that is local, else the first domain. A
 * domain of `[serve-in]`, or one with a route, is left as it is. With no local domains, names that mean nothing beyond
 * this machine stand for the qualify domain, as a bare name does; the host's full name may have mailboxes elsewhere.
 * @param systemHostname The host's own name, fully qualified or not.
 */
export function machineDomain(config: Config, systemHostname: string): MachineDomain {
  const { hostname, serveIn: { domains }, serveOut: { qualifyDomain, routes } } = config;
  const [first = qualifyDomain] = domains;
  const home = domains.includes(qualifyDomain) ? qualifyDomain : first;
  const own = systemHostname.toLowerCase();
  const [short = own] = own.split(".");
  const names = new Set([
    ...["localhost", "localhost.localdomain", short, `${short}.localdomain`],
    ...(domains.length === 0 ? [] : [hostname, own]),
  ]);
  for (const known of [...domains, ...Object.keys(routes), home, ""]) names.delete(known);
  return (domain) => {
    const name = domain.toLowerCase();
    return names.has(name) || isLoopback(name) ? home : undefined;
  };
}

/** Whether a domain is an address of the loopback interface, as a literal or bare, in any spelling. */
function isLoopback(domain: string): boolean {
  const address = domain.replace(/^\[(?:ipv6:)?([^\]]*)\]$/, "$1");
  return addressScope(address) === "loopback";
}

/** The warnings if mail to root, such as cron's, has no recipient. */
export function rootMailWarnings(config: Config): string[] {
  const { hostname, serveIn: { domains }, serveOut: { qualifyDomain, routes } } = config;
  const [first] = domains;
  if (first === undefined) {
    if (qualifyDomain !== hostname || routes["*"] !== undefined || routes[hostname] !== undefined) return [];
    return [
      `mail to root, which cron and other programs of this machine send, goes to root@${hostname}, and this machine ` +
      `has no mailboxes: unless DNS leads ${hostname} to another mail server, name a domain that has some in ` +
      `[serve-out] qualify_domain`,
    ];
  }
  const domain = domains.includes(qualifyDomain) ? qualifyDomain : first;
  try {
    if (openMailboxes(config).resolve({ localPart: "root", domain }).kind === "local") return [];
  } catch (error) {
    // Problems of the mailboxes are reported elsewhere.
    if (error instanceof ConfigError) return [];
    throw error;
  }
  return [
    `mail to root, which cron and other programs of this machine send, is not delivered: ` +
    `add root = "alice", or whoever is to read it, to [mailboxes.aliases]`,
  ];
}
