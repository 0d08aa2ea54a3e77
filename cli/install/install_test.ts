import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parseConfig } from "../../config/load.ts";
import { makeFolder } from "../../tests/support/peers/folder.ts";
import { run, runOk } from "../../tests/support/peers/process.ts";
import { testWith } from "../../tests/support/requires.ts";
import { writeInstalled } from "./installed_files.ts";
import { certbotHookPath, installedFiles } from "./units.ts";

const CONFIG = `
hostname = "mx.example.com"
[tls]
cert = "/etc/letsencrypt/live/mx.example.com/fullchain.pem"
key = "/etc/letsencrypt/live/mx.example.com/privkey.pem"
[log]
file = "/var/log/mailapp/mail.log"
[serve-in]
domains = ["example.com"]
[mailboxes]
users = ["alice"]
[mailboxes.aliases]
postmaster = "alice"
`;

const ACME = CONFIG.replace(/\[tls\]\n.*\n.*\n/, "[tls.acme]\n");

async function files(
  text = CONFIG,
  { executable = "/usr/local/bin/mailapp", file = "/etc/mailapp/config.toml" } = {},
) {
  return new Map(
    (await installedFiles(parseConfig(text, { file }), { executable, mailRoot: "/var/mail" }))
      .map((file) => [file.path, file]),
  );
}

/** The settings of a unit: the last of each. */
function settings(unit: string | undefined): Record<string, string> {
  return Object.fromEntries(
    (unit ?? "").split("\n").flatMap((line) => {
      const [, name, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
      return name === undefined || value === undefined ? [] : [[name, value]];
    }),
  );
}

testWith(
  ["systemd-analyze"],
  "installedFiles() renews twice a day, each machine at another time",
  async () => {
    const all = await files(ACME);
    const timer = settings(all.get("/etc/systemd/system/mailapp-certificate.timer")?.text);
    const stdout = await runOk("systemd-analyze", {
      args: ["calendar", "--iterations=4", timer["OnCalendar"] ?? ""],
      env: { TZ: "UTC" },
    });
    const times = [...stdout.matchAll(/\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d) UTC$/gm)].map(([, time]) => time);
    assert.deepEqual([times.length >= 4, new Set(times)], [true, new Set(["00:00:00", "12:00:00"])], stdout);
    assert.equal(timer["RandomizedDelaySec"], "12h");
    assert.equal(timer["Persistent"], "yes");
  },
);

Deno.test("installedFiles() has a unit for the dashboard where its table is there, which hides its token from servers", async () => {
  const path = "/etc/systemd/system/mailapp-dashboard.service";
  assert.equal((await files()).get(path), undefined);
  const all = await files(`${CONFIG}[dashboard]\n`);
  const unit = settings(all.get(path)?.text);
  assert.equal(unit["ExecStart"], "/usr/local/bin/mailapp dashboard --config /etc/mailapp/config.toml");
  assert.equal(unit["ReadWritePaths"], "/var/lib/mailapp/dashboard /var/log/mailapp");
  assert.equal(unit["RequiresMountsFor"], unit["ReadWritePaths"]);
  assert.equal(unit["SupplementaryGroups"], undefined);
  for (const hidden of ["spool", "dkim", "tls", "accounts"]) {
    assert.match(unit["InaccessiblePaths"] ?? "", new RegExp(`-/var/lib/mailapp/${hidden}(?: |$)`));
  }
  for (const server of ["in", "out"]) {
    const { InaccessiblePaths: paths } = settings(
      all.get(`/etc/systemd/system/mailapp-${server}.service`)?.text,
    );
    assert.match(paths ?? "", / -\/var\/lib\/mailapp\/dashboard$/);
  }
  const journal = await files(`${CONFIG.replace(/^\[log\]\nfile = .*\n/m, "")}[dashboard]\n`);
  assert.equal(settings(journal.get(path)?.text)["SupplementaryGroups"], "systemd-journal");
});

