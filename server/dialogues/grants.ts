/**
 * What the dialogues of serve-in may touch.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../../config/config.ts";
import { mailRootOf } from "../../maildir/mailboxes.ts";
import { showEndpoint } from "../../net/listen.ts";
import { asksDns, dnsGrants } from "../dns_parts.ts";
import { filterGrants, type Grants, logFile, PASSWD_FILE } from "../grants.ts";
import { incomingDirectory } from "../parts.ts";
import type { GrantOptions } from "../server.ts";

/** What the dialogues of serve-in need, in whichever thread they are. */
export function dialogueGrants(
  config: Config,
  { addresses, dnsServers, ports = config.serveIn }: Omit<GrantOptions, "configFile">,
): Grants {
  const { dataDir, tls: { certificate, selfSigned, acme }, mailboxes } = config;
  const mailRoot = mailRootOf(mailboxes.path);
  const own = [
    mailRoot,
    incomingDirectory(config),
    ...(selfSigned || acme !== undefined ? [join(dataDir, "tls")] : []),
  ];
  const hasTlsPort = ports.tlsPort !== false && (certificate !== undefined || selfSigned);
  const listening = [ports.port, ...(hasTlsPort ? [Number(ports.tlsPort)] : [])];
  const dns = dnsGrants(config, dnsServers);
  const filters = filterGrants(config);
  return {
    net: [
      ...addresses.flatMap((address) => listening.map((port) => showEndpoint(address, port))),
      ...dns.net,
      ...filters.net,
    ],
    read: [
      ...own,
      ...(certificate === undefined ? [] : [certificate.certFile, certificate.keyFile]),
      ...(mailboxes.users === "system" ? [PASSWD_FILE] : []),
      ...(asksDns(config) ? dns.read : []),
      ...filters.read,
    ],
    write: [...own, ...filters.write, ...logFile(config)],
    sys: ["statfs", "uid"],
  };
}
