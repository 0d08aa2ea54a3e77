/**
 * Two hosts on one machine: network namespaces with a wire between them.
 *
 * @module
 */
import { runOk } from "./peers/process.ts";

/** The programs that {@linkcode makeHosts} needs; `root` is missing for other accounts. */
export const HOST_PROGRAMS: readonly string[] = Deno.uid() === 0 ? ["ip"] : ["ip", "root"];

/** Two hosts; disposing removes them. */
export interface Hosts extends AsyncDisposable {
  /** What runs a program on the first host, 198.51.100.1 and 2001:db8:51::1; its default routes lead to the second. */
  readonly server: readonly string[];
  /** What runs a program on the second host, 198.51.100.2 and 2001:db8:51::2. */
  readonly client: readonly string[];
  /** The first host's end of the wire. */
  readonly device: string;
}

/** Makes the hosts. The first one's address of IPv6 is tentative for a moment (RFC 4862 §5.4), not the second one's. */
export async function makeHosts(): Promise<Hosts> {
  const id = crypto.randomUUID().slice(0, 6);
  const [server, client] = [`mailapp-s-${id}`, `mailapp-c-${id}`];
  const ip = (...args: string[]) => runOk("ip", { args });
  const veth = (left: string, right: string) =>
    ip(...["link", "add", left, "netns", server, "type", "veth"], ...[
      "peer",
      "name",
      right,
      "netns",
      client,
    ]);
  await ip("netns", "add", server);
  await ip("netns", "add", client);
  await veth(`s${id}`, `c${id}`);
  for (const [host, device, number] of [[server, `s${id}`, 1], [client, `c${id}`, 2]] as const) {
    await ip("-n", host, "link", "set", "lo", "up");
    await ip("-n", host, "address", "add", `198.51.100.${number}/24`, "dev", device);
    await ip(
      "-n",
      host,
      "address",
      "add",
      `2001:db8:51::${number}/64`,
      "dev",
      device,
      ...(number === 2 ? ["nodad"] : []),
    );
    await ip("-n", host, "link", "set", device, "up");
  }
  await ip("-n", server, "route", "add", "default", "via", "198.51.100.2");
  await ip("-n", server, "route", "add", "default", "via", "2001:db8:51::2", "dev", `s${id}`);
  // Another interface that no default route uses.
  await veth("other", "other");
  await ip("-n", server, "address", "add", "203.0.113.9/24", "dev", "other");
  for (const host of [server, client]) await ip("-n", host, "link", "set", "other", "up");
  return {
    server: ["ip", "netns", "exec", server],
    client: ["ip", "netns", "exec", client],
    device: `s${id}`,
    async [Symbol.asyncDispose]() {
      await ip("netns", "del", server);
      await ip("netns", "del", client);
    },
  };
}

/** One host; disposing removes it. */
export interface LoneHost extends AsyncDisposable {
  /** What runs a program on it. */
  readonly through: readonly string[];
}

/** Makes a host with only loopback (127.0.0.1 and 127.0.0.5 as addresses), whose resolv.conf names 127.0.0.1. */
export async function makeHost(): Promise<LoneHost> {
  const name = `mailapp-t-${crypto.randomUUID().slice(0, 6)}`;
  const files = `/etc/netns/${name}`;
  await Deno.mkdir(files, { recursive: true });
  await Deno.writeTextFile(`${files}/resolv.conf`, "nameserver 127.0.0.1\noptions edns0 trust-ad\n");
  await runOk("ip", { args: ["netns", "add", name] });
  await runOk("ip", { args: ["-n", name, "link", "set", "lo", "up"] });
  // BIND listens on addresses that an interface has.
  await runOk("ip", { args: ["-n", name, "address", "add", "127.0.0.5/8", "dev", "lo"] });
  return {
    through: ["ip", "netns", "exec", name],
    async [Symbol.asyncDispose]() {
      await runOk("ip", { args: ["netns", "del", name] });
      await Deno.remove(files, { recursive: true });
    },
  };
}
