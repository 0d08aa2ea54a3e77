import assert from "node:assert/strict";
import { dirname, join } from "@std/path";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { FaultyFileSystem } from "../tests/support/faulty_file_system.ts";
import { Maildir, makeDurableMailRoot, TMP_LIFETIME } from "./maildir.ts";
import { UniqueNames } from "./unique_name.ts";

interface Setting {
  /** The trusted root. */
  readonly root: string;
  /** `root/example.com/alice`. */
  readonly path: string;
  readonly fileSystem: FaultyFileSystem;
  readonly maildir: Maildir;
  /** Lets milliseconds pass. */
  readonly pass: (milliseconds: number) => void;
}

async function inRoot(run: (setting: Setting) => Promise<void>): Promise<void> {
  const root = join(await Deno.realPath(await Deno.makeTempDir({ prefix: "mailapp-maildir-" })), "mail");
  const path = join(root, "example.com", "alice");
  const fileSystem = new FaultyFileSystem();
  const syncer = new DirectorySyncer({ fileSystem });
  const names = new UniqueNames({ hostname: "mx", now: () => 1_700_000_000_000 });
  let elapsed = 0;
  const monotonic = () => elapsed;
  const maildir = new Maildir(path, { root, names, syncer, fileSystem, monotonic });
  try {
    await run({ root, path, fileSystem, maildir, pass: (milliseconds) => elapsed += milliseconds });
  } finally {
    await Deno.remove(join(root, ".."), { recursive: true });
  }
}

async function deliver(maildir: Maildir): Promise<string> {
  const message = await maildir.create();
  await message.write(new TextEncoder().encode("x: y\n"));
  await message.finish();
  await message.publish({ wire: 6 });
  await message.settle();
  return message.path;
}

const mode = (path: string) => ((Deno.lstatSync(path).mode ?? 0) & 0o7777).toString(8);
const names = (path: string) => Array.from(Deno.readDirSync(path), ({ name }) => name).sort();

Deno.test("Maildir.create() makes the Maildir, setgid and for the group", async () => {
  await inRoot(async ({ root, path, maildir }) => {
    // The umask, process-wide and so not for a test to change, takes off at least the group's write.
    await deliver(maildir);
    assert.deepEqual(names(path), ["cur", "new", "tmp"]);
    for (const name of ["", "cur", "new", "tmp"]) assert.equal(mode(join(path, name)), "2770", name);
    assert.equal(mode(join(root, "example.com")), "2750");
    assert.equal(mode(root), "2750");
  });
});

Deno.test("Maildir.create() syncs every directory that it made, from the root's parent down, before the file", async () => {
  await inRoot(async ({ root, path, fileSystem, maildir }) => {
    const file = await deliver(maildir);
    const tmp = fileSystem.calls.find((call) => call.startsWith(`open ${path}/tmp/`))?.slice(5);
    assert.deepEqual(fileSystem.calls.filter((call) => !/^(open|close) /.test(call)), [
      // Once by who made the root, once because another may have made it a moment ago.
      `sync ${join(root, "..")}`,
      `sync ${join(root, "..")}`,
      `sync ${root}`,
      `sync ${root}/example.com`,
      `sync ${path}`,
      `write ${tmp}`,
      `sync ${tmp}`,
      `rename ${file}`,
      `sync ${path}/new`,
    ]);
    fileSystem.calls.length = 0;
    await deliver(maildir);
    assert.deepEqual(fileSystem.calls.filter((call) => call.startsWith("sync")).length, 2);
  });
});

Deno.test("Maildir.create() syncs the way to a Maildir that an earlier process made", async () => {
  await inRoot(async ({ path, root, fileSystem, maildir }) => {
    for (const name of ["tmp", "new"]) await Deno.mkdir(join(path, name), { recursive: true });
    await deliver(maildir);
    assert.ok(fileSystem.calls.includes(`sync ${root}`));
    assert.ok(fileSystem.calls.includes(`sync ${path}`));
  });
});

Deno.test("Maildir.create() makes a Maildir again that was moved away", async () => {
  await inRoot(async ({ path, maildir }) => {
    await deliver(maildir);
    await Deno.rename(path, `${path}.old`);
    await deliver(maildir);
    assert.equal(names(join(path, "new")).length, 1);
  });
});

