// How the portable form unpacks itself, and what it says where it cannot.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { builtMailapp } from "../support/built.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { type Finished, run, runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const AS_ROOT = Deno.uid() === 0 ? [] : ["root"];
const VERSION =
  /^mailapp \d+\.\d+\.\d+ \((?:[0-9a-f]{12}(?:-modified)?|unknown), Deno \d+\.\d+\.\d+, portable form\)\n$/;

/** The script that another file system hides /var/cache from. */
const PRIVATE_CACHE = `mount -t tmpfs -o mode=755 none /var/cache`;

async function isPortable(file: string): Promise<boolean> {
  using opened = await Deno.open(file);
  const start = new Uint8Array(2);
  await opened.read(start);
  return new TextDecoder().decode(start) === "#!";
}

/** Runs a script of sh in its own mount namespace, with only these variables. */
function sh(script: string, variables: Readonly<Record<string, string>>): Promise<Finished> {
  const env = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  return run("env", {
    args: ["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", ...env, "unshare", "-m", "sh", "-euc", script],
  });
}

function assertVersion({ code, stdout, stderr }: Finished): void {
  assert.equal(stderr, "");
  assert.match(stdout, VERSION);
  assert.equal(code, 0);
}

function assertRefused(finished: Finished, { code, says }: { code: number; says: RegExp }): void {
  assert.match(finished.stderr, says);
  assert.equal(finished.stdout, "");
  assert.equal(finished.code, code, finished.stderr);
}

