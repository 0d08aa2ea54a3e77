/**
 * A bare Debian without systemd, whose units a test starts.
 *
 * @module
 */
import assert from "node:assert/strict";
import { debianRoot } from "./debian_root.ts";
import { type RunningProgram, runOk, start, startUntil, until } from "./peers/process.ts";
import type { Block } from "./guide_blocks.ts";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Where a machine is. */
export interface Place {
  readonly netns: string;
  readonly addresses: readonly string[];
  readonly domain: string;
  /** The domain of the other machine. */
  readonly correspondent: string;
}

/** A bare Debian that runs, with systemd's part played by the test. What it runs ends when it is disposed. */
export class Machine implements AsyncDisposable {
  readonly #units = new Map<string, RunningProgram>();

  private constructor(
    readonly place: Place,
    readonly init: RunningProgram,
    readonly pid: number,
  ) {}

  static async boot(place: Place): Promise<Machine> {
    const { netns, domain } = place;
    // All of it is in namespaces that end with their first process; what is written is in memory.
    const script = `
      at=$(mktemp -d)
      mount -t tmpfs tmpfs "$at"
      mkdir "$at/upper" "$at/work" "$at/root"
      mount -t overlay overlay -o "lowerdir=$1,upperdir=$at/upper,workdir=$at/work" "$at/root"
      mount -t proc proc "$at/root/proc"
      mount --bind /dev "$at/root/dev"
      rm -f "$at/root/etc/resolv.conf"
      echo nameserver 192.0.2.254 >"$at/root/etc/resolv.conf"
      hostname "mx.$2"
      exec chroot "$at/root" sh -c 'echo booted; exec sleep infinity'`;
    const init = await startUntil("ip", {
      args: [
        ...["netns", "exec", netns, "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child"],
        ...["sh", "-euc", script, "sh", await debianRoot(), domain],
      ],
      stopSignal: "SIGKILL",
      ready: ({ line }) => line(/^booted$/),
    });
    const children = await Deno.readTextFile(`/proc/${init.pid}/task/${init.pid}/children`);
    return new Machine(place, init, Number(children));
  }

  /** A file of this machine, as seen from outside. */
  file(path: string): string {
    return `/proc/${this.pid}/root${path}`;
  }

  #inside(args: readonly string[]): string[] {
    return [
      ...[`--target=${this.pid}`, "--mount", "--pid", "--uts", "--net", "--root"],
      ...["env", "-i", "-C", "/", `PATH=${PATH}`, ...args],
    ];
  }

  /** Runs a script as root. */
  async sh(script: string, { stdin = "" } = {}): Promise<string> {
    return await runOk("nsenter", { args: this.#inside(["HOME=/root", "sh", "-euc", script]), stdin });
  }

  /** Starts a unit, and stops it first where it runs. */
  async restartUnit(name: string): Promise<void> {
    const running = this.#units.get(name);
    if (running !== undefined) {
      // Of what nsenter started; it ends with that.
      const pids = await Deno.readTextFile(`/proc/${running.pid}/task/${running.pid}/children`);
      for (const pid of pids.trim().split(" ")) Deno.kill(Number(pid), "SIGTERM");
      assert.equal((await running.status).code, 0);
    }
    await this.startUnit(name);
  }

  /** Starts what a unit says as systemd would; does not wait until it serves, for `Type=exec`. */
  async startUnit(name: string): Promise<void> {
    const unit = await Deno.readTextFile(this.file(`/etc/systemd/system/${name}.service`));
    const value = (key: string) => {
      const [, value] = new RegExp(`^${key}=(.*)$`, "m").exec(unit) ?? [];
      assert.ok(value, `${key} of ${name}`);
      return value;
    };
    await this.sh(value("ExecStartPre").replace(/^\+/, ""));
    assert.equal(value("AmbientCapabilities"), "CAP_NET_BIND_SERVICE");
    const capability = "-all,+net_bind_service";
    const program = start("nsenter", {
      args: this.#inside([
        ...["setpriv", `--reuid=${value("User")}`, `--regid=${value("Group")}`, "--clear-groups"],
        ...[`--inh-caps=${capability}`, `--ambient-caps=${capability}`, `--bounding-set=${capability}`],
        ...["--no-new-privs", "sh", "-euc", `umask ${value("UMask")}; exec ${value("ExecStart")}`],
      ]),
    });
    this.#units.set(name, program);
  }

  /** What a unit wrote, as the journal would have it. */
  journal(name: string): readonly string[] {
    const unit = this.#units.get(name);
    assert.ok(unit, `${name} was started`);
    return unit.lines;
  }

  /** Waits for a line in the journal. */
  async logged(name: string, pattern: RegExp): Promise<void> {
    await this.#units.get(name)?.line(pattern);
  }

  /** Follows a block, with the names put in; what came out. */
  async follow({ kind, text }: Block): Promise<string> {
    const own = text
      .replaceAll("example.com", this.place.domain)
      .replaceAll("you@somewhere.example", `alice@${this.place.correspondent}`);
    if (kind === "sh") return await this.sh(own);
    const outputs: string[] = [];
    for (const line of own.trimEnd().split("\n")) {
      const [program, ...args] = line.replace(/ +#.*$/, "").split(" ");
      if (program === "systemctl") {
        const units = args.filter((arg) => arg.startsWith("mailapp-"));
        assert.match(args.join(" "), /^(?:enable --now|restart) mailapp-/);
        for (const unit of units) await this.restartUnit(unit);
      } else if (program === "journalctl") {
        const lines = this.journal(args[args.indexOf("-u") + 1] ?? "");
        const [, filter] = / \| (.*)$/.exec(args.join(" ")) ?? [];
        if (filter === undefined) outputs.push(...lines);
        else outputs.push(await this.sh(filter, { stdin: lines.join("\n") }));
      } else outputs.push(await this.sh(line));
    }
    return outputs.join("\n");
  }

  /** Replaces a line of the configuration. */
  async configure(line: RegExp, settings: string): Promise<void> {
    const path = this.file("/etc/mailapp/config.toml");
    const before = await Deno.readTextFile(path);
    assert.match(before, line);
    await Deno.writeTextFile(path, before.replace(line, () => settings));
  }

  /** Waits for a message with this in it. */
  arrival(text: string): Promise<Uint8Array> {
    return until(async () => {
      const directory = this.file(`/var/mail/${this.place.domain}/alice/new`);
      const names = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name).catch(() => []);
      for (const name of names) {
        const bytes = await Deno.readFile(`${directory}/${name}`);
        if (new TextDecoder().decode(bytes).includes(text)) return bytes;
      }
      return undefined;
    }, {
      what: `${text} at ${this.place.domain}\n${
        [...this.#units.values()].flatMap(({ lines }) => lines).join("\n")
      }`,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.init.stop();
    for (const unit of this.#units.values()) await unit.stop();
  }
}