Deno.test("Maildir.create() many at once makes the Maildir once and loses nothing", async () => {
  await inRoot(async ({ path, fileSystem, maildir }) => {
    const files = await Promise.all(Array.from({ length: 1000 }, () => deliver(maildir)));
    assert.equal(new Set(files).size, 1000);
    assert.equal(names(join(path, "new")).length, 1000);
    assert.deepEqual(names(join(path, "tmp")), []);
    assert.equal(fileSystem.calls.filter((call) => call === `sync ${path}`).length, 1);
    const syncs = fileSystem.calls.filter((call) => call === `sync ${path}/new`).length;
    assert.ok(syncs < 1000, `${syncs} syncs of new/ were not shared`);
  });
});

for (
  const swapped of ["example.com", "example.com/alice", "example.com/alice/new", "example.com/alice/tmp"]
) {
  Deno.test(`Maildir refuses a symbolic link in the place of ${swapped}`, async () => {
    await inRoot(async ({ root, maildir }) => {
      await deliver(maildir);
      const elsewhere = join(root, "..", "elsewhere");
      await Deno.rename(join(root, swapped), elsewhere);
      await Deno.symlink(elsewhere, join(root, swapped));
      const refused = { name: "StorageError", fault: "denied", path: join(root, swapped) };
      await assert.rejects(maildir.check(), refused);
      await assert.rejects(maildir.create(), refused);
    });
  });
}

for (const swapped of ["tmp", "new"]) {
  Deno.test(`Maildir sees at once that its readers have swapped ${swapped}`, async () => {
    await inRoot(async ({ root, path, maildir }) => {
      await deliver(maildir);
      await deliver(maildir);
      await Deno.mkdir(join(root, "elsewhere"));
      await Deno.rename(join(path, swapped), join(path, "old"));
      await Deno.symlink(join(root, "elsewhere"), join(path, swapped));
      await assert.rejects(deliver(maildir), /symbolic link/);
      assert.deepEqual(names(join(root, "elsewhere")), []);
    });
  });
}

for (const writable of ["the root", "a parent"]) {
  Deno.test(`Maildir sees at once that it was swapped by a group that may write to ${writable}`, async () => {
    await inRoot(async ({ root, path, maildir }) => {
      await deliver(maildir);
      await Deno.chmod(writable === "the root" ? root : join(root, "example.com"), 0o2770);
      await deliver(maildir);
      // The inode of new/ stays the same.
      const [from, to] = writable === "the root"
        ? [join(root, "example.com"), join(root, "x")]
        : [path, join(root, "x")];
      await Deno.rename(from, to);
      await Deno.symlink(to, from);
      await assert.rejects(deliver(maildir), /symbolic link/);
    });
  });
}

for (const folder of ["tmp", "new"]) {
  Deno.test(`Maildir refuses a message if ${folder} was swapped while it came`, async () => {
    await inRoot(async ({ root, path, maildir }) => {
      await deliver(maildir);
      await maildir.check();
      const message = await maildir.create();
      await message.write(new TextEncoder().encode("x: y\n"));
      await message.finish();
      await Deno.mkdir(join(root, "elsewhere"));
      await Deno.rename(join(path, folder), join(path, "old"));
      await Deno.symlink(join(root, "elsewhere"), join(path, folder));
      const before = names(join(path, "new"));
      await maildir.check();
      await assert.rejects(message.publish({ wire: 6 }), /symbolic link|rename/);
      await assert.rejects(maildir.check(), /symbolic link/);
      assert.deepEqual(names(join(root, "elsewhere")), []);
      assert.deepEqual(names(join(path, "new")), before);
      if (folder === "new") assert.deepEqual(names(join(path, "tmp")), []);
    });
  });
}

Deno.test("Maildir syncs the way to a new/ that was made while a message came", async () => {
  await inRoot(async ({ path, fileSystem, maildir }) => {
    await deliver(maildir);
    const message = await maildir.create();
    await message.finish();
    await Deno.remove(join(path, "new"), { recursive: true });
    fileSystem.calls.length = 0;
    await message.publish({ wire: 0 });
    await message.settle();
    const steps = fileSystem.calls.filter((call) => !/^(open|close) /.test(call));
    assert.deepEqual(steps.slice(-3), [`sync ${path}`, `rename ${message.path}`, `sync ${path}/new`]);
    assert.equal(names(join(path, "new")).length, 1);
  });
});

