/**
 * The configurations of the demo's hosts, and where these listen.
 *
 * @module
 */
import { join } from "@std/path";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import type { DemoDomain } from "./dns.ts";

/** The domains that take mail: the server of the first is up, that of the second is down at first. */
export const NAMES = { here: "demo.test", later: "later.test" };
/** The mailboxes of both. */
export const USERS = ["alice", "bob"];
const RETRY_SECONDS = 2;

/** Where the servers listen. */
export interface Places {
  /** The addresses of the hosts that take mail; serve-out reaches both on the same port. */
  readonly here: string;
  /** The second one. */
  readonly later: string;
  /** The port of both for SMTP. */
  readonly smtp: number;
  /** The one for TLS at once. */
  readonly tls: number;
  /** The port that serve-out has on 127.0.0.1. */
  readonly serveOut: number;
}

/** Two addresses of loopback, and ports that are free on them: the usual ones, or any. */
export function choosePlaces(): Places {
  const here = "127.0.0.1";
  // Not every system has more than one IPv4 address there.
  const later = ["127.0.0.2", "::1"].find((address) => canBind(address, 0));
  if (later === undefined) {
    throw new CommandError("the demo needs a second address on loopback, 127.0.0.2 or ::1", EXIT.unavailable);
  }
  const taken = new Set<number>();
  const choose = (usual: number) => {
    for (let port = usual;; port = anyPort(here)) {
      if (taken.has(port) || ![here, later].every((address) => canBind(address, port))) continue;
      taken.add(port);
      return port;
    }
  };
  return { here, later, smtp: choose(2525), tls: choose(2465), serveOut: choose(2587) };
}

function canBind(hostname: string, port: number): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return true;
  } catch {
    return false;
  }
}

function anyPort(hostname: string): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return listener.addr.port;
}

/** A domain of the demo, and the host that takes its mail. */
export function domain(which: "here" | "later", places: Places): DemoDomain {
  const name = NAMES[which];
  return { name, host: `mx.${name}`, address: places[which] };
}

/** The files that {@linkcode writeConfigs} wrote. */
export interface Configs {
  /** Of the host that is up. */
  readonly serveIn: string;
  /** Of the host that sends. */
  readonly serveOut: string;
  /** Of the host that comes later. */
  readonly later: string;
  /** Where the Maildirs are. */
  readonly mail: string;
}

/** Writes the configurations of the three hosts. */
export async function writeConfigs(
  directory: string,
  { here, later, sender, places, dnsPort }: {
    readonly here: DemoDomain;
    readonly later: DemoDomain;
    /** Who sends; the first host takes what comes back to it. */
    readonly sender: string;
    readonly places: Places;
    readonly dnsPort: number;
  },
): Promise<Configs> {
  const mail = join(directory, "mail");
  const write = async (name: string, text: string) => {
    const file = join(directory, `${name}.toml`);
    const head = `# Written by "deno task demo", each time again.\n`;
    const dataDir = `data_dir = ${JSON.stringify(join(directory, name))}\n`;
    await Deno.writeTextFile(file, `${head}${dataDir}${text}`);
    return file;
  };
  return {
    serveIn: await write("serve-in", serveInText(here, { places, mail, dnsPort, alsoFor: sender })),
    serveOut: await write("serve-out", serveOutText({ places, dnsPort, domain: domainOf(sender) })),
    later: await write("later", serveInText(later, { places, mail, dnsPort })),
    mail,
  };
}

const LOG = `
[log]
level = "trace"
format = "json"
`;

function serveInText(
  { name, host, address }: DemoDomain,
  { places, mail, dnsPort, alsoFor }: {
    readonly places: Places;
    readonly mail: string;
    readonly dnsPort: number;
    /** One more address, in its own domain. */
    readonly alsoFor?: string;
  },
): string {
  const quoted = JSON.stringify;
  const users = USERS.map((user) => `${user}@${name}`);
  const others = alsoFor === undefined ? [] : [alsoFor];
  return `hostname = ${quoted(host)}
${LOG}
[tls]
self_signed = true

[dns]
servers = ["127.0.0.1:${dnsPort}"]

[serve-in]
listen = [${quoted(address)}]
port = ${places.smtp}
tls_port = ${places.tls}
domains = ${quoted([name, ...others.map(domainOf)])}
min_free_space = "16MiB"

[mailboxes]
path = ${quoted(join(mail, "{domain}", "{user}"))}
users = ${quoted([...users, ...others])}

[mailboxes.aliases]
postmaster = ${quoted(users[0])}
`;
}

function domainOf(address: string): string {
  return address.slice(address.indexOf("@") + 1);
}

function serveOutText(
  { places, dnsPort, domain }: {
    readonly places: Places;
    readonly dnsPort: number;
    readonly domain: string;
  },
): string {
  return `hostname = "out.${domain}"
${LOG}
[dns]
servers = ["127.0.0.1:${dnsPort}"]

[serve-out]
listen = ["127.0.0.1"]
port = ${places.serveOut}
qualify_domain = "${domain}"
smtp_port = ${places.smtp} # not 25, which needs root
allow_private_targets = true # the other hosts are on loopback
retry = ["${RETRY_SECONDS}s"] # short, for the demo
min_free_space = "16MiB"
`;
}