Deno.test("installedFiles() lets each server write where its part is, and see nothing of the other's", async () => {
  const all = await files();
  const serveIn = settings(all.get("/etc/systemd/system/mailapp-in.service")?.text);
  const serveOut = settings(all.get("/etc/systemd/system/mailapp-out.service")?.text);
  assert.equal(serveIn["ExecStart"], "/usr/local/bin/mailapp serve-in --config /etc/mailapp/config.toml");
  assert.equal(serveIn["ReadWritePaths"], "/var/lib/mailapp /var/mail /var/log/mailapp");
  assert.equal(
    serveIn["InaccessiblePaths"],
    "-/var/lib/mailapp/spool -/var/lib/mailapp/dkim -/var/lib/mailapp/accounts",
  );
  assert.equal(
    serveIn["PropagatesReloadTo"],
    "mailapp-out.service mailapp-submit.service mailapp-policy.service",
  );
  assert.equal(
    serveOut["PropagatesReloadTo"],
    "mailapp-in.service mailapp-submit.service mailapp-policy.service",
  );
  assert.equal(serveOut["ReadWritePaths"], "/var/lib/mailapp /var/log/mailapp");
  assert.equal(
    serveOut["InaccessiblePaths"],
    "-/var/lib/mailapp/incoming -/var/lib/mailapp/accounts -/var/mail",
  );
  for (const unit of [serveIn, serveOut]) {
    assert.equal(unit["RequiresMountsFor"], unit["ReadWritePaths"]);
    assert.equal(unit["User"], "mailapp");
    assert.equal(unit["AmbientCapabilities"], "CAP_NET_BIND_SERVICE");
    assert.equal(unit["NoNewPrivileges"], "yes");
    assert.equal(unit["LimitNOFILE"], "65536");
  }
  assert.ok(all.has("/etc/logrotate.d/mailapp") && all.has(certbotHookPath));
});

Deno.test("installedFiles() gives no capability for high ports, no serve-in without domains", async () => {
  const all = await files("[serve-out]\nport = 2525\n");
  assert.deepEqual([...all.keys()], [
    "/etc/systemd/system/mailapp-out.service",
    "/etc/sysusers.d/mailapp.conf",
  ]);
  const unit = settings(all.get("/etc/systemd/system/mailapp-out.service")?.text);
  assert.deepEqual([unit["AmbientCapabilities"], unit["CapabilityBoundingSet"]], ["", ""]);
});

Deno.test("installedFiles() writes paths so that systemd takes them literally", async () => {
  const all = await files(`data_dir = "/srv/100% \\"mail\\" $x"\n`, { executable: "/opt/a b/$mailapp" });
  const unit = settings(all.get("/etc/systemd/system/mailapp-out.service")?.text);
  assert.equal(unit["ReadWritePaths"], String.raw`"/srv/100%% \"mail\" $x"`);
  assert.equal(unit["RequiresMountsFor"], unit["ReadWritePaths"]);
  assert.equal(unit["ExecStart"], '"/opt/a b/$$mailapp" serve-out --config /etc/mailapp/config.toml');
  const text = all.get("/etc/systemd/system/mailapp-out.service")?.text ?? "";
  assert.match(text, /^ExecStartPre=\+"\/opt\/a b\/\$\$mailapp" --version$/m);
  assert.match(text, /^ExecStartPre="\/opt\/a b\/\$\$mailapp" check-config --start serve-out --config \S+$/m);
});

Deno.test("installedFiles() confines dashboard and renewal as it does the servers", async () => {
  const unit = async (name: string, text: string, file?: string) =>
    settings((await files(text, { file })).get(`/etc/systemd/system/mailapp-${name}.service`)?.text);
  const confines = (unit: Record<string, string>) =>
    Object.entries(unit).filter(([name]) =>
      /^(?:Keyring|Lock|NoNew|Private|Protect|Remove|Restrict|System)/.test(name)
    );
  for (const file of ["/etc/mailapp/config.toml", "/home/ann/mailapp.toml"]) {
    const expected = confines(await unit("out", ACME, file));
    assert.ok(expected.length > 20);
    const protectHome = file.startsWith("/home") ? "read-only" : "yes";
    assert.equal(Object.fromEntries(expected)["ProtectHome"], protectHome);
    assert.deepEqual(confines(await unit("certificate", ACME, file)), expected);
    assert.deepEqual(confines(await unit("dashboard", `${ACME}[dashboard]\n`, file)), expected);
  }
  const renewal = await unit("certificate", ACME);
  assert.equal(renewal["ReadWritePaths"], "/var/lib/mailapp");
  assert.equal(renewal["AmbientCapabilities"], "CAP_NET_BIND_SERVICE");
  assert.match(renewal["InaccessiblePaths"] ?? "", /^-\/var\/lib\/mailapp\/spool .* -\/var\/mail$/);
  const homeKey = `${ACME.replace("[tls.acme]", '[tls.acme]\nca_file = "/root/ca.pem"')}`;
  assert.equal((await unit("certificate", homeKey))["ProtectHome"], "read-only");
});

