/**
 * Where the mail of the comparison goes, as DNS says.
 *
 * @module
 */

/** The port of all hosts that mail is relayed to: not every server can be told another. */
export const SMTP_PORT = 25;
/** The hosts of the domains `d1`, `d2`, … in turn. */
export const HOSTS: readonly string[] = Array.from({ length: 10 }, (_, index) => `127.0.1.${index + 1}`);
/** The host of the domain `seen`. */
export const SEEN_HOST = "127.0.2.1";

/** The zone with so many domains below it. */
export function zone(domains: number): string {
  return [
    "seen MX 10 seen-host",
    `seen-host A ${SEEN_HOST}`,
    ...HOSTS.map((address, index) => `host${index} A ${address}`),
    ...Array.from({ length: domains }, (_, index) => `d${index + 1} MX 10 host${index % HOSTS.length}`),
  ].join("\n");
}
