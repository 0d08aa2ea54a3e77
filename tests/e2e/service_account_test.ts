// What root sees and does on behalf of the account of the servers, which is here the owner of the data directory, nobody.
import assert from "node:assert/strict";
import { makeFolder } from "../support/peers/folder.ts";
import { startServeOut } from "../support/peers/mailapp.ts";
import { run, runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { fileURLToPath } from "node:url";

const NOBODY = { uid: 65534, gid: 65534 };
const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));
const AS_ROOT = ["setpriv", "unshare", "mount", ...(Deno.uid() === 0 ? [] : ["root"])];

async function isTaken(): Promise<boolean> {
  return /^mailapp:/m.test(await Deno.readTextFile("/etc/passwd"));
}

testWith(AS_ROOT, "check-config as root says what the account of the servers may not do", async (t) => {
  if (await isTaken()) return;
  await using folder = await makeFolder("service account");
  await Deno.chmod(folder.path, 0o755);
  const data = await folder.mkdir("data", NOBODY);
  const mail = await folder.mkdir("mail");
  await folder.mkdir("mail/first.test", NOBODY);
  const key = await folder.write("relay.pass", "secret\n", { mode: 0o600 });
  const check = async (
    settings: { readonly dataDir?: string; readonly domains?: readonly string[]; readonly more?: string },
    { args = [] as string[], script = "" } = {},
  ) => {
    const config = await folder.write(
      "config.toml",
      `hostname = "mx.first.test"
data_dir = "${settings.dataDir ?? data}"
[serve-in]
listen = ["127.0.0.1"]
domains = ${JSON.stringify(settings.domains ?? ["first.test"])}
min_free_space = "1MiB"
[mailboxes]
path = "${mail}/{domain}/{user}"
users = ["alice"]
aliases = { postmaster = "alice" }
[serve-out]
port = 2525
min_free_space = "1MiB"
${settings.more ?? ""}`,
    );
    const command = [
      Deno.execPath(),
      "run",
      "-A",
      "--frozen",
      MAIN,
      "check-config",
      "--config",
      config,
      ...args,
    ];
    const { code, stdout, stderr } = await run("unshare", {
      args: ["-m", "sh", "-euc", `${script}\nexec "$@"`, "sh", ...command],
    });
    return { code, said: stdout + stderr };
  };

  await t.step("nothing, where all is right", async () => {
    const { code, said } = await check({});
    assert.equal(code, 0, said);
    assert.doesNotMatch(said, /error:/);
  });
  await t.step("a domain whose directory the account cannot make", async () => {
    const { code, said } = await check({ domains: ["first.test", "third.test"] });
    assert.equal(code, 78, said);
    assert.match(said, /error: .*mail\/third\.test is not there, and the account nobody cannot make it/);
    // The server starts all the same, and takes mail for the first.
    assert.equal(
      (await check({ domains: ["first.test", "third.test"] }, { args: ["--start", "serve-in"] })).code,
      0,
    );
  });
  await t.step("a data directory that does not exist", async () => {
    // Then nothing says whose the servers are, and root could make it.
    const { code, said } = await check({ dataDir: `${folder.path}/dtaa` });
    assert.equal(code, 0, said);
    assert.match(said, /warning: data_dir: .*dtaa is not there yet/);
  });
  await t.step("a data directory that is read-only, or full", async () => {
    const readOnly = await check({}, {
      script: `mount --bind "${data}" "${data}"; mount -o remount,bind,ro "${data}"`,
    });
    assert.equal(readOnly.code, 78, readOnly.said);
    assert.match(readOnly.said, /error: data_dir: .* mounted read-only/);
    const script = `mount -t tmpfs -o size=512k,uid=65534,gid=65534 none "${data}"`;
    const full = await check({}, { script });
    assert.equal(full.code, 78, full.said);
    assert.match(full.said, /error: 0 MiB free where data_dir is, and 1 MiB must stay free/);
    // It can still send what it has.
    assert.equal((await check({}, { script, args: ["--start", "serve-out"] })).code, 0);
  });
  await t.step("a password that only root can read", async () => {
    const more = `[serve-out.routes]\n"*" = { host = "smtp.test", user = "u", password_file = "${key}" }\n`;
    const { code, said } = await check({ more });
    assert.equal(code, 78, said);
    assert.match(said, /password_file: the account nobody may not read .*relay\.pass/);
    assert.equal((await check({ more }, { args: ["--start", "serve-out"] })).code, 78);
    assert.equal((await check({ more }, { args: ["--start", "serve-in"] })).code, 0, "that is serve-out's");
  });
  await t.step("--start says nothing where the server would start", async () => {
    assert.deepEqual(await check({}, { args: ["--start", "serve-in"] }), { code: 0, said: "" });
  });
});

testWith(AS_ROOT, "queue as root manages a stopped server's queue as the account of the server", async () => {
  await using folder = await makeFolder("queue");
  await using out = await startServeOut({ folder, dnsPort: 9, settings: { qualify_domain: "a.test" } });
  const mailapp = (...args: string[]) =>
    run(Deno.execPath(), {
      args: ["run", "-A", "--frozen", MAIN, ...args, "--config", out.config],
      stdin: "Subject: x\n\nHi\n",
    });
  assert.equal((await mailapp("sendmail", "u@b.test")).code, 0);
  await out.event("message.accepted");
  await out.program.stop();
  await runOk("chown", { args: ["-R", "65534:65534", folder.at("data")] });
  const list = await mailapp("queue", "list");
  assert.equal(list.code, 0, list.stderr);
  assert.match(list.stdout, /u@b\.test/);
  const held = await mailapp("queue", "hold", "--all");
  assert.equal(held.code, 0, held.stderr);
  assert.match((await mailapp("queue", "list")).stdout, /held/);
  const owners = await runOk("find", { args: [folder.at("data"), "-printf", "%u\\n"] });
  assert.deepEqual([...new Set(owners.trim().split("\n"))], ["nobody"]);
});
