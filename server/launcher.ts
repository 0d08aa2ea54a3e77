/**
 * The thread that starts a server's thread if that server follows the addresses of the machine.
 *
 * What a thread may touch is fixed when it begins, and a server may listen on its own addresses only, and query its DNS
 * servers only. So an address that appears later, or a DNS server that resolv.conf names later, needs a new thread,
 * started by one that may grant it. The main thread cannot: it has given up
 * all permissions before the server sees the network. So this thread does. It has the server's permissions, and may
 * listen on and connect to any address, but no more; no data from the network gets here, and the server's
 * thread can only tell it that it is alive or has ended.
 *
 * @module
 */
import { parseResolvConf } from "../dns/servers.ts";
import type { DnsServer } from "../dns/wire_client.ts";
import { type ListenAddress, listenAddresses } from "../net/interfaces.ts";
import { showEndpoint } from "../net/listen.ts";
import { endpointOf, RESOLV_CONF } from "./dns_parts.ts";
import { EXIT } from "./exit_codes.ts";
import type { Grants } from "./grants.ts";
import { ToldNetwork } from "./network_files.ts";
import type { ServerStart } from "./server_start.ts";
import type { Replacement } from "./signals.ts";
import {
  type FromLauncher,
  type FromServer,
  type Launch,
  programFiles,
  startThread,
  type ThreadScope,
  type ToLauncher,
  type ToServer,
} from "./threads.ts";

/** The name of such a thread. */
export const LAUNCHER = "launcher";

/** Interval between reads of the addresses and of resolv.conf, in milliseconds. */
const POLL_INTERVAL = 5_000;
/**
 * New addresses often come together, as the two families do; after this time, in milliseconds, the server's thread is
 * replaced once for all of them.
 */
const SETTLE = 2_000;

/** What a launcher may touch, for a server with these grants. */
export function launcherGrants({ read, write, sys }: Grants): Grants {
  return {
    net: true,
    // The modules of the program, which a new thread has to load.
    read: [...read, ...programFiles()],
    write,
    sys: [...new Set([...sys, "networkInterfaces"])],
  };
}

/** Runs a launcher's thread, for the rest of its life. */
export function runLauncher(scope: ThreadScope<ToLauncher, FromLauncher>): void {
  const launcher = new Launcher(scope);
  scope.onmessage = ({ data }) => launcher.hear(data);
  scope.postMessage({ kind: "launcher" });
}

class Launcher {
  readonly #scope: ThreadScope<ToLauncher, FromLauncher>;
  readonly #network = new ToldNetwork();
  #launch: Launch | undefined;
  #start: ServerStart | undefined;
  #thread: Worker | undefined;
  /** Whether the thread can receive messages. */
  #loaded = false;
  #addresses: readonly ListenAddress[] = [];
  #dnsServers: readonly DnsServer[] = [];
  #settling: ReturnType<typeof setTimeout> | undefined;
  /** The thread is being replaced. */
  #replacing = false;
  #stopped = false;
  /** The server was told to read its configuration again. */
  #reloaded = false;

  constructor(scope: ThreadScope<ToLauncher, FromLauncher>) {
    this.#scope = scope;
  }

