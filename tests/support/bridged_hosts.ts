/**
 * Hosts on one machine: network namespaces on one bridge.
 *
 * @module
 */
import { runOk } from "./peers/process.ts";

/** Hosts in namespaces, joined by a bridge in another one. */
export interface Network extends AsyncDisposable {
  /** The namespace in the middle, 192.0.2.254 and 2001:db8::fe: DNS, and the rest of the world. */
  readonly middle: string;
  /** 192.0.2.1 and 2001:db8::1, and so on. */
  readonly hosts: readonly string[];
}

/** Makes this many hosts; disposing removes them. */
export async function makeNetwork(count: number): Promise<Network> {
  const id = crypto.randomUUID().slice(0, 6);
  const middle = `mailapp-m-${id}`;
  const hosts = Array.from({ length: count }, (_, index) => `mailapp-${index + 1}-${id}`);
  const ip = (...args: string[]) => runOk("ip", { args });
  const made: string[] = [];
  const remove = async () => {
    for (const name of made) await ip("netns", "del", name);
  };
  const configure = async (netns: string, device: string, number: string) => {
    await ip("-n", netns, "link", "set", "lo", "up");
    await ip("-n", netns, "link", "set", device, "up");
    await ip("-n", netns, "address", "add", `192.0.2.${parseInt(number, 16)}/24`, "dev", device);
    await ip("-n", netns, "address", "add", `2001:db8::${number}/64`, "dev", device, "nodad");
  };
  try {
    for (const name of [middle, ...hosts]) {
      await ip("netns", "add", name);
      made.push(name);
    }
    await ip("-n", middle, "link", "add", "bridge", "type", "bridge");
    await configure(middle, "bridge", "fe");
    for (const [index, host] of hosts.entries()) {
      await ip(
        ...["link", "add", "eth0", "netns", host, "type", "veth"],
        ...["peer", "name", `to${index}`, "netns", middle],
      );
      await ip("-n", middle, "link", "set", `to${index}`, "master", "bridge", "up");
      await configure(host, "eth0", `${index + 1}`);
      await ip("-n", host, "route", "add", "default", "via", "192.0.2.254");
      await ip("-n", host, "route", "add", "default", "via", "2001:db8::fe", "dev", "eth0");
    }
  } catch (error) {
    await remove();
    throw error;
  }
  return { middle, hosts, [Symbol.asyncDispose]: remove };
}
