/**
 * Containers without Docker: images by their Dockerfile on a bare Debian, and containers of them made of namespaces,
 * with the account, volumes, variables and capabilities that they are given there.
 *
 * @module
 */
import assert from "node:assert/strict";
import { debianRoot } from "./debian_root.ts";
import { type Folder, makeFolder } from "./peers/folder.ts";
import { type Finished, run, type RunningProgram, runOk, start } from "./peers/process.ts";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** An image: its layer over Debian, and what its Dockerfile says of containers. */
export interface Image {
  readonly layer: string;
  readonly user: string;
  readonly volumes: readonly string[];
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly healthcheck: readonly string[];
}

/** How a container is to run. */
export interface ContainerOptions {
  readonly image: Image;
  /** After the entry point. */
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** `NAME:TARGET[:ro]`; a name that begins with `/` is a path of this host. */
  readonly volumes?: readonly string[];
  /** What can be written, in memory. */
  readonly tmpfs?: readonly string[];
  /** The capabilities that it keeps, as setpriv calls them. */
  readonly capabilities?: readonly string[];
  /** The container or pod whose network it shares; absent: one of its own. */
  readonly network?: string;
}

/** A container that runs. */
export interface Container extends AsyncDisposable {
  readonly program: RunningProgram;
  /** Runs a command in it, as the account of its image. */
  exec(command: readonly string[], options?: { readonly stdin?: string }): Promise<Finished>;
}

/** A machine with images, volumes and networks for containers; disposing ends them all. */
export class ContainerHost implements AsyncDisposable {
  readonly folder: Folder;
  readonly #root: string;
  readonly #stack: AsyncDisposableStack;
  readonly #networks = new Map<string, string>();

  private constructor(folder: Folder, { root, stack }: { root: string; stack: AsyncDisposableStack }) {
    this.folder = folder;
    this.#root = root;
    this.#stack = stack;
  }