Deno.test("Maildir tells a new/ that was made anew, though it has the number of the one before", async () => {
  await inRoot(async ({ path, fileSystem, maildir }) => {
    const folder = join(path, "new");
    const born = () => Deno.lstatSync(folder).birthtime?.getTime();
    for (let again = 0; again < 5; again++) {
      await deliver(maildir);
      const before = born();
      // The clock of file systems goes by some milliseconds.
      for (let tries = 0; tries === 0 || (before !== undefined && born() === before); tries++) {
        assert.ok(tries < 10_000, "the clock of the file system stands still");
        await Deno.remove(folder, { recursive: true });
        await Deno.mkdir(folder, { mode: 0o770 });
      }
      fileSystem.calls.length = 0;
      await deliver(maildir);
      assert.ok(fileSystem.calls.includes(`sync ${path}`));
    }
  });
});

Deno.test("Maildir.create() makes up for a sync that failed on the way to the Maildir", async () => {
  await inRoot(async ({ root, path, fileSystem, maildir }) => {
    for (const failing of [join(root, ".."), root, join(root, "example.com"), path]) {
      fileSystem.fault = (call, where) => call === "sync" && where === failing ? "EIO" : undefined;
      await assert.rejects(maildir.create(), { fault: "io" }, failing);
    }
    fileSystem.fault = () => undefined;
    fileSystem.calls.length = 0;
    await deliver(maildir);
    for (const directory of [root, join(root, "example.com"), path]) {
      assert.ok(fileSystem.calls.includes(`sync ${directory}`), directory);
    }
  });
});

Deno.test("Maildir.create() says which directory could not be made, and makes it the next time", async () => {
  for (const name of ["", "tmp", "new", "cur"]) {
    await inRoot(async ({ path, fileSystem, maildir }) => {
      const bad = join(path, name);
      fileSystem.fault = (call, at) => call === "mkdir" && at === bad ? "ENOSPC" : undefined;
      await assert.rejects(maildir.create(), { fault: "no-space", path: bad });
      fileSystem.fault = () => undefined;
      await deliver(maildir);
    });
  }
});

Deno.test("Maildir.create() refuses a Maildir that cannot be looked at", async () => {
  await inRoot(async ({ path, fileSystem, maildir, pass }) => {
    await deliver(maildir);
    pass(2000);
    fileSystem.fault = (call, at) => call === "lstat" && at === path ? "EIO" : undefined;
    await assert.rejects(maildir.create(), { fault: "io", path });
    fileSystem.fault = () => undefined;
    await deliver(maildir);
  });
});

Deno.test("Maildir looks at what leads to it once a second, and at once after a failure", async () => {
  await inRoot(async ({ root, fileSystem, maildir, pass }) => {
    const parent = join(root, "example.com");
    await deliver(maildir);
    await maildir.check();
    await deliver(maildir);
    await Deno.chmod(parent, 0o777);
    // However often it delivers meanwhile.
    for (let steps = 0; steps < 3; steps++) {
      pass(333);
      await deliver(maildir);
      await maildir.check();
    }
    pass(1);
    await assert.rejects(maildir.check(), /every account may write/);
    await assert.rejects(deliver(maildir), /every account may write/);
    await Deno.chmod(parent, 0o750);
    await deliver(maildir);
    await Deno.chmod(parent, 0o777);
    fileSystem.fault = (call) => call === "write" ? "EIO" : undefined;
    await assert.rejects(deliver(maildir), /EIO/);
    fileSystem.fault = () => undefined;
    await assert.rejects(deliver(maildir), /every account may write/);
  });
});

Deno.test("Maildir follows a symbolic link in the place of the root, which is an administrator's", async () => {
  await inRoot(async ({ root, maildir }) => {
    await Deno.mkdir(join(root, "..", "elsewhere"));
    await Deno.symlink("elsewhere", root);
    await maildir.check();
    await deliver(maildir);
  });
});

Deno.test("Maildir refuses a directory that everybody may write to", async () => {
  await inRoot(async ({ path, maildir }) => {
    await deliver(maildir);
    await Deno.chmod(join(path, ".."), 0o777);
    await assert.rejects(maildir.create(), /every account may write/);
  });
});

Deno.test({
  name: "Maildir refuses a directory of another account",
  ignore: Deno.uid() !== 0,
  fn: async () => {
    await inRoot(async ({ root, path, maildir }) => {
      await deliver(maildir);
      await Deno.chown(path, 4242, null);
      await assert.rejects(maildir.check(), /belongs to uid 4242, who could swap it/);
      const names = new UniqueNames({ hostname: "mx", now: () => 1_700_000_000_000 });
      await new Maildir(path, { root, names, uid: 4242 }).check();
    });
  },
});

