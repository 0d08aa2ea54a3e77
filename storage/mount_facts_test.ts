import assert from "node:assert/strict";
import { mountOf, readCounters } from "./mount_facts.ts";

const MOUNTINFO = String.raw`22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,data=writeback
40 27 0:44 / /var/lib/with\040space rw,nosuid shared:3 - tmpfs none rw,size=64k
41 27 8:1 / /mail rw - xfs /dev/sda1 rw,nobarrier
42 27 8:2 / /mail rw - btrfs /dev/sda2 rw
`;

Deno.test("mountOf() finds the mount that holds a path, the latest of several", () => {
  assert.deepEqual(mountOf(MOUNTINFO, "/var/lib/mailapp"), {
    point: "/",
    type: "ext4",
    source: "/dev/vda",
    device: "254:0",
    options: ["rw", "relatime", "data=writeback"],
  });
  assert.equal(mountOf(MOUNTINFO, "/mail/example.com")?.type, "btrfs");
  assert.equal(mountOf(MOUNTINFO, "/mailapp")?.type, "ext4");
  assert.deepEqual(mountOf(MOUNTINFO, "/var/lib/with space/x")?.options, ["rw", "nosuid", "size=64k"]);
  assert.equal(mountOf("", "/x"), undefined);
});

Deno.test("readCounters() reads what was written, and flushes where they are counted", () => {
  assert.deepEqual(readCounters("  1 2 3 4 5 6 20 8 9 10 11\n"), { octets: 10_240 });
  assert.deepEqual(readCounters("1 2 3 4 5 6 2 8 9 10 11 12 13 14 15 77 17"), { octets: 1024, flushes: 77 });
});
