import assert from "node:assert/strict";
import { durabilityOf, syncsIn } from "./durability.ts";

const isDirectory = (path: string) => path.endsWith("/new");

Deno.test("syncsIn() counts files and directories whose syncs ended between dot and reply", () => {
  const lines = [
    "strace: Process 12 attached",
    "[pid    12] 100.100000 fsync(5</mail/tmp/early>) = 0 <0.050000>",
    "[pid    12] 100.250000 fdatasync(5</mail/tmp/a>) = 0 <0.010000>",
    "[pid    13] 100.270000 fsync(7</mail/new> <unfinished ...>",
    "[pid    12] 100.280000 fsync(5</mail/tmp/failed>) = -1 EIO (Input/output error) <0.000100>",
    "[pid    13] 100.290000 <... fsync resumed>)       = 0 <0.020000>",
    "[pid    12] 100.295000 fsync(5</mail/tmp/late>) = 0 <0.050000>",
  ];
  assert.deepEqual(syncsIn(lines, { from: 100.2, to: 100.3, isDirectory }), { files: 1, directories: 1 });
});

Deno.test("syncsIn() counts a sync that began before the dot and ended after it, and lines without a process", () => {
  const lines = [
    "100.190000 fsync(5</mail/tmp/a> <unfinished ...>",
    "100.210000 <... fsync resumed>)           = 0 <0.020000>",
    "100.220000 sync_file_range(5</mail/tmp/a>, 0, 0, SYNC_FILE_RANGE_WRITE) = 0 <0.001000>",
  ];
  assert.deepEqual(syncsIn(lines, { from: 100.2, to: 100.3, isDirectory }), { files: 1, directories: 0 });
});

Deno.test("durabilityOf() says in words what was synced", () => {
  assert.equal(durabilityOf({ files: 0, directories: 0 }), "nothing");
  assert.equal(durabilityOf({ files: 2, directories: 0 }), "file");
  assert.equal(durabilityOf({ files: 1, directories: 1 }), "file and directory");
});
