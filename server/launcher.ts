/**
 * The thread that starts a server's thread, where that server follows the addresses of the machine.
 *
 * What a thread may touch is fixed when it begins, and a server may listen on its own addresses only. So an address that
 * comes later takes another thread, and somebody who may give it that address. The main thread cannot: it has given up
 * all permissions before the server sees the network. This thread does it. It has the permissions of the server, and to
 * listen on and connect to any address, but no more; no octet from the network gets here, and all that the server's
 * thread can say is that it lives or has ended.
 *
 * @module
 */
import { type ListenAddress, listenAddresses, ListenError } from "../net/interfaces.ts";
import { showEndpoint } from "../net/listen.ts";
import { EXIT } from "./exit_codes.ts";
import type { Grants } from "./grants.ts";
import { ToldNetwork } from "./network_files.ts";
import type { ServerStart } from "./server_start.ts";
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

/** How often addresses are looked at, in milliseconds. */
const LOOK_AGAIN = 5_000;
/**
 * New addresses often come together, as the two families do; after so many milliseconds the server's thread is replaced
 * once for all of them.
 */
const SETTLE = 2_000;

/** What a launcher may touch, for a server with these grants. */
export function launcherGrants({ read, write, sys }: Grants): Grants {
  return {
    net: true,
    // The modules of the program, which a thread that it starts is made of.
    read: [...read, ...programFiles()],
    write,
    sys: [...new Set([...sys, "networkInterfaces"])],
  };
}

/** What a launcher's thread does, for the rest of its life. */
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
  /** Whether the thread can be told something. */
  #loaded = false;
  #addresses: readonly ListenAddress[] = [];
  #settling: ReturnType<typeof setTimeout> | undefined;
  /** The thread ends so that another one can begin. */
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
        // What the main thread tells of are routes and IPv6 addresses.
        setInterval(() => this.#look(), LOOK_AGAIN);
        return this.#tell(message);
      case "network":
        this.#network.texts = message.texts;
        return this.#look();
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
        // Between two threads this one answers.
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
    // Who owns the server's thread may say anything.
    if (this.#loaded) return;
    this.#loaded = true;
    if (!this.#replacing) return this.#scope.postMessage({ kind: "ready" });
    this.#replacing = false;
    if (this.#launch === undefined || this.#start === undefined) return;
    const { grants } = this.#launch;
    this.#tell({ kind: "start", start: { ...this.#start, grants, addresses: this.#addresses } });
    if (this.#reloaded) this.#tell({ kind: "reload" });
    this.#look();
  }

  #ended(message: FromServer & { readonly kind: "ended" }): void {
    if (!this.#replacing || this.#stopped) return this.#scope.postMessage(message);
    this.#thread?.terminate();
    this.#load();
  }

  #tell(message: ToServer): void {
    if (this.#loaded) this.#thread?.postMessage(message);
  }

  /** Sees where to listen now; what was there stays where that cannot be told. */
  #look(): void {
    const found = this.#find();
    if (found === undefined || this.#replacing || this.#stopped || sameAddresses(found, this.#addresses)) {
      return;
    }
    if (this.#beyond(found).length === 0) {
      this.#addresses = found;
      return this.#tell({ kind: "addresses", addresses: found });
    }
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      this.#replace();
    }, SETTLE);
  }

  #find(): readonly ListenAddress[] | undefined {
    const listen = this.#start?.follow?.listen;
    if (listen === undefined) return undefined;
    try {
      return listenAddresses(listen, this.#network);
    } catch (error) {
      if (error instanceof ListenError) return undefined;
      throw error;
    }
  }

  #endpoints(addresses: readonly ListenAddress[]): string[] {
    const ports = this.#start?.follow?.ports ?? [];
    return addresses.flatMap(({ address }) => ports.map((port) => showEndpoint(address, port)));
  }

  /** The endpoints of these addresses that the thread may not listen on. */
  #beyond(addresses: readonly ListenAddress[]): string[] {
    const net = this.#launch?.grants.net ?? true;
    return net === true ? [] : this.#endpoints(addresses).filter((endpoint) => !net.includes(endpoint));
  }

  /** What the server was granted beside where it listens, such as DNS servers. */
  #others(): string[] {
    const { grants, addresses = [] } = this.#start ?? {};
    const own = this.#endpoints(addresses);
    return grants === undefined || grants.net === true
      ? []
      : grants.net.filter((endpoint) => !own.includes(endpoint));
  }

  /** Has the thread end, and another one begin that may listen on all addresses there are now. */
  #replace(): void {
    const found = this.#find();
    if (found === undefined || this.#launch === undefined || this.#start === undefined || this.#stopped) {
      return;
    }
    if (this.#beyond(found).length === 0) return this.#look();
    const { grants } = this.#launch;
    const net = [...this.#others(), ...this.#endpoints(found)];
    this.#launch = { ...this.#launch, grants: { ...grants, net } };
    this.#addresses = found;
    this.#replacing = true;
    this.#tell({ kind: "stop", reason: "new addresses" });
  }
}

function sameAddresses(some: readonly ListenAddress[], others: readonly ListenAddress[]): boolean {
  const texts = (addresses: readonly ListenAddress[]) =>
    addresses.map(({ address }) => address).sort().join();
  return texts(some) === texts(others);
}