Deno.test("Maildir.check() changes nothing, and refuses what is not a directory", async () => {
  await inRoot(async ({ root, path, maildir }) => {
    await maildir.check();
    assert.deepEqual(names(join(root, "..")), []);
    await Deno.mkdir(path, { recursive: true });
    await Deno.writeTextFile(join(path, "tmp"), "");
    await assert.rejects(maildir.check(), /not a directory/);
  });
});

Deno.test("Maildir.check() tries with a file at first and after a failure, until one succeeds", async () => {
  await inRoot(async ({ path, fileSystem, maildir }) => {
    for (const name of ["tmp", "new"]) await Deno.mkdir(join(path, name), { recursive: true });
    fileSystem.fault = (call) => call === "open" ? "EACCES" : undefined;
    await assert.rejects(maildir.check(), { fault: "denied" });
    await assert.rejects(maildir.check(), { fault: "denied" });
    fileSystem.fault = () => undefined;
    await maildir.check();
    await deliver(maildir);
    fileSystem.fault = (call) => call === "write" ? "EDQUOT" : undefined;
    await maildir.check();
    await assert.rejects(deliver(maildir), { fault: "over-quota" });
    await assert.rejects(maildir.check(), { fault: "over-quota" });
    fileSystem.fault = () => undefined;
    await maildir.check();
    fileSystem.calls.length = 0;
    await maildir.check();
    assert.deepEqual(fileSystem.calls, []);
    assert.deepEqual(names(join(path, "tmp")), []);
  });
});

Deno.test("Maildir.check() makes a Maildir whose making failed before", async () => {
  await inRoot(async ({ root, path, fileSystem, maildir }) => {
    fileSystem.fault = (_call, where) => where === root ? "EROFS" : undefined;
    await maildir.check();
    await assert.rejects(deliver(maildir), { fault: "denied" });
    await assert.rejects(maildir.check(), { fault: "denied" });
    fileSystem.fault = () => undefined;
    await maildir.check();
    assert.deepEqual(names(path), ["cur", "new", "tmp"]);
  });
});

Deno.test("Maildir.clean() removes old files from tmp/, and nothing else", async () => {
  await inRoot(async ({ path, maildir }) => {
    const now = Date.UTC(2026, 0, 10);
    assert.equal(await maildir.clean({ now }), 0);
    await deliver(maildir);
    const old = new Date(now - TMP_LIFETIME - 1000);
    const young = new Date(now - TMP_LIFETIME + 1000);
    for (const [name, time] of Object.entries({ old, young, future: new Date(now + 1e9) })) {
      for (const folder of ["tmp", "new", "cur"]) {
        await Deno.writeTextFile(join(path, folder, name), name);
        await Deno.utime(join(path, folder, name), time, time);
      }
    }
    await Deno.mkdir(join(path, "tmp", "directory"));
    await Deno.utime(join(path, "tmp", "directory"), old, old);
    await Deno.symlink("../new/old", join(path, "tmp", "link"));
    const before = names(join(path, "new"));
    assert.equal(await maildir.clean({ now }), 1);
    assert.deepEqual(names(join(path, "tmp")), ["directory", "future", "link", "young"]);
    assert.deepEqual(names(join(path, "new")), before);
  });
});

Deno.test("Maildir.create() asks for nothing above the root where that is durable already", async () => {
  await inRoot(async ({ root, fileSystem }) => {
    await makeDurableMailRoot(root, { fileSystem });
    fileSystem.calls.length = 0;
    const names = new UniqueNames({ hostname: "mx.example.com", now: () => 1_700_000_000_000 });
    const maildir = new Maildir(join(root, "example.com", "carol"), {
      root,
      rootIsDurable: true,
      names,
      fileSystem,
    });
    await deliver(maildir);
    const touched = fileSystem.calls.map((call) => call.split(" ")[1] ?? "");
    assert.deepEqual(touched.filter((path) => path !== root && !path.startsWith(`${root}/`)), []);
  });
});

Deno.test("makeDurableMailRoot() syncs every name on the way to the root, made now or before", async () => {
  const above = await Deno.realPath(await Deno.makeTempDir());
  const root = join(above, "mail", "domains");
  for (const _ of ["made", "there"]) {
    const fileSystem = new FaultyFileSystem();
    await makeDurableMailRoot(root, { fileSystem });
    const synced = new Set(fileSystem.calls.filter((call) => call.startsWith("sync ")));
    for (const path of [join(above, "mail"), above, dirname(above), "/"]) {
      assert.ok(synced.has(`sync ${path}`), path);
    }
  }
  await Deno.remove(above, { recursive: true });
});
