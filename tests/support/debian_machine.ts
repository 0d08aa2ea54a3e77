/**
 * A Debian machine of a test's own, with systemd as its first process: what guides say is typed there as it stands.
 * It lives in namespaces and a control group of its own, with what is written in memory, and ends with the test.
 *
 * @module
 */
import { basename, dirname } from "@std/path";
import { debianRoot, ROOT_PROGRAMS } from "./debian_root.ts";
import { type Finished, run, type RunningProgram, runOk, startUntil, until } from "./peers/process.ts";

/** What {@linkcode DebianMachine} needs. */
export const MACHINE_PROGRAMS: readonly string[] = [...ROOT_PROGRAMS, "nsenter", "setpriv"];

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Packages beside debootstrap's minbase that a server of Debian's has, or the guides name. */
const PACKAGES = ["systemd", "systemd-sysv", "logrotate", "rsync", "netcat-openbsd", "iproute2"];

/** What guides have one install: it lies there as apt downloads it, and so apt-get needs no network. */
const DOWNLOADED = ["dovecot-imapd", "dovecot-sieve", "dovecot-lmtpd", "mailutils", "certbot"];

/** What a machine starts as. */
export interface MachineOptions {
  /** Its network namespace; absent: one with loopback alone. */
  readonly netns?: string;
  /** Its full name. */
  readonly hostname: string;
  /** Its DNS server; absent: none. */
  readonly nameserver?: string;
  /** A script of this host that is run in the machine's root directory before it boots, as for an image. */
  readonly prepare?: string;
}

/** A machine that runs. */
export class DebianMachine implements AsyncDisposable {
  #parts: AsyncDisposable | undefined;
  /** What systemd and the script before it wrote to the console. */
  readonly console: readonly string[];

  private constructor(
    program: RunningProgram,
    /** Of its first process, as seen from outside. */
    readonly pid: number,
  ) {
    this.console = program.lines;
  }

  /**
   * Boots one, and waits until it is up.
   * @throws {Error} where it does not come up, or its script fails; nothing is left of it
   */
  static async boot(options: MachineOptions): Promise<DebianMachine> {
    const root = await debianRoot(PACKAGES, { downloaded: DOWNLOADED });
    await using stack = new AsyncDisposableStack();
    // In a mount namespace its file systems end with it; the directory that they hang on does not.
    const at = await Deno.makeTempDir({ prefix: "mailapp-machine-" });
    stack.defer(() => Deno.remove(at));
    const cgroups = await makeCgroups(basename(at));
    stack.defer(() => removeCgroups(cgroups));
    const { program, pid } = await startSystemd(options, { root, at, cgroups });
    stack.use(program);
    const machine = new DebianMachine(program, pid);
    await until(async () => {
      const { stdout } = await machine.run("systemctl is-system-running");
      return /^(?:running|degraded)$/.test(stdout.trim());
    }, { what: `systemd to be up\n${program.lines.join("\n")}`, within: 120_000 });
    if (options.netns === undefined) await machine.sh("ip link set lo up");
    machine.#parts = stack.move();
    return machine;
  }

  /** A file of this machine, as seen from outside. */
  file(path: string): string {
    return `/proc/${this.pid}/root${path}`;
  }

