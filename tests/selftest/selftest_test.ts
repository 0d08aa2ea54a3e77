// mailapp selftest finds nothing in what mailapp init writes, and each planted mistake.
import assert from "node:assert/strict";
import { parse, stringify, type TomlTable } from "smol-toml";
import { Slots } from "../../base/slots.ts";
import { policyRequests } from "../../selftest/cases/policy_requests.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { createTestAuthority } from "../support/test_authority.ts";
import { hasForm } from "./guide_samples.ts";
import { type Misconfiguration, misconfigurations, type Tables } from "./misconfigurations.ts";

interface Told {
  readonly failures: number;
  readonly warnings: number;
  readonly findings: readonly { id: string; subject: string; outcome: string; what: string; next?: string }[];
}

async function initialize(workspace: Workspace): Promise<string> {
  const config = workspace.file("etc", "config.toml");
  const { code, stderr } = await runMailapp([
    ...["init", "--config", config, "--hostname", "mx.example.com", "--yes", "--submission"],
    ...["--data-dir", workspace.file("data"), "--mail-path", workspace.file("mail", "{domain}", "{user}")],
    ...["--domain", "example.com", "--mailbox", "alice", "bob"],
  ]);
  assert.equal(code, 0, stderr);
  return config;
}

/** The second over the first, table by table; `undefined` removes. */
function merge(base: Tables, changes: Tables): Tables {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(changes)) {
    const isTable = typeof value === "object" && value !== null && !Array.isArray(value);
    if (value === undefined) delete merged[key];
    else merged[key] = isTable ? merge((merged[key] ?? {}) as Tables, value as Tables) : value;
  }
  return merged;
}

/** All files below, with size and time of change. */
async function contents(directory: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    const { size, mtime } = await Deno.lstat(path);
    found.push(`${path} ${isDirectory ? "" : size} ${mtime?.getTime()}`);
    if (isDirectory) found.push(...await contents(path));
  }
  return found.sort();
}

/** What docs/guide/prove-it.md shows of it. */
const SHOWN = [
  /: a good message to postmaster@/,
  /<user%elsewhere\.example@example\.com>/,
  /after "\\r\\n\.\\n" by DATA/,
  /commands in one write with STARTTLS/,
  /that says 550 at RCPT/,
  /falls silent at the final dot/,
  /DMARC p=reject\):/,
  /domain whose DNS does not answer/,
  /has expired, where the policy is "verify"/,
  /a notice to its sender/,
  /: a wrong password/,
  /in the name of a foreign address/,
];

Deno.test("mailapp selftest finds nothing in the configuration that mailapp init writes, and changes nothing", async () => {
  await using workspace = await Workspace.create();
  const config = await initialize(workspace);
  const before = await contents(workspace.path);
  const began = Date.now();
  const { code, stdout, stderr } = await runMailapp(["selftest", "--config", config, "--json"]);
  const told = JSON.parse(stdout) as Told;
  // Where temporary directories are in memory, what is wrong with data_dir is the test's doing.
  const wrong = told.findings.filter(({ id, outcome }) =>
    (outcome === "failure" || outcome === "warning") && id !== "setting.disk"
  );
  assert.deepEqual(wrong, [], stderr);
  if (told.findings.every(({ id, outcome }) => id !== "setting.disk" || outcome === "ok")) {
    assert.equal(code, 0);
  }
  assert.equal(stderr, "");
  for (const group of ["deliver", "relay", "smuggling", "tls", "sender", "forged", "dns", "limit", "slow"]) {
    assert.ok(told.findings.some(({ id }) => id.startsWith(`${group}.`)), group);
  }
  const faults = told.findings.filter(({ id }) => id.startsWith("fault."));
  assert.equal(faults.length, 8 * 5);
  assert.ok(told.findings.some(({ id, what }) => id === "submit.own" && what === "all are accepted"));
  hasForm(
    "selftest",
    told.findings.map(({ outcome, subject, what }) => `${outcome}: ${subject}: ${what}`).join("\n"),
    { keep: (line) => SHOWN.some((shown) => shown.test(line)) },
  );
  assert.deepEqual(await contents(workspace.path), before);
  const left = (await Array.fromAsync(Deno.readDir(Deno.env.get("TMPDIR") ?? "/tmp"), ({ name }) => name))
    .filter((name) => name.startsWith("mailapp-selftest-"));
  for (const name of left) {
    const { birthtime } = await Deno.stat(`${Deno.env.get("TMPDIR") ?? "/tmp"}/${name}`);
    assert.ok((birthtime?.getTime() ?? 0) < began, `${name} was left`);
  }
});

