// What the program says and ends with, before it serves anything.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { runMailapp, Workspace } from "../support/mailapp.ts";

Deno.test("mailapp without arguments shows how it is used", async () => {
  const { code, stderr } = await runMailapp([]);
  assert.equal(code, 64);
  assert.match(stderr, /^Usage: mailapp .*serve-in.*check-config/s);
});

Deno.test("mailapp names the command or flag that was meant", async () => {
  const [command, flag] = await Promise.all([
    runMailapp(["serv-in"]),
    runMailapp(["check-config", "--confg", "x"]),
  ]);
  assert.deepEqual([command.code, flag.code], [64, 64]);
  assert.match(command.stderr, /Did you mean serve-in\?/);
  assert.match(flag.stderr, /Did you mean --config\?/);
});

Deno.test("mailapp --version names version, commit and runtime", async () => {
  const { code, stdout } = await runMailapp(["--version"]);
  assert.equal(code, 0);
  assert.match(stdout, /^mailapp \d+\.\d+\.\d+ \((?:[0-9a-f]{12}, )?Deno \d+\.\d+\.\d+, from source\)\n$/);
});

Deno.test("each command has --help with an example", async () => {
  const { stdout } = await runMailapp(["--help"]);
  const names = [...stdout.matchAll(/^ {2}([a-z-]+) (?:\[options\]|<)/gm)].flatMap(([, name]) => name ?? []);
  assert.ok(names.includes("serve-in") && names.includes("healthcheck"), stdout);
  for (const name of [...names, "demo"]) {
    const help = await runMailapp([name, "--help"]);
    assert.equal(help.code, 0, name);
    assert.match(help.stdout, /\nExample:\n {2}(?:sudo |source <\()?(?:mailapp|deno task) /, name);
  }
});

Deno.test("a configuration file that is named and missing is exit code 66", async () => {
  for (const command of ["check-config", "serve-in"]) {
    const { code, stderr } = await runMailapp([command, "--config", "/nonexistent/config.toml"]);
    assert.equal(code, 66);
    assert.match(stderr, /\/nonexistent\/config\.toml: no such configuration file/);
  }
});

Deno.test("a configuration that is wrong is exit code 78, with everything that is wrong", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ "serve-in": { prot: 25, max_recipients: 0 } });
  for (const command of ["check-config", "serve-in"]) {
    const { code, stderr } = await runMailapp([command], { env: { MAILAPP_CONFIG: config } });
    assert.equal(code, 78);
    assert.match(stderr, /config\.toml:\d+: serve-in\.prot: unknown key; did you mean port\?/);
    assert.match(stderr, /config\.toml:\d+: serve-in\.max_recipients = 0: must be a whole number/);
  }
});

Deno.test("a postmaster without a mailbox is exit code 78", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ "mailboxes.aliases": { postmaster: "nobody-of-ours" } });
  for (const command of ["check-config", "serve-in"]) {
    const { code, stdout, stderr } = await runMailapp([command, "--config", config]);
    assert.equal(code, 78);
    assert.match(stdout + stderr, /mailboxes\.aliases\.postmaster/);
  }
});

const MACHINE_HAS_ONE = existsSync("/etc/mailapp/config.toml");

Deno.test({
  name: "commands that need a configuration say so where there is none",
  ignore: MACHINE_HAS_ONE,
  async fn() {
    const missing = /there is no \/etc\/mailapp\/config\.toml, and \S+ needs a configuration: .*mailapp init/;
    for (const command of [["serve-in"], ["dns"], ["healthcheck", "serve-in"]]) {
      const { code, stderr } = await runMailapp(command);
      assert.deepEqual([code, missing.test(stderr)], [78, true], stderr);
    }
  },
});

Deno.test("help with the words of a subcommand is that one's help", async () => {
  for (const words of [["queue", "retry"], ["queue"], ["sendmail"], []]) {
    const help = await runMailapp(["help", ...words]);
    const own = await runMailapp([...words, "--help"]);
    assert.deepEqual([help.code, help.stdout], [0, own.stdout], words.join(" "));
    assert.match(help.stdout, new RegExp(`^Usage: mailapp ${words.join(" ")}`));
  }
});

Deno.test("--config must name a file", async () => {
  const { code, stderr } = await runMailapp(["check-config", "--config", ""]);
  assert.deepEqual([code, /is empty/.test(stderr)], [64, true], stderr);
});