testWith(["unshare", "setpriv", "mount", ...AS_ROOT], "the portable form", async (t) => {
  const file = await builtMailapp();
  if (!await isPortable(file)) return;
  await using folder = await makeFolder("portable file");
  await Deno.chmod(folder.path, 0o755);
  const nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";

  await t.step("a single file, with checksum and bill of materials, below 60 MB", async () => {
    const { size } = await Deno.stat(file);
    assert.ok(size < 60e6, `${size}`);
    await runOk("sh", { args: ["-c", `cd "$(dirname ${file})" && sha256sum -c mailapp.sha256`] });
    const bill = JSON.parse(await Deno.readTextFile(`${file}.cdx.json`));
    assert.equal(bill.bomFormat, "CycloneDX");
    const { imports } = JSON.parse(
      await Deno.readTextFile(fileURLToPath(new URL("../../deno.json", import.meta.url))),
    );
    const names = bill.components.map(({ name, version }: Record<string, string>) => `${name}@${version}`);
    for (const specifier of Object.values<string>(imports)) {
      const [, dependency] = /^npm:(@?[^@]+@[^/]+)/.exec(specifier) ?? [];
      if (dependency !== undefined) assert.ok(names.includes(dependency), specifier);
    }
    assert.ok(names.includes(`deno@${Deno.version.deno}`));
  });

  await t.step(
    "root unpacks into /var/cache/mailapp, for an account that can write nowhere too",
    async () => {
      const script = `${PRIVATE_CACHE}; umask 077
      ${file} --version; ls -A /var/cache/mailapp | wc -l; ${nobody} ${file} --version`;
      const { code, stdout, stderr } = await sh(script, {});
      assert.equal(stderr, "");
      assert.equal(code, 0);
      const [first, count, second] = stdout.trim().split("\n");
      assert.equal(count, "1");
      assert.equal(first, second);
      assert.match(`${first}\n`, VERSION);
    },
  );

  await t.step(
    "an account unpacks below HOME, XDG_CACHE_HOME, CACHE_DIRECTORY or MAILAPP_CACHE",
    async () => {
      const places = [
        ["HOME", "", "/.cache/mailapp"],
        ["XDG_CACHE_HOME", "", "/mailapp"],
        ["CACHE_DIRECTORY", ":/nonexistent", ""],
        ["MAILAPP_CACHE", "", ""],
      ];
      for (const [name = "", after = "", below = ""] of places) {
        const home = await folder.mkdir(`a home of ${name}`);
        await Deno.chown(home, 65534, 65534);
        assertVersion(await sh(`${PRIVATE_CACHE}; ${nobody} ${file} --version`, { [name]: home + after }));
        const [unpacked, ...more] = await Array.fromAsync(Deno.readDir(home + below), ({ name }) => name);
        assert.match(unpacked ?? "", /^[0-9a-f]{64}$/);
        assert.deepEqual(more, []);
        await Deno.remove(home, { recursive: true });
      }
    },
  );

  await t.step("a relative XDG_CACHE_HOME counts as none", async () => {
    const home = await folder.mkdir("a home of its own");
    await Deno.chown(home, 65534, 65534);
    const variables = { HOME: home, XDG_CACHE_HOME: "relative" };
    assertVersion(await sh(`${PRIVATE_CACHE}; ${nobody} ${file} --version`, variables));
    assert.ok((await Deno.stat(`${home}/.cache/mailapp`)).isDirectory);
    await Deno.remove(home, { recursive: true });
  });

  await t.step("three starts at once unpack one", async () => {
    const cache = await folder.mkdir("at once");
    const starts = await Promise.all([1, 2, 3].map(() => sh(`${file} --version`, { MAILAPP_CACHE: cache })));
    starts.forEach(assertVersion);
    const names = await Array.fromAsync(Deno.readDir(cache), ({ name }) => name);
    assert.equal(names.length, 1, names.join(" "));
    assert.match(names.join(), /^[0-9a-f]{64}$/);
  });

  await t.step("what a killed start left does no harm, and is removed", async () => {
    const cache = await folder.mkdir("left");
    await Deno.mkdir(`${cache}/.unpacking.old`);
    await Deno.mkdir(`${cache}/.unpacking.new`);
    await Deno.utime(`${cache}/.unpacking.old`, 1, 1);
    assertVersion(await sh(`${file} --version`, { MAILAPP_CACHE: cache }));
    const names = await Array.fromAsync(Deno.readDir(cache), ({ name }) => name);
    assert.deepEqual(names.filter((name) => name.startsWith(".")), [".unpacking.new"]);
  });

  const cache = await folder.mkdir("cache");
  const env = { MAILAPP_CACHE: cache };

  await t.step("starts by any path, through a link, by PATH, and as an argument of sh", async () => {
    const bin = await folder.mkdir("bin with spaces");
    await Deno.copyFile(file, `${bin}/mailapp`);
    await Deno.chmod(`${bin}/mailapp`, 0o755);
    await Deno.symlink("mailapp", `${bin}/ma il`);
    for (
      const script of [
        `"${bin}/mailapp" --version`,
        `"${bin}/ma il" --version`,
        `cd "${bin}"; ./mailapp --version`,
        `cd "${bin}"; sh mailapp --version`,
        `cd "${bin}"; sh ./mailapp --version`,
        `cd /; PATH="${bin}:$PATH"; mailapp --version`,
      ]
    ) assertVersion(await sh(script, env));
  });

  await t.step("the one here comes before the one on PATH", async () => {
    const other = await folder.mkdir("other");
    await Deno.writeTextFile(`${other}/mailapp`, "#!/bin/sh\necho other\n", { mode: 0o755 });
    assertVersion(
      await sh(`cd "${folder.path}/bin with spaces"; PATH="${other}:$PATH" sh mailapp --version`, env),
    );
  });

  await t.step("called by the name sendmail, it is sendmail", async () => {
    await Deno.symlink(file, folder.at("sendmail"));
    const script = `MAILAPP_CONFIG=/nonexistent; export MAILAPP_CONFIG; "${
      folder.at("sendmail")
    }" a@example.com </dev/null`;
    const { code, stderr } = await sh(script, env);
    assert.equal(code, 66, stderr);
    assert.match(stderr, /\/nonexistent: no such configuration file/);
  });

  await t.step("a package.json above it changes nothing", async () => {
    await Deno.writeTextFile(folder.at("package.json"), '{"type":"commonjs","dependencies":{"zod":"0.0.1"}}');
    assertVersion(await sh(`cd "${cache}"; ${file} --version`, env));
  });

  await t.step("a damaged or cut file is refused, exit code 65", async () => {
    for (
      const damage of ["truncate -s -1000", "printf x | dd conv=notrunc status=none bs=1 seek=9000000 of="]
    ) {
      const copy = folder.at("damaged");
      const command = damage.endsWith("=") ? `${damage}"${copy}"` : `${damage} "${copy}"`;
      const empty = await folder.mkdir(`empty ${damage.length}`);
      const finished = await sh(`cp ${file} "${copy}"; ${command}; "${copy}" --version`, {
        MAILAPP_CACHE: empty,
      });
      assertRefused(finished, { code: 65, says: /damaged is damaged: .*SHA-256.*\n.*copy the file again/ });
      assert.deepEqual(await Array.fromAsync(Deno.readDir(empty)), []);
    }
  });

  await t.step(
    "no place, a full one, a read-only one or one where nothing may run: exit code 73",
    async () => {
      const at = await folder.mkdir("mount");
      const mounted = (options: string) =>
        sh(`mount -t tmpfs -o ${options} none "${at}"; ${file} --version`, { MAILAPP_CACHE: at });
      assertRefused(await mounted("ro"), { code: 73, says: /cannot write to .*\n.*set MAILAPP_CACHE/ });
      assertRefused(await mounted("noexec,mode=755"), {
        code: 73,
        says: /mounted noexec\?\n.*set MAILAPP_CACHE/,
      });
      assertRefused(await mounted("size=20m,mode=755"), {
        code: 73,
        says: /cannot unpack into .*\n.*110 MB/,
      });
      const nowhere = await sh(`${PRIVATE_CACHE}; ${nobody} ${file} --version`, {});
      assertRefused(nowhere, {
        code: 73,
        says: /no place to unpack.*\n.*set MAILAPP_CACHE.*or run it once as root/,
      });
      const remounted = `mount -t tmpfs -o mode=755 none "${at}"; ${file} --version >/dev/null;
      mount -o remount,noexec "${at}"; ${file} --version`;
      assertRefused(await sh(remounted, { MAILAPP_CACHE: at }), { code: 73, says: /mounted noexec\?/ });
    },
  );

  await t.step("what others can write to is not trusted, exit code 77", async () => {
    const open = await folder.mkdir("open");
    await Deno.chmod(open, 0o777);
    assertRefused(await sh(`${file} --version`, { MAILAPP_CACHE: open }), {
      code: 77,
      says: /others can write to it/,
    });
    // Unpacked by another account, in its own folder.
    const theirs = await folder.mkdir("theirs");
    await Deno.chown(theirs, 65534, 65534);
    assertVersion(await sh(`${nobody} ${file} --version`, { MAILAPP_CACHE: theirs }));
    assertRefused(await sh(`${file} --version`, { MAILAPP_CACHE: theirs }), {
      code: 77,
      says: /another account/,
    });
    await Deno.symlink(cache, folder.at("link"));
    assertVersion(await sh(`${file} --version`, { MAILAPP_CACHE: folder.at("link") }));
    await runOk("chown", { args: ["-h", "65534", folder.at("link")] });
    assertRefused(await sh(`${file} --version`, { MAILAPP_CACHE: folder.at("link") }), {
      code: 77,
      says: /another account/,
    });
  });
});