  #inside(script: string, env: Readonly<Record<string, string>>): string[] {
    return [
      ...[`--target=${this.pid}`, "--mount", "--pid", "--uts", "--ipc", "--net", "--root"],
      ...["env", "-i", "-C", "/root", "HOME=/root", "LC_ALL=C.UTF-8", `PATH=${PATH}`],
      ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
      ...["sh", "-euc", script],
    ];
  }

  /** Runs a script as root to its end, whatever that is. */
  async run(
    script: string,
    { stdin = "", env = {}, within = 120_000 }: ScriptOptions = {},
  ): Promise<Finished> {
    return await run("nsenter", { args: this.#inside(script, env), stdin, within });
  }

  /** Runs a script as root, which must succeed; what it wrote to standard output. */
  async sh(script: string, { stdin = "", env = {}, within = 120_000 }: ScriptOptions = {}): Promise<string> {
    return await runOk("nsenter", { args: this.#inside(script, env), stdin, within });
  }

  /** What a unit has logged, a line each, as it wrote it. */
  async journal(unit: string, options = ""): Promise<string> {
    // What a unit has just written, or a process that has ended, may still be on its way.
    return await this.sh(`journalctl --sync; journalctl -q -o cat -u ${unit} ${options}`);
  }

  /** Waits until a unit has logged a line. */
  async waitFor(unit: string, pattern: RegExp): Promise<void> {
    await until(async () => pattern.test(await this.journal(unit)), { what: `${pattern} of ${unit}` });
  }

  /** Puts a file of this host there. */
  async copy(from: string, to: string, { mode = 0o755 } = {}): Promise<void> {
    await Deno.copyFile(from, this.file(to));
    await Deno.chmod(this.file(to), mode);
  }

  /** Replaces a line of its configuration. */
  async configure(line: RegExp, settings: string): Promise<void> {
    const path = this.file("/etc/mailapp/config.toml");
    const before = await Deno.readTextFile(path);
    if (!line.test(before)) throw new Error(`no ${line} in ${before}`);
    await Deno.writeTextFile(path, before.replace(line, () => settings));
  }

  /** Pulls the plug. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts?.[Symbol.asyncDispose]();
  }
}

/** How a script runs. */
export interface ScriptOptions {
  /** Its standard input. */
  readonly stdin?: string;
  /** Added to its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds. */
  readonly within?: number;
}

/** Starts its first process, with all that it sees of a machine around it. */
async function startSystemd(
  { netns, hostname, nameserver, prepare = "" }: MachineOptions,
  { root, at, cgroups }: { readonly root: string; readonly at: string; readonly cgroups: readonly string[] },
): Promise<{ program: RunningProgram; pid: number }> {
  const script = `
    for group in ${cgroups.join(" ")}; do echo $$ >"$group/cgroup.procs"; done
    exec unshare --cgroup sh -euc '
    at=$5
    mount -t tmpfs tmpfs "$at"
    mkdir "$at/upper" "$at/work" "$at/root"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$at/upper,workdir=$at/work" "$at/root"
    cd "$at/root"
    mount -t proc proc proc
    # What is not a namespace of its own stays as this host has it.
    mount --bind proc/sys proc/sys; mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    mount -t cgroup2 none sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount -t tmpfs -o mode=755 tmpfs dev
    for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
    ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts; ln -s pts/ptmx dev/ptmx
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    rm -f etc/resolv.conf; [ -z "$3" ] || echo "nameserver $3" >etc/resolv.conf
    echo "$2" >etc/hostname; hostname "$2"
    echo "127.0.0.1 localhost" >etc/hosts
    : >etc/machine-id
    sh -euc "$4" >&2
    # There is no user at a terminal.
    ln -sf /dev/null etc/systemd/system/console-getty.service
    ln -sf /dev/null etc/systemd/system/getty.target
    exec chroot . env -i container=docker PATH=${PATH} /lib/systemd/systemd --unit=multi-user.target --show-status=no' sh "$@"`;
  const namespaces = ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL"];
  const unshare = ["unshare", ...namespaces, ...(netns === undefined ? ["--net"] : [])];
  const [command = "", ...args] = [
    ...(netns === undefined ? [] : ["ip", "netns", "exec", netns]),
    ...unshare,
    ...["sh", "-euc", script, "sh", root, hostname, nameserver ?? "", prepare, at],
  ];
  let pid = 0;
  let looking: Promise<unknown> | undefined;
  try {
    const program = await startUntil(command, {
      args,
      stopSignal: "SIGKILL",
      ready: (running) => looking = systemdOf(running).then((found) => pid = found),
    });
    return { program, pid };
  } catch (error) {
    await looking?.catch(() => {});
    throw error;
  }
}

/** The pid of systemd, once it runs. */
async function systemdOf({ pid, status }: RunningProgram): Promise<number> {
  let ended = false;
  status.then(() => ended = true);
  return await until(() => {
    if (ended) throw new Error("it ended before systemd ran");
    return firstChild(pid);
  }, { what: "systemd", within: 120_000 });
}

async function firstChild(parent: number): Promise<number | undefined> {
  // `ip netns exec` becomes unshare, which forks what becomes systemd.
  const children = await Deno.readTextFile(`/proc/${parent}/task/${parent}/children`).catch(() => "");
  const [pid] = children.trim().split(" ");
  if (!pid) return undefined;
  const name = await Deno.readTextFile(`/proc/${pid}/comm`).catch(() => "");
  return name.trim() === "systemd" ? Number(pid) : undefined;
}

/**
 * A control group in the unified hierarchy: in the named one of old, systemd's processes now and then cannot join the
 * groups that it has just made. Where the host has not mounted the unified one, the test does.
 */
async function makeCgroups(name: string): Promise<string[]> {
  const unified = await Deno.stat("/sys/fs/cgroup/cgroup.procs").then(() => true, () => false);
  let root = "/sys/fs/cgroup";
  if (!unified) {
    root = await Deno.makeTempDir({ prefix: "mailapp-cgroup2-" });
    await runOk("mount", { args: ["-t", "cgroup2", "none", root] });
  }
  const group = `${root}/${name}`;
  await Deno.mkdir(group);
  return [group];
}

async function removeCgroups(groups: readonly string[]): Promise<void> {
  for (const group of groups) {
    // What was in them ends a moment after its first process.
    await until(async () => {
      const { code } = await run("find", {
        args: [group, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"],
      });
      return code === 0;
    }, { what: `the end of ${group}` });
    const root = dirname(group);
    if (root === "/sys/fs/cgroup") continue;
    await runOk("umount", { args: [root] });
    await Deno.remove(root);
  }
}