Deno.test("check-config refuses a log file and a data directory that the servers could not have", async () => {
  await using workspace = await Workspace.create();
  const file = workspace.file("file");
  await Deno.writeTextFile(file, "");
  for (
    const [tables, problem] of [
      [
        { log: { file: workspace.file("none", "mail.log") } },
        /\[log\] file: there is no directory .*none/,
      ],
      [{ log: { file: workspace.path } }, /\[log\] file: .*is a directory/],
      [{ "": { data_dir: workspace.file("file", "x") } }, /data_dir: .*file is not a directory/],
    ] as const
  ) {
    const config = await workspace.configure(tables);
    const { code, stdout } = await runMailapp(["check-config", "--config", config]);
    assert.equal(code, 78, stdout);
    assert.match(stdout, problem);
  }
});

Deno.test("check-config warns where one server takes all addresses, and fails where two want the same one", async () => {
  await using workspace = await Workspace.create();
  const found = async (name: "serve-in" | "serve-submit", listen: unknown, port: number) => {
    const config = await workspace.configure({
      "serve-out": { port: 2525 },
      "serve-in": { tls_port: 4650 },
      [name]: { listen, port },
    });
    const { code, stdout } = await runMailapp(["check-config", "--config", config]);
    const text = /(\w+): serve-(?:in|submit) on (\S+) and serve-out on (\S+) exclude each other/.exec(stdout);
    return [code, ...text?.slice(1) ?? []].join(" ");
  };
  assert.equal(await found("serve-in", ["::"], 2525), "0 warning [::]:2525 127.0.0.1:2525");
  assert.equal(await found("serve-in", ["192.0.2.1", "::1"], 2525), "78 error [::1]:2525 [::1]:2525");
  assert.equal(await found("serve-in", ["127.0.0.1"], 2525), "78 error 127.0.0.1:2525 127.0.0.1:2525");
  assert.equal(await found("serve-in", ["192.0.2.1", "127.0.0.2"], 2525), "0");
  assert.equal(await found("serve-in", "any", 2526), "0");
  assert.equal(await found("serve-submit", ["127.0.0.1"], 2525), "78 error 127.0.0.1:2525 127.0.0.1:2525");
});

Deno.test("check-config reads a route's password as serve-out will, and warns where others can read it", async () => {
  await using workspace = await Workspace.create();
  const path = workspace.file("password");
  const config = await workspace.configure();
  const route = `"*" = { host = "smtp.example.org", user = "u", password_file = ${JSON.stringify(path)} }`;
  await Deno.writeTextFile(config, `\n[serve-out.routes]\n${route}\n`, { append: true });
  const check = async (password: string | undefined, mode = 0o600) => {
    if (password !== undefined) {
      await Deno.writeTextFile(path, password);
      await Deno.chmod(path, mode);
    }
    const { code, stdout } = await runMailapp(["check-config", "--config", config]);
    return `${code} ${/^.*password_file.*$/m.exec(stdout)?.[0] ?? "nothing"}`;
  };
  assert.match(
    await check(undefined),
    /^78 .*routes\."\*"\.password_file = .*: cannot be read: No such file/,
  );
  assert.match(await check("\nsecret\n"), /^78 .*password_file = .*: has an empty first line/);
  assert.equal(await check("secret\n"), "0 nothing");
  assert.match(
    await check("secret\n", 0o604),
    /^0 warning: .*routes\."\*"\.password_file: every account can read it: chmod o= \/.*password$/,
  );
});

Deno.test("check-config warns of an address to send from that this machine has not got", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({
    "serve-out": { source_ipv4: "192.0.2.77", source_ipv6: "::1" },
  });
  const { code, stdout } = await runMailapp(["check-config", "--config", config]);
  assert.equal(code, 0);
  assert.match(stdout, /^ {2}sends from 192\.0\.2\.77\n {2}sends from ::1$/m);
  assert.deepEqual(stdout.match(/^warning: .*source.*$/gm), [
    'warning: serve-out.source_ipv4 = "192.0.2.77": no interface has this address, so nothing can be sent',
  ]);
});

Deno.test("healthcheck names the server that was meant", async () => {
  const { code, stderr } = await runMailapp(["healthcheck", "serve"]);
  assert.equal(code, 64);
  assert.match(stderr, /Allowed are serve-in, serve-out/);
});

Deno.test("a command whose output is closed ends without an error", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure();
  const main = new URL("../../main.ts", import.meta.url).href;
  for (
    const args of [["check-config", "--config", config], ["queue", "list", "--config", config], ["demo"]]
  ) {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--frozen", main, ...args],
      cwd: workspace.path,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    await child.stdout.cancel();
    const stderr = await new Response(child.stderr).text();
    assert.deepEqual([(await child.status).code, stderr], [0, ""], args.join(" "));
  }
});
