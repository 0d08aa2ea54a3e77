/**
 * What a file system and its mount options mean for the promise that a message answered with 250 is kept.
 *
 * @module
 */
import { failure, type Finding, ok, untested, warning } from "../../doctor/finding.ts";
import type { Mount } from "../../storage/mount_facts.ts";

/** What else the kernel tells of the file system. */
export interface MountSurroundings {
  /** Whether an ext file system has a journal; `undefined`: not known. */
  readonly hasJournal?: boolean;
}

const LOST = "Put the mail and the queue on a file system of a disk, such as ext4 or xfs";
const subject = ({ point, type, source }: Mount) => `the file system at ${point} (${type}, ${source})`;

/** Judges a mount. */
export function meaningOf(mount: Mount, { hasJournal }: MountSurroundings = {}): Finding[] {
  const about = subject(mount);
  const { type } = mount;
  const findings: Finding[] = [];
  const say = (finding: Finding) => void findings.push(finding);
  if (["tmpfs", "ramfs", "devtmpfs", "zram"].includes(type)) {
    say(failure("mount.memory", about, { what: "is in memory: all mail is gone at a restart", next: LOST }));
  } else if (/^nfs/.test(type)) networkFileSystem(mount, say);
  else if (/^(?:cifs|smb3|smbfs|9p|ceph|glusterfs|afs|virtiofs|vboxsf)/.test(type)) {
    say(warning("mount.network", about, {
      what: "is on another machine: whether a synced message is on disk depends on that machine",
      next:
        "Use a local disk for data_dir; if mail must be remote, make sure that its server syncs before it replies",
    }));
  } else if (/^fuse/.test(type)) {
    say(warning("mount.fuse", about, {
      what: "is served by a program of this machine, which may answer a sync without one",
      next: "Read that program's documentation on fsync, or use a file system of the kernel",
    }));
  } else if (type === "overlay" || type === "aufs") layers(mount, say);
  else if (/^(?:vfat|exfat|msdos|ntfs)/.test(type)) {
    say(failure("mount.dos", about, {
      what: "has no owners and modes, and no journal: a loss of power can lose directories",
      next: LOST,
    }));
  } else if (/^ext[234]$/.test(type)) extended(mount, { hasJournal, say });
  else if (type === "zfs") {
    say(untested("mount.zfs", about, {
      what: "keeps what is synced, unless its dataset has sync=disabled, which cannot be seen from here",
      next: "zfs get sync DATASET must say standard or always",
    }));
  } else if (["xfs", "btrfs", "f2fs", "jfs", "reiserfs", "bcachefs"].includes(type)) {
    if (!hasNoBarrier(mount)) say(ok("mount.type", about, "keeps what is synced, names included"));
  } else {
    say(
      untested("mount.unknown", about, {
        what: `${type} is not known here`,
        next: "Read its documentation on fsync",
      }),
    );
  }
  if (hasNoBarrier(mount)) {
    say(failure("mount.barrier", about, {
      what:
        "is mounted without barriers: the disk's own cache is not flushed, and a loss of power loses synced mail",
      next:
        "Take nobarrier (barrier=0, fsync_mode=nobarrier) out of its options in /etc/fstab, unless the disk's cache has a battery",
    }));
  }
  if (mount.options.includes("ro")) {
    say(failure("mount.read_only", about, { what: "is mounted read-only", next: "Mount it read-write" }));
  }
  return findings;
}

function hasNoBarrier({ options }: Mount): boolean {
  return ["nobarrier", "barrier=0", "fsync_mode=nobarrier"].some((option) => options.includes(option));
}

type Say = (finding: Finding) => void;

function extended(
  mount: Mount,
  { hasJournal, say }: { readonly hasJournal: boolean | undefined; readonly say: Say },
): void {
  const about = subject(mount);
  const { type, options } = mount;
  if (type === "ext2" || hasJournal === false || options.includes("noload")) {
    say(failure("mount.journal", about, {
      what:
        "has no journal: after a loss of power the check at the start may move or lose files, synced ones too",
      next: "Add a journal: tune2fs -j, while it is not mounted",
    }));
    return;
  }
  if (options.includes("data=writeback")) {
    say(warning("mount.writeback", about, {
      what:
        "has data=writeback: what is synced is kept, but a file that was not can have old content of others after a loss of power",
      next:
        "Mount it with data=ordered, the default: the program keeps its promise with either, other programs may not",
    }));
    return;
  }
  if (hasNoBarrier(mount)) return;
  say(
    ok(
      "mount.type",
      about,
      `keeps what is synced, names included${
        options.includes("data=journal") ? "; data=journal writes all data twice" : ""
      }`,
    ),
  );
}

function networkFileSystem(mount: Mount, say: Say): void {
  const about = subject(mount);
  const { options } = mount;
  if (options.includes("soft")) {
    say(failure("mount.nfs_soft", about, {
      what: "is NFS mounted soft: when the server is slow, writes fail, and what was written is not known",
      next: "Mount it hard",
    }));
  }
  say(warning("mount.nfs", about, {
    what:
      "is NFS: a sync is kept if the server exports it with sync; with async a crash of the server loses mail. Locks between hosts need NFSv4",
    next: "Use a local disk for data_dir; look for async in the server's /etc/exports",
  }));
}

function layers(mount: Mount, say: Say): void {
  const about = subject(mount);
  // Newer kernels show it as fsync=volatile, whichever way it was asked for.
  if (["volatile", "fsync=volatile"].some((option) => mount.options.includes(option))) {
    say(failure("mount.volatile", about, {
      what: "is an overlay mounted volatile: its syncs do nothing",
      next: LOST,
    }));
  }
  say(failure("mount.layer", about, {
    what: "is a container's layer: it is lost when the container is recreated",
    next: "Put data_dir and the Maildirs on a volume",
  }));
}
