/**
 * Hosts in network namespaces, each with a wire of its own to this machine, which can be cut.
 *
 * @module
 */
import { Dialogue } from "./dialogue.ts";
import { runOk } from "./peers/process.ts";

/** A host in a namespace. */
export interface WiredHost {
  /** What runs a program on it. */
  readonly through: readonly string[];
  /** Lets no packet through, or all again. No connection learns of it. */
  cut(isCut: boolean): Promise<void>;
  /** A dialogue with a port of its loopback interface. */
  connect(port: number): Dialogue;
}

/** Hosts and this machine. */
export interface WiredHosts extends AsyncDisposable {
  readonly hosts: readonly WiredHost[];
  /** The address of this machine by which all of them reach it, and its name for them. */
  readonly address: string;
  readonly name: string;
}

/** What {@linkcode wireHosts} needs; `root` is missing for other accounts. */
export const WIRE_PROGRAMS: readonly string[] = ["ip", "nc", "nft", ...(Deno.uid() === 0 ? [] : ["root"])];

const HERE = "here.test";

// What is sent and received vanishes.
const CUT = `
  table inet cut {
    chain in { type filter hook input priority 0; iifname "eth0" drop; }
    chain out { type filter hook output priority 0; oifname "eth0" drop; }
  }`;

/** Makes this many hosts; disposing removes them. */
export async function wireHosts(count: number): Promise<WiredHosts> {
  const id = crypto.randomUUID().slice(0, 6);
  const [a = 0, b = 0] = crypto.getRandomValues(new Uint8Array(2));
  // A network for each run, as several may run at a time.
  const network = `10.${a}.${b}`;
  const address = `${network}.254`;
  const ip = (...args: string[]) => runOk("ip", { args });
  await using made = new AsyncDisposableStack();
  await ip("address", "add", `${address}/32`, "dev", "lo");
  made.defer(async () => void await ip("address", "del", `${address}/32`, "dev", "lo"));
  const hosts: WiredHost[] = [];
  for (let number = 0; number < count; number++) {
    const name = `mailapp-${number}-${id}`;
    const files = `/etc/netns/${name}`;
    await Deno.mkdir(files, { recursive: true });
    made.defer(() => Deno.remove(files, { recursive: true }));
    await Deno.writeTextFile(`${files}/hosts`, `127.0.0.1 localhost\n${address} ${HERE}\n`);
    const device = `m${number}-${id}`;
    const [here, there] = [`${network}.${4 * number + 1}`, `${network}.${4 * number + 2}`];
    await ip("netns", "add", name);
    made.defer(async () => void await ip("netns", "del", name));
    await ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", name);
    await ip("address", "add", `${here}/30`, "dev", device);
    await ip("link", "set", device, "up");
    for (const one of ["lo", "eth0"]) await ip("-n", name, "link", "set", one, "up");
    await ip("-n", name, "address", "add", `${there}/30`, "dev", "eth0");
    await ip("-n", name, "route", "add", "default", "via", here);
    const through = ["ip", "netns", "exec", name];
    hosts.push({
      through,
      cut: async (isCut) => {
        await runOk("ip", { args: ["netns", "exec", name, "nft", isCut ? CUT : "delete table inet cut"] });
      },
      connect: (port) => throughProgram([...through, "nc", "127.0.0.1", String(port)]),
    });
  }
  const kept = made.move();
  return { hosts, address, name: HERE, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** A dialogue over the input and output of a program. */
function throughProgram([program = "", ...args]: readonly string[]): Dialogue {
  const child = new Deno.Command(program, { args, stdin: "piped", stdout: "piped", stderr: "null" }).spawn();
  const reader = child.stdout.getReader({ mode: "byob" });
  const writer = child.stdin.getWriter();
  return Dialogue.over({
    async read(buffer) {
      const { value } = await reader.read(new Uint8Array(buffer.length));
      if (value === undefined || value.length === 0) return null;
      buffer.set(value);
      return value.length;
    },
    async write(bytes) {
      await writer.write(bytes.slice());
      return bytes.length;
    },
    close() {
      writer.close().catch(() => {});
      reader.cancel().catch(() => {});
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
    },
  });
}