Deno.test("writeInstalled() leaves alone what somebody has changed", async () => {
  await using folder = await makeFolder("install");
  const path = folder.at("etc/unit");
  const write = (text: string) => writeInstalled({ path, text, mode: 0o644 });
  assert.equal(await write("a=1\n"), "written");
  assert.equal(await write("a=1\n"), "unchanged");
  assert.equal(await write("a=2\n"), "updated");
  assert.match(await Deno.readTextFile(path), /^a=2\n# mailapp install: /);
  const changed = (await Deno.readTextFile(path)).replace("a=2", "a=3");
  await Deno.writeTextFile(path, changed);
  assert.equal(await write("a=4\n"), "kept");
  assert.equal(await Deno.readTextFile(path), changed);
  assert.match(await Deno.readTextFile(`${path}.new`), /^a=4\n/);
  await Deno.writeTextFile(path, "theirs\n");
  assert.equal(await write("a=4\n"), "kept");
});

testWith(["systemd-analyze"], "the units are right in systemd's eyes, and score below 2.0", async () => {
  await using folder = await makeFolder("units");
  for (
    const text of [CONFIG, `${ACME}[dashboard]\n`, CONFIG.replace('file = "/var', 'file = "/srv/odd %n $x')]
  ) {
    for (const { path, text: unit } of (await files(text, { executable: Deno.execPath() })).values()) {
      if (!path.endsWith(".service")) continue;
      const at = await folder.write(path.slice(path.lastIndexOf("/") + 1), unit);
      const verified = await run("systemd-analyze", { args: ["verify", "--man=no", at] });
      const about = verified.stderr.split("\n").filter((line) => line.includes("mailapp-"));
      assert.deepEqual(about, [], verified.stderr);
      const security = await run("systemd-analyze", {
        args: ["security", "--offline=yes", "--no-pager", "--threshold=20", at],
      });
      assert.equal(security.code, 0, security.stdout.slice(-200));
    }
  }
});

testWith(
  ["sh", ...(Deno.uid() === 0 ? ["chroot"] : ["root"])],
  "certbot's hook opens its key to the group only",
  async () => {
    await using folder = await makeFolder("hook");
    const base = folder.at("letsencrypt");
    for (const name of ["mx.example.com", "other.example"]) {
      await Deno.mkdir(`${base}/archive/${name}`, { recursive: true });
      await Deno.mkdir(`${base}/live/${name}`, { recursive: true });
      await Deno.writeTextFile(`${base}/archive/${name}/privkey1.pem`, "secret");
      // As certbot did before 0.29.
      await Deno.chmod(`${base}/archive/${name}/privkey1.pem`, 0o644);
    }
    for (const name of ["live", "archive"]) await Deno.chmod(`${base}/${name}`, 0o700);
    const hook = ((await files()).get(certbotHookPath)?.text ?? "")
      .replace("chgrp mailapp", "chgrp 65534").replaceAll("archive=/etc/letsencrypt", `archive=${base}`)
      .replaceAll('/etc/letsencrypt/live "', `${base}/live "`).replace("/run/systemd/system", "/nonexistent");
    const script = await folder.write("hook", hook, { mode: 0o755 });
    const state = async (path: string) => {
      const { mode, gid } = await Deno.stat(`${base}/${path}`);
      return [((mode ?? 0) & 0o777).toString(8), gid];
    };
    await runOk(script, { env: { RENEWED_LINEAGE: "/etc/letsencrypt/live/other.example" } });
    assert.deepEqual(await state("archive"), ["700", 0]);
    await runOk(script, { env: { RENEWED_LINEAGE: "/etc/letsencrypt/live/mx.example.com" } });
    assert.deepEqual(await state("archive"), ["711", 0]);
    assert.deepEqual(await state("live"), ["711", 0]);
    assert.deepEqual(await state("archive/mx.example.com/privkey1.pem"), ["640", 65534]);
    assert.deepEqual(await state("archive/other.example/privkey1.pem"), ["640", 0]);
  },
);

Deno.test("install --print shows the files, for this configuration", async () => {
  const main = fileURLToPath(new URL("../../main.ts", import.meta.url));
  await using folder = await makeFolder("print");
  const config = await folder.write("config.toml", CONFIG);
  const { code, stdout } = await run(Deno.execPath(), {
    args: ["run", "-A", "--frozen", main, "install", "--print", "--config", config],
  });
  assert.equal(code, 0);
  assert.match(stdout, /^# ── \/etc\/systemd\/system\/mailapp-in\.service\n\[Unit\]/);
  assert.match(stdout, new RegExp(`serve-in --config ${config}`));
});
