import assert from "node:assert/strict";
import { isReadOnlyIn } from "./mounts.ts";

const MOUNTS = String.raw`22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:2 / /var rw,relatime - ext4 /dev/sda2 ro,errors=remount-ro
31 30 8:3 / /var/lib/mailapp rw - ext4 /dev/sda3 rw
32 22 0:40 / /mnt/with\040space ro,nosuid - tmpfs none rw
33 22 8:1 /x /srv rw - ext4 /dev/sda1 rw
34 33 8:1 /x /srv ro - ext4 /dev/sda1 rw
35 22 8:4 / /var/log rw,relatime - ext4 /dev/sda4 rw,abort,emergency_ro
`;

Deno.test("isReadOnlyIn() goes by the mount that a path is on, and by the file system below it", () => {
  const readOnly = ["/var", "/var/mail/a", "/var/lib/mailapp2", "/mnt/with space/x", "/srv/a", "/var/log/x"];
  const writable = ["/", "/etc", "/variable", "/var/lib/mailapp", "/var/lib/mailapp/spool", "/mnt/with"];
  for (const path of readOnly) assert.equal(isReadOnlyIn(MOUNTS, path), true, path);
  for (const path of writable) assert.equal(isReadOnlyIn(MOUNTS, path), false, path);
  assert.equal(isReadOnlyIn("", "/"), false);
});
