/**
 * The machine's own names, by which programs such as cron write to it: mail to them is for its own mailboxes.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { openMailboxes } from "./parts.ts";

/** Leads a domain to the local one that it stands for; `undefined`: it is no name of this machine. */
export type MachineDomain = (domain: string) => string | undefined;

/**
 * What mail to the machine's names becomes mail to: the qualify domain, where that is local, else the first domain. A
 * domain of `[serve-in]`, and one with a route, are what they say. With no local domains, names that mean nothing beyond
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
    ...["localhost", "localhost.localdomain", "[127.0.0.1]", "[ipv6:::1]", short, `${short}.localdomain`],
    ...(domains.length === 0 ? [] : [hostname, own]),
  ]);
  for (const known of [...domains, ...Object.keys(routes), home, ""]) names.delete(known);
  return (domain) => names.has(domain.toLowerCase()) ? home : undefined;
}

/** What is said where mail to root, as cron sends it, reaches nobody. */
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
    // What is wrong with the mailboxes is said elsewhere.
    if (error instanceof ConfigError) return [];
    throw error;
  }
  return [
    `mail to root, which cron and other programs of this machine send, reaches nobody: ` +
    `add root = "alice", or who else is to read it, to [mailboxes.aliases]`,
  ];
}