  hear(message: ToLauncher): void {
    switch (message.kind) {
      case "load":
        this.#launch = message.launch;
        return this.#load();
      case "start":
        this.#start = message.start;
        this.#addresses = message.start.addresses;
        this.#dnsServers = message.start.dnsServers;
        // The main thread passes on routes and IPv6 addresses.
        setInterval(() => this.#poll(), POLL_INTERVAL);
        return this.#tell(message);
      case "network":
        this.#network.texts = message.texts;
        return this.#poll();
      case "stop":
        this.#stopped = true;
        clearTimeout(this.#settling);
        if (this.#replacing && !this.#loaded) {
          return this.#scope.postMessage({ kind: "ended", exitCode: EXIT.ok });
        }
        return this.#tell(message);
      case "reload":
        this.#reloaded = true;
        return this.#tell(message);
      case "ping":
        // While the thread is being replaced, this one answers.
        if (!this.#loaded) return this.#scope.postMessage({ kind: "pong" });
        return this.#tell(message);
      default:
        return this.#tell(message);
    }
  }

  /** Starts the server's thread. */
  #load(): void {
    if (this.#launch === undefined) return;
    const { entry, server, grants } = this.#launch;
    this.#loaded = false;
    const thread = this.#thread = startThread(entry, { name: server, grants });
    thread.onerror = (event) => {
      event.preventDefault();
      this.#scope.postMessage({ kind: "died", reason: event.message });
    };
    thread.onmessage = ({ data }: MessageEvent<FromServer>) => {
      if (thread !== this.#thread) return;
      switch (data.kind) {
        case "ready":
          return this.#ready();
        case "pong":
          return this.#scope.postMessage({ kind: "pong" });
        case "ended":
          return this.#ended(data);
      }
    };
  }

  #ready(): void {
    // A compromised thread may send anything.
    if (this.#loaded) return;
    this.#loaded = true;
    if (!this.#replacing) return this.#scope.postMessage({ kind: "ready" });
    this.#replacing = false;
    if (this.#launch === undefined || this.#start === undefined) return;
    const { grants } = this.#launch;
    const [addresses, dnsServers] = [this.#addresses, this.#dnsServers];
    this.#tell({ kind: "start", start: { ...this.#start, grants, addresses, dnsServers } });
    if (this.#reloaded) this.#tell({ kind: "reload" });
    this.#poll();
  }

  #ended(message: FromServer & { readonly kind: "ended" }): void {
    if (!this.#replacing || this.#stopped) return this.#scope.postMessage(message);
    this.#thread?.terminate();
    this.#load();
  }

  #tell(message: ToServer): void {
    if (this.#loaded) this.#thread?.postMessage(message);
  }

  /** Finds what the server needs now; if that fails the present state stays. */
  #poll(): void {
    if (this.#replacing || this.#stopped) return;
    const found = this.#find();
    const beyond = found === undefined ? [] : this.#beyond(this.#endpoints(found));
    if (beyond.length > 0 || this.#newDnsServers() !== undefined) {
      this.#settling ??= setTimeout(() => {
        this.#settling = undefined;
        this.#replace();
      }, SETTLE);
      return;
    }
    if (found === undefined || sameAddresses(found, this.#addresses)) return;
    this.#addresses = found;
    this.#tell({ kind: "addresses", addresses: found });
  }

  #find(): readonly ListenAddress[] | undefined {
    const listen = this.#start?.follow?.listen;
    if (listen === undefined) return undefined;
    try {
      return listenAddresses(listen, this.#network);
    } catch {
      // There is nothing to listen on, or it cannot be read: an error here would end the server.
      return undefined;
    }
  }

  #endpoints(addresses: readonly ListenAddress[]): string[] {
    const ports = this.#start?.follow?.ports ?? [];
    return addresses.flatMap(({ address }) => ports.map((port) => showEndpoint(address, port)));
  }

  /** The DNS servers of resolv.conf, if the thread may not query all of them. */
  #newDnsServers(): readonly DnsServer[] | undefined {
    if (!this.#start?.follow?.resolvConf) return undefined;
    let text: string;
    try {
      text = Deno.readTextFileSync(RESOLV_CONF);
    } catch {
      // It may be missing while it is replaced.
      return undefined;
    }
    const { servers } = parseResolvConf(text);
    return this.#beyond(servers.map(endpointOf)).length > 0 ? servers : undefined;
  }

  /** Those of these endpoints that the thread may not use. */
  #beyond(endpoints: readonly string[]): string[] {
    const net = this.#launch?.grants.net ?? true;
    return net === true ? [] : endpoints.filter((endpoint) => !net.includes(endpoint));
  }

  /** What the server was granted besides its own addresses and DNS servers. */
  #others(): string[] {
    const { grants, addresses = [], dnsServers = [] } = this.#start ?? {};
    const own = [...this.#endpoints(addresses), ...dnsServers.map(endpointOf)];
    return grants === undefined || grants.net === true
      ? []
      : grants.net.filter((endpoint) => !own.includes(endpoint));
  }

  /** Replaces the thread by one that may listen on all current addresses, and query all current DNS servers. */
  #replace(): void {
    if (this.#launch === undefined || this.#start === undefined || this.#stopped) return;
    const found = this.#find() ?? this.#addresses;
    const dnsServers = this.#newDnsServers();
    const reason: Replacement | undefined = this.#beyond(this.#endpoints(found)).length > 0
      ? "new addresses"
      : dnsServers && "new DNS servers";
    if (reason === undefined) return this.#poll();
    this.#addresses = found;
    this.#dnsServers = dnsServers ?? this.#dnsServers;
    const { grants } = this.#launch;
    const net = [...this.#others(), ...this.#endpoints(found), ...this.#dnsServers.map(endpointOf)];
    this.#launch = { ...this.#launch, grants: { ...grants, net } };
    this.#replacing = true;
    this.#tell({ kind: "stop", reason });
  }
}

function sameAddresses(some: readonly ListenAddress[], others: readonly ListenAddress[]): boolean {
  const texts = (addresses: readonly ListenAddress[]) =>
    addresses.map(({ address }) => address).sort().join();
  return texts(some) === texts(others);
}
