/**
 * A bare Debian to run the built file in: no Deno, no Node, only what debootstrap calls minbase.
 *
 * @module
 */
import { runOk } from "./peers/process.ts";

/** What {@linkcode debianRoot} and {@linkcode inRoot} need; `root` is missing for other accounts. */
export const ROOT_PROGRAMS: readonly string[] = [
  ...["debootstrap", "unshare", "mount", "chroot", "ip"],
  ...(Deno.uid() === 0 ? [] : ["root"]),
];

const CACHE = "/var/cache/mailapp-test";

/** The account that runs things in the root; it is in no passwd file. */
export const ACCOUNT = 2001;

/**
 * The root's path; made once, from the mirror that this machine's apt uses. Nothing may be written in it.
 * @param packages What it has beside debootstrap's minbase.
 * @param options `downloaded`: packages that can be installed in it without a network
 */
export async function debianRoot(
  packages: readonly string[] = [],
  { downloaded = [] }: { readonly downloaded?: readonly string[] } = {},
): Promise<string> {
  const names = [...packages.map((name) => `+${name}`), ...downloaded.map((name) => `~${name}`)];
  const root = `${CACHE}/root${names.join("")}`;
  await Deno.mkdir(CACHE, { recursive: true });
  using lock = await Deno.open(`${CACHE}/lock`, { create: true, write: true });
  await lock.lock(true);
  if (await Deno.stat(`${root}/usr/bin/tar`).then(() => true, () => false)) return root;
  const [, suite = "bookworm"] =
    /^VERSION_CODENAME=(\w+)$/m.exec(await Deno.readTextFile("/etc/os-release")) ??
      [];
  const fresh = await Deno.makeTempDir({ dir: CACHE, prefix: "root-" });
  try {
    await Deno.chmod(fresh, 0o755);
    await runOk("debootstrap", {
      args: [
        "--variant=minbase",
        ...(packages.length > 0 ? [`--include=${packages.join(",")}`] : []),
        suite,
        fresh,
        await mirror(),
      ],
      within: 600_000,
    });
    if (downloaded.length > 0) {
      const apt = "apt-get -qq -o APT::Sandbox::User=root";
      await runOk("chroot", {
        args: [
          fresh,
          ...[
            "sh",
            "-euc",
            `${apt} update && ${apt} --no-install-recommends --download-only install "$@"`,
            "sh",
          ],
          ...downloaded,
        ],
        env: { DEBIAN_FRONTEND: "noninteractive" },
        within: 600_000,
      });
    }
    await Deno.rename(fresh, root);
  } catch (error) {
    await Deno.remove(fresh, { recursive: true });
    throw error;
  }
  return root;
}

async function mirror(): Promise<string> {
  const files = ["/etc/apt/sources.list"];
  for await (const { name } of Deno.readDir("/etc/apt/sources.list.d")) {
    files.push(`/etc/apt/sources.list.d/${name}`);
  }
  for (const file of files) {
    const text = await Deno.readTextFile(file).catch(() => "");
    const [, uri] = /^(?:URIs:|deb(?: \[.*?\])?) *(https?:\S*debian\/?)\s/m.exec(text) ?? [];
    if (uri !== undefined) return uri;
  }
  return "http://deb.debian.org/debian";
}

/**
 * What runs a program inside the root, in a network namespace: `home` is `/srv` there, which alone can be written,
 * and what it is started with is no more than `PATH` and `HOME`.
 */
export function inRoot(
  root: string,
  { netns, home, uid = ACCOUNT, resolvConf }: {
    readonly netns: string;
    readonly home: string;
    readonly uid?: number;
    /** A file that stands for /etc/resolv.conf; absent: there is none that leads anywhere. */
    readonly resolvConf?: string;
  },
): string[] {
  const script = `
    at=$(mktemp -d)
    mount --bind "${root}" "$at"
    mount -o remount,bind,ro "$at"
    mount --bind "${home}" "$at/srv"
    mount -t proc proc "$at/proc"
    mount --bind /dev "$at/dev"
    mount --bind "${resolvConf ?? "/dev/null"}" "$at/etc/resolv.conf"
    exec chroot --userspec=${uid}:${uid} --groups= "$at" env -i PATH=/usr/bin:/bin HOME=/srv/home-${uid} "$@"`;
  return ["ip", "netns", "exec", netns, "unshare", "-m", "sh", "-euc", script, "sh"];
}