Deno.test("mailapp selftest finds nothing in a serve-policy whose certificate senders verify", async () => {
  await using workspace = await Workspace.create();
  const base = parse(await Deno.readTextFile(await initialize(workspace))) as Tables;
  const authority = await createTestAuthority();
  const { cert, key } = await authority.issue({
    names: ["mx.example.com", "mta-sts.example.com", "mta-sts.example.net"],
  });
  const files = {
    cert: workspace.file("cert.pem"),
    key: workspace.file("key.pem"),
    ca: workspace.file("ca.pem"),
  };
  await Deno.writeTextFile(files.cert, cert);
  await Deno.writeTextFile(files.key, key, { mode: 0o600 });
  await Deno.writeTextFile(files.ca, authority.cert);
  const config = workspace.file("policy.toml");
  const findings = async (tls: Tables) => {
    const changes = {
      tls,
      "serve-in": { domains: ["example.com", "example.net"] },
      "serve-policy": {},
      mta_sts: { mode: "enforce" },
    };
    await Deno.writeTextFile(config, stringify(merge({ ...base, tls: {} }, changes) as TomlTable));
    const args = ["selftest", "--config", config, "--json", "--only", "policy"];
    const { stdout, stderr } = await runMailapp(args, { env: { DENO_CERT: files.ca } });
    const { findings } = JSON.parse(stdout) as Told;
    const wrong = findings.filter(({ outcome }) => outcome === "failure" || outcome === "warning");
    assert.deepEqual(wrong, [], stderr);
    return findings;
  };
  const found = await findings({ cert: files.cert, key: files.key });
  const count = (id: string, outcome: string) =>
    found.filter((finding) => finding.id === id && finding.outcome === outcome).length;
  assert.equal(count("policy.certificate", "ok"), 2);
  assert.equal(count("policy.mx", "ok"), 2);
  assert.equal(count("policy.slow", "ok"), 3);
  assert.equal(count("policy.request", "ok"), policyRequests("").length);
  // Before the first certificate of an authority there is nothing to verify, and the rest is tried all the same.
  const before = await findings({ acme: {} });
  assert.ok(before.some(({ id, outcome }) => id === "policy.certificate" && outcome === "untested"));
  assert.ok(before.some(({ id, outcome }) => id === "policy.mx" && outcome === "ok"));
});

Deno.test("mailapp selftest finds each planted mistake, and names the key to change", async (t) => {
  await using workspace = await Workspace.create();
  const base = parse(await Deno.readTextFile(await initialize(workspace))) as Tables;
  const keys = (base["dkim"] as Tables)["example.com"];
  const cases = await misconfigurations(workspace.path);
  assert.ok(cases.length >= 25);
  const plant = async ({ tables, group, finding, names }: Misconfiguration, number: number) => {
    const planted = JSON.parse(
      JSON.stringify(tables).replace('"(as of example.com)"', JSON.stringify(keys)),
    );
    // JSON drops what is to be removed.
    const merged = merge(merge(base, removals(tables)), planted);
    const file = workspace.file(`case-${number}.toml`);
    await Deno.writeTextFile(file, stringify(merged as TomlTable));
    const { code, stdout, stderr } = await runMailapp([
      "selftest",
      "--config",
      file,
      "--json",
      "--only",
      group,
    ]);
    const { findings = [] } = JSON.parse(stdout || "{}") as Partial<Told>;
    const wrong = findings.filter(({ outcome }) => outcome === "failure" || outcome === "warning");
    const found = wrong.filter(({ id }) => id === finding);
    assert.ok(found.length > 0, `${stderr}${JSON.stringify(wrong, null, 2)}`);
    assert.ok(found.some(({ next = "" }) => names.test(next)), JSON.stringify(found, null, 2));
    assert.equal(code, 69);
  };
  // Most of the time one waits for slow clients and servers, so two run at a time.
  const slots = new Slots(2);
  const ends = cases.map(async (planted, number) => {
    using _slot = await slots.take(1);
    await plant(planted, number);
  });
  for (const end of ends) end.catch(() => {});
  for (const [number, { mistake }] of cases.entries()) {
    await t.step({
      name: mistake,
      fn: async () => await ends[number],
      // Another one goes on beside it; the test as a whole leaves nothing behind.
      sanitizeOps: false,
      sanitizeResources: false,
    });
  }
  await Promise.allSettled(ends);
});

Deno.test("docs/guide/prove-it.md shows what mailapp selftest prints of mistakes", async () => {
  await using workspace = await Workspace.create();
  const base = parse(await Deno.readTextFile(await initialize(workspace))) as Tables;
  const file = workspace.file("mistakes.toml");
  const mistakes = merge(base, {
    mailboxes: { aliases: { "*": "alice" } },
    "serve-in": { max_connections_per_ip: 1, checks: { dmarc: "off" } },
    "serve-out": { routes: { "*": "mx.example.com:25" } },
  });
  await Deno.writeTextFile(file, stringify(mistakes as TomlTable));
  const { code, stdout, stderr } = await runMailapp([
    ...["selftest", "--config", file, "--quiet", "--only", "receive,forged,limit,send"],
  ]);
  assert.equal(code, 69, stderr);
  hasForm("selftest-mistakes", stdout);
});

/** What a case removes, as `undefined` in its table. */
function removals(tables: Tables): Tables {
  return Object.fromEntries(
    Object.entries(tables).flatMap(([key, value]): [string, unknown][] => {
      if (value === undefined) return [[key, undefined]];
      if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
      const inner = removals(value as Tables);
      return Object.keys(inner).length > 0 ? [[key, inner]] : [];
    }),
  );
}

Deno.test("mailapp selftest runs without serve-in, and says what it cannot try", async () => {
  await using workspace = await Workspace.create();
  const config = workspace.file("config.toml");
  await Deno.writeTextFile(
    config,
    `hostname = "out.example.com"\ndata_dir = ${JSON.stringify(workspace.file("data"))}\n`,
  );
  const { stdout } = await runMailapp(["selftest", "--config", config, "--only", "send,setting"]);
  assert.match(stdout, /ok: a message to another domain: relayed over TLS/);
  assert.doesNotMatch(stdout, /FAILURE/);
});
