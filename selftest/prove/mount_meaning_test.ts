import assert from "node:assert/strict";
import type { Mount } from "../../storage/mount_facts.ts";
import { meaningOf, type MountSurroundings } from "./mount_meaning.ts";

const CASES: readonly (readonly [string, string, string[], MountSurroundings?])[] = [
  ["ext4", "rw,relatime", ["ok mount.type"], { hasJournal: true }],
  ["ext4", "rw,relatime", ["failure mount.journal"], { hasJournal: false }],
  ["ext4", "rw,data=writeback", ["warning mount.writeback"], { hasJournal: true }],
  ["ext4", "rw,nobarrier", ["failure mount.barrier"], { hasJournal: true }],
  ["ext2", "rw", ["failure mount.journal"]],
  ["xfs", "rw,noatime", ["ok mount.type"]],
  ["xfs", "rw,nobarrier", ["failure mount.barrier"]],
  ["btrfs", "rw,space_cache=v2", ["ok mount.type"]],
  ["f2fs", "rw,fsync_mode=nobarrier", ["failure mount.barrier"]],
  ["tmpfs", "rw,size=64k", ["failure mount.memory"]],
  ["nfs4", "rw,hard", ["warning mount.nfs"]],
  ["nfs", "rw,soft", ["failure mount.nfs_soft", "warning mount.nfs"]],
  ["cifs", "rw", ["warning mount.network"]],
  ["fuse.sshfs", "rw", ["warning mount.fuse"]],
  ["overlay", "rw,upperdir=/u", ["failure mount.layer"]],
  ["overlay", "rw,volatile", ["failure mount.volatile", "failure mount.layer"]],
  ["overlay", "rw,fsync=volatile", ["failure mount.volatile", "failure mount.layer"]],
  ["vfat", "rw", ["failure mount.dos"]],
  ["zfs", "rw", ["untested mount.zfs"]],
  ["somethingnew", "rw", ["untested mount.unknown"]],
  ["ext4", "ro", ["ok mount.type", "failure mount.read_only"], { hasJournal: true }],
];

for (const [type, options, expected, surroundings] of CASES) {
  const journal = surroundings?.hasJournal === false ? ", no journal" : "";
  Deno.test(`meaningOf() judges ${type} with ${options}${journal}`, () => {
    const mount: Mount = { point: "/mail", type, source: "x", device: "8:1", options: options.split(",") };
    const findings = meaningOf(mount, surroundings);
    assert.deepEqual(findings.map(({ outcome, id }) => `${outcome} ${id}`), expected);
    for (const { outcome, next } of findings) assert.equal(next !== undefined, outcome !== "ok");
  });
}
