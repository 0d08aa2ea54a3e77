import assert from "node:assert/strict";
import type { TomlTable } from "smol-toml";
import { parseConfig } from "../../config/load.ts";
import { EXAMPLE, knownSettings } from "../../config/example.ts";
import { runInProcess } from "../../tests/support/in_process.ts";
import { Workspace } from "../../tests/support/mailapp.ts";
import { isTable, SWITCHES } from "./settings.ts";

/** Runs `mailapp config` in this process. */
async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, out, err } = await runInProcess(["config", ...args]);
  return { code, stdout: out, stderr: err };
}

Deno.test("config --example and --defaults print settings that are the defaults", async () => {
  const { stdout } = await run("--example");
  assert.equal(stdout, await Deno.readTextFile(new URL("../../config.example.toml", import.meta.url)));
  assert.equal(stdout, EXAMPLE);
  const defaults = await run("--defaults");
  const options = { systemHostname: () => "mx.example.com" };
  assert.doesNotMatch(defaults.stdout, /#/);
  assert.deepEqual(parseConfig(defaults.stdout, options), parseConfig("", options));
});

Deno.test("config shows what differs from the defaults, and config get one setting", async () => {
  await using workspace = await Workspace.create();
  const file = workspace.file("config.toml");
  const changed = `hostname = "mx.example.com"

[serve-in]
domains = [ "example.com" ]

[mailboxes]
users = [ "alice", "bob" ]

[mailboxes.aliases]
postmaster = "alice"

[serve-policy]
listen = "any"

[serve-submit]
port = 5870

[dkim."example.com"]
selector = "s1"
key = "/k/k.pem"
`;
  await Deno.writeTextFile(file, `# ours\n${changed}\n[serve-out]\nport = 25\n`);
  assert.equal((await run("--config", file)).stdout, changed);
  const cases: [key: string, value: string][] = [
    ["hostname", "mx.example.com"],
    ["serve-in.domains", '[ "example.com" ]'],
    ["serve-in.idle_timeout", "5m"],
    ["serve-out.qualify_domain", "example.com"],
    ["serve-submit.port", "5870"],
    ["serve-policy.port", "443"],
    ["mta_sts.mode", "testing"],
    ["serve-submit.tls_port", "465"],
    ["tls.self_signed", "false"],
    ["mailboxes.aliases", 'postmaster = "alice"'],
    ["mailboxes.aliases.postmaster", "alice"],
    ['dkim."example.com".selector', "s1"],
  ];
  const refused: [key: string, code: number, message: RegExp][] = [
    ["serve-in.prot", 64, /unknown key serve-in\.prot; did you mean serve-in\.port\?/],
    ["a..b", 64, /unknown key a\.\.b; see mailapp config --example/],
    ["mailboxes.aliases.abuse", 69, /not set/],
    ["tls.acme.email", 69, /needs a table \[tls\.acme\]/],
  ];
  for (const [key, value] of cases) {
    assert.equal((await run("get", key, "--config", file)).stdout, `${value}\n`, key);
  }
  for (const [key, code, message] of refused) {
    const finished = await run("get", key, "--config", file);
    assert.deepEqual([finished.code, finished.stdout], [code, ""], key);
    assert.match(finished.stderr, message);
  }
});

Deno.test("config shows each table that turns something on, also without a key", async () => {
  await using workspace = await Workspace.create();
  const file = workspace.file("config.toml");
  const base = 'hostname = "mx.example.com"\n';
  const meaning = (text: string) => parseConfig(base + text, { systemHostname: () => "mx.example.com" });
  const tables = (table: TomlTable, prefix = ""): string[] =>
    Object.entries(table).flatMap(([name, value]) =>
      isTable(value) ? [`${prefix}${name}`, ...tables(value, `${prefix}${name}.`)] : []
    );
  const switches: string[] = [];
  // What is in a table that is off turns nothing on by itself.
  for (const name of tables(knownSettings()).filter((name) => /^[\w.-]+$/.test(name))) {
    let changed: boolean;
    try {
      changed = JSON.stringify(meaning(`[${name}]\n`)) !== JSON.stringify(meaning(""));
    } catch {
      continue;
    }
    await Deno.writeTextFile(file, `${base}\n[${name}]\n`);
    const { stdout } = await run("--config", file);
    assert.equal(
      JSON.stringify(parseConfig(stdout, { systemHostname: () => "" })),
      JSON.stringify(meaning(`[${name}]\n`)),
      name,
    );
    if (changed) switches.push(name);
  }
  assert.deepEqual(switches.filter((name) => !name.startsWith("serve-submit.")).sort(), [...SWITCHES].sort());
});

Deno.test("config get gives the defaults within a table that is there, and none without it", async () => {
  await using workspace = await Workspace.create();
  const file = workspace.file("config.toml");
  const keys: [table: string, key: string, value: string][] = [
    ["tls.acme", "challenge", "http-01"],
    ["dashboard", "listen", "127.0.0.1:8025"],
    ["serve-policy", "port", "443"],
    ["mta_sts", "mode", "testing"],
  ];
  for (const [table, key, value] of keys) {
    await Deno.writeTextFile(file, `hostname = "mx.example.com"\n[${table}]\n`);
    assert.equal((await run("get", `${table}.${key}`, "--config", file)).stdout, `${value}\n`);
    await Deno.writeTextFile(file, 'hostname = "mx.example.com"\n');
    assert.equal((await run("get", `${table}.${key}`, "--config", file)).code, 69);
  }
});

Deno.test("config get does not answer from a configuration that is wrong", async () => {
  await using workspace = await Workspace.create();
  await Deno.writeTextFile(workspace.file("config.toml"), "[serve-out]\nport = 99999\n");
  const { code, stdout } = await run("get", "hostname", "--config", workspace.file("config.toml"));
  assert.deepEqual([code, stdout], [78, ""]);
});

Deno.test("config get takes each key there is, and gives its default unless there is none", async () => {
  await using workspace = await Workspace.create();
  const file = workspace.file("config.toml");
  await Deno.writeTextFile(file, 'hostname = "mx.example.com"\n');
  const keysOf = (table: TomlTable, prefix = ""): string[] =>
    Object.entries(table).flatMap(([name, value]) => {
      const key = prefix + (/^[\w-]+$/.test(name) ? name : JSON.stringify(name));
      return isTable(value) ? [key, ...keysOf(value, `${key}.`)] : [key];
    });
  const keys = keysOf(knownSettings());
  let given = 0;
  for (const key of keys) {
    const { code, stdout, stderr } = await run("get", key, "--config", file);
    // 69: it has no default.
    assert.ok(
      code === 0 || code === 69 && /: it (?:is not set, and has no default|needs a table \[)/.test(stderr),
      `${key}: ${code} ${stdout}${stderr}`,
    );
    if (code === 0) given++;
  }
  const needs = async (key: string) =>
    /: it needs a table (\[.+?\])/.exec((await run("get", key, "--config", file)).stderr)?.[1];
  assert.equal(await needs("tls.acme.challenge"), "[tls.acme]");
  assert.equal(await needs("serve-submit.port"), "[serve-submit]");
  assert.ok(given > 80 && keys.length > given, `${given} of ${keys.length}`);
});