  /** Makes one. */
  static async create(): Promise<ContainerHost> {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await makeFolder("containers", "/srv"));
    await folder.mkdir("volumes");
    return new ContainerHost(folder, { root: await debianRoot(), stack: stack.move() });
  }

  /**
   * Builds an image.
   * @param context The directory with its Dockerfile.
   * @param options `files`: what stands for files of the context
   */
  async build(
    context: URL,
    { files = {} }: { readonly files?: Readonly<Record<string, string>> } = {},
  ): Promise<Image> {
    const text = await Deno.readTextFile(new URL("Dockerfile", context));
    const lines = text.replaceAll(/^#.*\n/gm, "").replaceAll("\\\n", "").split("\n").filter((line) =>
      line !== ""
    );
    const layer = await Deno.makeTempDir({ dir: this.folder.path, prefix: "image-" });
    await Deno.chmod(layer, 0o755);
    const parsed: { -readonly [Key in keyof Image]: Image[Key] } = {
      layer,
      user: "root",
      volumes: [],
      entrypoint: [],
      command: [],
      healthcheck: [],
    };
    const steps: string[] = [];
    for (const line of lines) {
      const [, name = "", value = ""] = /^([A-Z]+) +(.*)$/.exec(line) ?? [];
      const list = () => JSON.parse(value.slice(value.indexOf("["))) as string[];
      if (name === "RUN") steps.push(`in_image ${quoted(value)}`);
      else if (name === "COPY") steps.push(copyStep(value, { context, files }));
      else if (name === "USER") parsed.user = value;
      else if (name === "VOLUME") parsed.volumes = list();
      else if (name === "ENTRYPOINT") parsed.entrypoint = list();
      else if (name === "CMD") parsed.command = list();
      else if (name === "HEALTHCHECK") parsed.healthcheck = list();
      else assert.match(line, /^(?:FROM debian:bookworm-slim|EXPOSE [\d ]+)$/);
    }
    // Layers are written in memory, as the folder may be on a file system that overlays cannot be written to.
    const script = `
      work=$(mktemp -d); mount -t tmpfs tmpfs "$work"; mkdir "$work/upper" "$work/work" "$work/at"; at="$work/at"
      mount -t overlay overlay -o "lowerdir=$1,upperdir=$work/upper,workdir=$work/work" "$at"
      mount --bind /dev "$at/dev"; mount -t proc proc "$at/proc"
      cp --remove-destination /etc/resolv.conf "$at/etc/resolv.conf"
      in_image() { chroot "$at" env -i PATH=${PATH} DEBIAN_FRONTEND=noninteractive sh -euc "$1" >&2; }
      ${steps.join("\n")}
      umount "$at/dev" "$at/proc"; rm "$work/upper/etc/resolv.conf"
      cp -a "$work/upper/." "$2/"`;
    const args = ["-m", "sh", "-euc", script, "sh", this.#root, layer];
    await runOk("unshare", { args, within: 600_000 });
    return parsed;
  }

  /** Where a volume is on this host; a new one begins as the image has it. */
  async volume(
    name: string,
    { image, target }: { readonly image?: Image; readonly target?: string } = {},
  ): Promise<string> {
    if (name.startsWith("/")) return name;
    const path = this.folder.at(`volumes/${name}`);
    if (await Deno.stat(path).then(() => true, () => false)) return path;
    const from = `${image?.layer}${target}`;
    if (image !== undefined && await Deno.stat(from).then(() => true, () => false)) {
      await runOk("cp", { args: ["-a", from, path] });
    } else await Deno.mkdir(path, { recursive: true });
    return path;
  }

  /** A network namespace with loopback and an address, as Docker gives one. */
  async #network(name: string): Promise<string> {
    const there = this.#networks.get(name);
    if (there !== undefined) return there;
    const netns = `mailapp-c-${crypto.randomUUID().slice(0, 6)}`;
    await runOk("ip", { args: ["netns", "add", netns] });
    this.#stack.defer(async () => void await runOk("ip", { args: ["netns", "del", netns] }));
    const script = `
      ip link set lo up; ip link add eth0 type veth peer name outside; ip link set outside up; ip link set eth0 up
      ip address add 172.17.0.2/16 dev eth0
      ip route add default via 172.17.0.1
      # As Docker does.
      echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start`;
    await runOk("ip", { args: ["netns", "exec", netns, "sh", "-euc", script] });
    this.#networks.set(name, netns);
    return netns;
  }

  /** The numbers of an image's account. */
  async accountOf({ layer, user }: Image): Promise<string> {
    if (user === "root") return "0:0";
    const passwd = await Deno.readTextFile(`${layer}/etc/passwd`);
    const [, ids = ""] = new RegExp(`^${user}:[^:]*:(\\d+:\\d+):`, "m").exec(passwd) ?? [];
    return ids;
  }

  async #rights({ image, capabilities = [] }: ContainerOptions): Promise<string[]> {
    const [uid = "", gid = ""] = (await this.accountOf(image)).split(":");
    const kept = ["-all", ...capabilities.map((name) => `+${name.toLowerCase()}`)].join(",");
    return [
      ...["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", `--bounding-set=${kept}`],
      ...["--inh-caps=-all", "--no-new-privs"],
    ];
  }

  /** What runs a command in a container of its own: its root cannot be written. */
  async #inNew(options: ContainerOptions): Promise<string[]> {
    const { image, env = {}, volumes = [], tmpfs = ["/tmp"], network = crypto.randomUUID() } = options;
    const anonymous = image.volumes.filter((target) =>
      !volumes.some((volume) => volume.split(":")[1] === target)
    )
      .map((target) => `anonymous-${crypto.randomUUID()}:${target}`);
    const mounts: string[] = [];
    // A file in a volume is mounted after the volume.
    const sorted = [...anonymous, ...volumes].sort((one, other) =>
      (one.split(":")[1] ?? "") < (other.split(":")[1] ?? "") ? -1 : 1
    );
    for (const volume of sorted) {
      const [name = "", target = "", option] = volume.split(":");
      const from = await this.volume(name, { image, target });
      mounts.push(
        `[ -e "$at${target}" ] || : >"$at${target}"`,
        `mount --bind "${from}" "$at${target}"`,
        ...(option === "ro" ? [`mount -o remount,bind,ro "$at${target}"`] : []),
      );
    }
    const at = await Deno.makeTempDir({ dir: this.folder.path, prefix: "root-" });
    const script = `
      at="${at}"
      mount -t overlay overlay -o "lowerdir=${image.layer}:${this.#root}" "$at"
      mount --bind /dev "$at/dev"; mount -t proc proc "$at/proc"
      ${tmpfs.map((path) => `mount -t tmpfs -o mode=1777 tmpfs "$at${path}"`).join("\n")}
      ${mounts.join("\n")}
      exec env -i PATH=${PATH} ${
      Object.entries(env).map(([key, value]) => quoted(`${key}=${value}`)).join(" ")
    } \\
        chroot "$at" ${(await this.#rights(options)).join(" ")} "$@"`;
    const netns = await this.#network(network);
    return ["netns", "exec", netns, "unshare", "-m", "sh", "-euc", script, "sh"];
  }

  /** Runs a command of the image to its end. */
  async run(options: ContainerOptions): Promise<Finished> {
    const { image: { entrypoint, command: preset }, command = preset } = options;
    return await run("ip", {
      args: [...await this.#inNew(options), ...entrypoint, ...command],
      within: 120_000,
    });
  }

  /** Starts a container. */
  async start(options: ContainerOptions): Promise<Container> {
    const { image: { entrypoint, command: preset }, command = preset, env = {} } = options;
    const program = start("ip", { args: [...await this.#inNew(options), ...entrypoint, ...command] });
    const rights = await this.#rights(options);
    this.#stack.use(program);
    return {
      program,
      exec: async (command, { stdin = "" } = {}) => {
        const inside = [`--target=${program.pid}`, "--mount", "--net", "--root"];
        const settings = Object.entries(env).map(([key, value]) => `${key}=${value}`);
        return await run("nsenter", {
          args: [...inside, "env", "-i", "-C", "/", `PATH=${PATH}`, ...settings, ...rights, ...command],
          stdin,
        });
      },
      [Symbol.asyncDispose]: () => program.stop(),
    };
  }

  /** Ends all containers, and removes what they had. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function copyStep(
  value: string,
  { context, files }: { readonly context: URL; readonly files: Readonly<Record<string, string>> },
): string {
  const [, mode = "0644", from = "", to = ""] = /^(?:--chmod=(\d+) )?(\S+) (\S+)$/.exec(value) ?? [];
  assert.ok(to.startsWith("/"), value);
  return `install -D -m ${mode} ${quoted(files[from] ?? new URL(from, context).pathname)} "$at"${quoted(to)}`;
}
