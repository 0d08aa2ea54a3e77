import assert from "node:assert/strict";
import { join } from "@std/path";
import { loadConfig } from "../config/load.ts";
import { refuseForeignDataDir, rightsWarnings } from "./rights.ts";

async function withConfig(use: (directory: string, file: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const file = join(directory, "config.toml");
    const key = join(directory, "key.pem");
    await Deno.writeTextFile(
      file,
      `hostname = "mx.example.com"
data_dir = "${directory}/data"
[tls]
cert = "${directory}/cert.pem"
key = "${key}"
[serve-in]
domains = ["example.com"]
[mailboxes]
path = "${directory}/mail/{domain}/{user}"
users = ["alice"]
[mailboxes.aliases]
postmaster = "alice"
`,
    );
    await Deno.writeTextFile(key, "");
    await Deno.mkdir(join(directory, "data/spool"), { recursive: true });
    await Deno.mkdir(join(directory, "mail"));
    for (const path of ["", "data", "data/spool", "mail"]) await Deno.chmod(join(directory, path), 0o750);
    for (const path of [file, key]) await Deno.chmod(path, 0o640);
    await use(directory, file);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const load = (file: string) => loadConfig(file, { env: { get: () => undefined } });

Deno.test("rightsWarnings() names what every account can read or change", async () => {
  await withConfig(async (directory, file) => {
    assert.deepEqual(await rightsWarnings(await load(file)), []);
    const wide: readonly (readonly [string, number, string])[] = [
      ["key.pem", 0o644, `[tls] key: every account can read it: chmod o= ${directory}/key.pem`],
      ["key.pem", 0o666, `[tls] key: every account can change it: chmod o= ${directory}/key.pem`],
      [
        "config.toml",
        0o666,
        `the configuration: every account can change it: chmod o-w ${directory}/config.toml`,
      ],
      ["data", 0o777, `data_dir: every account can change it: chmod o-w ${directory}/data`],
      ["data/spool", 0o777, `data_dir: every account can change it: chmod o-w ${directory}/data/spool`],
      ["mail", 0o777, `[mailboxes] path: every account can change it: chmod o-w ${directory}/mail`],
    ];
    for (const [name, mode, warning] of wide) {
      const path = join(directory, name);
      const before = (await Deno.stat(path)).mode ?? 0;
      await Deno.chmod(path, mode);
      assert.deepEqual(await rightsWarnings(await load(file)), [warning]);
      await Deno.chmod(path, before & 0o7777);
    }
  });
});

Deno.test({
  name: "refuseForeignDataDir() keeps root out of the data directory of an account",
  ignore: Deno.uid() !== 0,
  fn: async () => {
    await withConfig(async (directory, file) => {
      const config = await load(file);
      await refuseForeignDataDir(config, "mailapp-out");
      await Deno.chown(join(directory, "data"), 12345, 12345);
      await assert.rejects(
        refuseForeignDataDir(config, "mailapp-out"),
        /belongs to account 12345.*systemctl start mailapp-out/s,
      );
    });
  },
});
