// docs/guide/containers.md without Docker: the Dockerfile's steps on a bare Debian, and containers of that image made of
// namespaces, with the account, the volumes and the rights that the page gives them.
import assert from "node:assert/strict";
import { builtMailapp } from "../support/built.ts";
import { debianRoot, ROOT_PROGRAMS } from "../support/debian_root.ts";
import { Guide } from "../support/guide.ts";
import { type Folder, makeFolder } from "../support/peers/folder.ts";
import { run, type RunningProgram, runOk, start, until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

/** What a Dockerfile says. */
interface Instructions {
  readonly RUN: readonly string[];
  readonly COPY: readonly string[];
  readonly USER: string;
  readonly VOLUME: readonly string[];
  readonly ENTRYPOINT: readonly string[];
  readonly HEALTHCHECK: readonly string[];
}

async function readDockerfile(): Promise<Instructions> {
  const text = await Deno.readTextFile(new URL("../../Dockerfile", import.meta.url));
  const lines = text.replaceAll(/^#.*\n/gm, "").replaceAll("\\\n", "").split("\n");
  const all = (name: string) =>
    lines.filter((line) => line.startsWith(`${name} `)).map((line) => line.slice(name.length + 1));
  const list = (name: string) => JSON.parse(all(name).join().replace(/^.*?\[/, "[")) as string[];
  return {
    RUN: all("RUN"),
    COPY: all("COPY"),
    USER: all("USER").join(),
    VOLUME: list("VOLUME"),
    ENTRYPOINT: list("ENTRYPOINT"),
    HEALTHCHECK: list("HEALTHCHECK"),
  };
}

/** What a service of compose.yaml says. */
interface Service {
  readonly command: readonly string[];
  readonly volumes: readonly string[];
  readonly text: string;
}

/** The services of the page, which share their volumes. */
function readServices(yaml: string): Map<string, Service> {
  const volumes = [...yaml.matchAll(/^ {6}- (\S+)$/gm)].map(([, volume = ""]) => volume);
  const services = yaml.matchAll(/^ {2}([\w-]+):\n((?: {4}.*\n)+)/gm).map(([, name = "", text = ""]) => {
    const [, command = ""] = /^ {4}command: \[(.*)\]$/m.exec(text) ?? [];
    return [name, { command: command.split(", "), volumes, text }] as const;
  });
  return new Map(services);
}

interface Own {
  /** The Debian below the image. */
  readonly root: string;
  readonly netns: string;
  /** What ends with it. */
  readonly parts: AsyncDisposable;
}

/** An image, and what its containers share. */
class Host implements AsyncDisposable {
  readonly #own: Own;

  private constructor(readonly image: Instructions, readonly folder: Folder, own: Own) {
    this.#own = own;
  }

  /** Builds the image; and a network as a container has it. */
  static async build(): Promise<Host> {
    const image = await readDockerfile();
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await makeFolder("container", "/srv"));
    const root = await debianRoot();
    for (const name of ["image", "work", "root", "volumes"]) await folder.mkdir(name);
    assert.deepEqual(image.COPY, ["--chmod=0755 dist/mailapp /usr/local/bin/mailapp"]);
    const [accounts, unpacking, ...more] = image.RUN;
    assert.deepEqual(more, []);
    // Layers are written in memory, as the folder may be on a file system that overlays cannot be written to.
    const script = `
      at="$1/root"; mount -t tmpfs tmpfs "$1/work"; mkdir "$1/work/upper" "$1/work/work"
      mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/work/upper,workdir=$1/work/work" "$at"
      mount --bind /dev "$at/dev"; mount -t proc proc "$at/proc"
      in_image() { chroot "$at" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -euc "$1"; }
      in_image "$4"
      install -m 0755 "$3" "$at/usr/local/bin/mailapp"
      in_image "$5" >&2
      umount "$at/dev" "$at/proc"
      cp -a "$1/work/upper/." "$1/image/"`;
    const args = [folder.path, root, await builtMailapp(), accounts ?? "", unpacking ?? ""];
    await runOk("unshare", { args: ["-m", "sh", "-euc", script, "sh", ...args], within: 120_000 });
    const netns = `mailapp-c-${crypto.randomUUID().slice(0, 6)}`;
    await runOk("ip", { args: ["netns", "add", netns] });
    stack.defer(async () => void await runOk("ip", { args: ["netns", "del", netns] }));
    const network = `
      ip link set lo up; ip link add eth0 type veth peer name outside; ip link set outside up; ip link set eth0 up
      ip address add 172.17.0.2/16 dev eth0
      ip route add default via 172.17.0.1
      # As Docker does.
      echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start`;
    await runOk("ip", { args: ["netns", "exec", netns, "sh", "-euc", network] });
    return new Host(image, folder, { root, netns, parts: stack.move() });
  }

  /** The numbers of the image's account. */
  async account(): Promise<string> {
    const passwd = await Deno.readTextFile(this.folder.at("image/etc/passwd"));
    const [, ids = ""] = new RegExp(`^${this.image.USER}:[^:]*:(\\d+:\\d+):`, "m").exec(passwd) ?? [];
    return ids;
  }

  /** Where a volume is on this host: a path by the page's directory, or a named one, which begins as the image has it. */
  async #volume(name: string, target: string): Promise<string> {
    if (name.startsWith("./")) return this.folder.at(name);
    const path = this.folder.at(`volumes/${name}`);
    if (await Deno.stat(path).then(() => false, () => true)) {
      await runOk("cp", { args: ["-a", this.folder.at(`image${target}`), path] });
    }
    return path;
  }

  /** What runs a program in a container: its root, which cannot be written, its volumes, and next to no rights. */
  async container(volumes: readonly string[]): Promise<string[]> {
    const mounts = await Promise.all(volumes.map(async (volume) => {
      const [name = "", target = "", option] = volume.split(":");
      const from = await this.#volume(name, target);
      const bind = `mount --bind "${from}" "$at${target}"`;
      return option === "ro" ? `${bind}; mount -o remount,bind,ro "$at${target}"` : bind;
    }));
    const [uid = "", gid = ""] = (await this.account()).split(":");
    const rights =
      `setpriv --reuid=${uid} --regid=${gid} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs`;
    const script = `
      at="${this.folder.at("root")}"
      mount -t overlay overlay -o "lowerdir=${this.folder.at("image")}:${this.#own.root}" "$at"
      mount --bind /dev "$at/dev"; mount -t proc proc "$at/proc"; mount -t tmpfs -o mode=1777 tmpfs "$at/tmp"
      ${mounts.join("\n")}
      exec env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$at" ${rights} "$@"`;
    return ["netns", "exec", this.#own.netns, "unshare", "-m", "sh", "-euc", script, "sh"];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#own.parts[Symbol.asyncDispose]();
  }
}

testWith([...ROOT_PROGRAMS, "setpriv"], "containers.md, followed to its end", async () => {
  const guide = await Guide.read("containers");
  assert.match(guide.take("deno task build\n"), /^docker build -t mailapp \.$/m);
  await using host = await Host.build();
  assert.equal(await host.account(), "2525:2525");

  // The configuration, by the account of the image.
  const [making = "", running = ""] = guide.take("install -d -o 2525 ").replaceAll("\\\n", "").split(
    "\ndocker run ",
  );
  await runOk("sh", { args: ["-euc", making], cwd: host.folder.path });
  const [options = "", command = ""] = running.split(/ mailapp +init /);
  const volumes = [...options.matchAll(/ -v (\S+)/g)].map(([, volume = ""]) => volume);
  const init = `mailapp init ${command}`;
  await runOk("ip", { args: [...await host.container(volumes), "sh", "-euc", init] });
  assert.match(await Deno.readTextFile(host.folder.at("etc/config.toml")), /^data_dir = |^hostname = /m);

  const services = readServices(guide.take("name: mailapp\n"));
  assert.deepEqual([...services.keys()], ["serve-in", "serve-out"]);
  for (const { text } of services.values()) {
    for (const line of ["read_only: true", "tmpfs: [/tmp]", "cap_drop: [ALL]", "restart: unless-stopped"]) {
      assert.ok(text.includes(`    ${line}\n`), line);
    }
    assert.match(text, /security_opt: \["no-new-privileges:true"\]/);
  }
  const inService = async (name: string, args: readonly string[]) => {
    // Compose puts the project's name before that of a volume.
    const named = services.get(name)?.volumes.map((volume) =>
      volume.startsWith("./") ? volume : `mailapp_${volume}`
    ) ?? [];
    return [...await host.container(named), ...args];
  };
  const typed = guide.take("docker compose run --rm serve-in check-config\n").trim().split("\n");
  assert.equal(typed.length, 3);
  const checked = await runOk("ip", {
    args: await inService("serve-in", [...host.image.ENTRYPOINT, "check-config"]),
  });
  assert.match(checked, /listens on 172\.17\.0\.2:25, with STARTTLS[^]*\nok(?:, 1 warning)?\n$/);

  const servers: RunningProgram[] = [];
  await using stack = new AsyncDisposableStack();
  for (const [name, { command }] of services) {
    const server = start("ip", { args: await inService(name, [...host.image.ENTRYPOINT, ...command]) });
    stack.use(server);
    servers.push(server);
  }
  for (const server of servers) await server.line(/"event":"server\.ready"/);
  await runOk("ip", { args: await inService("serve-in", host.image.HEALTHCHECK) });
  const [, healthcheck = ""] = /test: \[CMD, (.*)\]/.exec(services.get("serve-out")?.text ?? "") ?? [];
  await runOk("ip", { args: await inService("serve-out", healthcheck.split(", ")) });
  const [, , exec = ""] = typed;
  assert.equal(exec, "docker compose exec serve-in mailapp doctor");
  const { stdout } = await run("ip", { args: await inService("serve-in", ["mailapp", "doctor", "--all"]) });
  for (const id of ["storage", "rights", "maildrop"]) {
    assert.match(stdout, new RegExp(`^ok: ${id} `, "m"), stdout);
  }

  const sending = ["mailapp", "sendmail", "-f", "alice@example.com", "alice@example.com"];
  await runOk("ip", {
    args: await inService("serve-out", sending),
    stdin: "Subject: in a container\n\nHello.\n",
  });
  await until(async () => {
    const { stdout } = await run("grep", {
      args: ["-rl", "Subject: in a container", host.folder.at("volumes/mailapp_mail/example.com/alice/new")],
    });
    return stdout !== "";
  }, { what: `the message\n${servers.flatMap(({ lines }) => lines).join("\n")}` });
  for (const server of servers) {
    await server.stop();
    assert.equal((await server.status).code, 0, server.lines.join("\n"));
  }
  guide.end();
});
