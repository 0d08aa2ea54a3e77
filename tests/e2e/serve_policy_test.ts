// serve-policy as a process: its policy over HTTPS, by curl; what it may touch; healthcheck and status; a reload and a
// renewed certificate.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { run, until } from "../support/peers/process.ts";
import { fromSource } from "../support/program.ts";
import { testWith } from "../support/requires.ts";
import { createTestAuthority, type TestAuthority } from "../support/test_authority.ts";

const ATTACKED = fromSource(fileURLToPath(new URL("../support/attacked_server.ts", import.meta.url)));
const HOSTS = ["mta-sts.example.com", "mta-sts.example.net"];

class Machine implements AsyncDisposable {
  readonly port = freePort();
  readonly metrics = freePort();

  private constructor(readonly workspace: Workspace, readonly authority: TestAuthority) {}

  static async create(): Promise<Machine> {
    const machine = new Machine(await Workspace.create(), await createTestAuthority());
    await Deno.writeTextFile(machine.workspace.file("ca.pem"), machine.authority.cert);
    await machine.certify();
    return machine;
  }

  async certify(names: readonly string[] = ["mx.example.com", ...HOSTS]): Promise<void> {
    const { cert, key } = await this.authority.issue({ names });
    for (const [name, text] of [["cert.pem", cert], ["key.pem", key]] as const) {
      await Deno.writeTextFile(this.workspace.file(`${name}.new`), text, { mode: 0o600 });
      await Deno.rename(this.workspace.file(`${name}.new`), this.workspace.file(name));
    }
  }

  configure(
    policy: Readonly<Record<string, unknown>> = {},
    tables: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
  ): Promise<string> {
    return this.workspace.configure({
      log: { format: "json", level: "debug" },
      "serve-in": { domains: ["example.com", "example.net"], port: freePort() },
      tls: { cert: this.workspace.file("cert.pem"), key: this.workspace.file("key.pem") },
      "serve-policy": { listen: ["127.0.0.1"], port: this.port },
      metrics: { serve_policy: `127.0.0.1:${this.metrics}` },
      mta_sts: policy,
      ...tables,
    });
  }

  /** What curl gets there, with the status; its exit code where it gets nothing. */
  async get(url: string, ...flags: readonly string[]): Promise<string> {
    const { code, stdout } = await run("curl", {
      args: [
        ...["-sS", "--cacert", this.workspace.file("ca.pem"), "-w", "%{http_code} %{content_type}"],
        ...HOSTS.flatMap((host) => ["--resolve", `${host}:${this.port}:127.0.0.1`]),
        ...flags,
        url.replace("PORT", String(this.port)),
      ],
    });
    return code === 0 ? stdout : `exit ${code}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.workspace[Symbol.asyncDispose]();
  }
}

const POLICY = (mode: string) =>
  `version: STSv1\r\nmode: ${mode}\r\nmx: mx.example.com\r\nmax_age: 604800\r\n200 text/plain`;

testWith(
  ["curl"],
  "serve-policy serves the policy of its domains, touches nothing else, and takes over changes",
  async () => {
    await using machine = await Machine.create();
    const config = await machine.configure();
    await using server = new RunningMailapp(["serve-policy", "--config", config], {
      program: ATTACKED,
      mayBeDenied: true,
      env: { MAILAPP_CACHE: machine.workspace.file("cache") },
    });
    await server.event("attack.server.over");
    await server.event("server.ready");
    server.signal("SIGUSR2");
    await server.event("attack.main.over");
    const attempts = server.events.filter(({ event }) =>
      event.startsWith("attack.") && !event.endsWith(".over")
    );
    assert.deepEqual(attempts.filter(({ result }) => result !== "denied"), []);
    assert.ok(attempts.length >= 62 + 35, `${attempts.length} attempts`);

    const path = ":PORT/.well-known/mta-sts.txt";
    for (const host of HOSTS) assert.equal(await machine.get(`https://${host}${path}`), POLICY("testing"));
    assert.match(await machine.get(`https://${HOSTS[0]}:PORT/`), /404 text\/plain$/);
    assert.match(
      await machine.get(`https://${HOSTS[0]}${path}`, "-X", "POST", "-d", "x"),
      /405 text\/plain$/,
    );
    assert.match(
      await machine.get(`https://${HOSTS[0]}${path}`, "-H", "Host: mx.example.com"),
      /404 text\/plain$/,
    );
    // TLS 1.1 is too old.
    assert.equal(await machine.get(`https://${HOSTS[0]}${path}`, "--tls-max", "1.1"), "exit 35");
    await server.event("policy.request", { where: { host: HOSTS[1], status: 200 } });
    await server.event("policy.request", { where: { host: "", status: 404 } });
    await server.event("policy.unanswered");

    const healthy = await runMailapp(["healthcheck", "serve-policy", "--config", config]);
    assert.deepEqual([healthy.code, healthy.stdout], [
      0,
      `serve-policy on 127.0.0.1:${machine.port}: answers\n`,
    ]);
    // It gives each server three seconds, which a machine that does much else may need.
    await until(async () => {
      const { stdout } = await runMailapp(["status", "--json", "--config", config]);
      const { servers } = JSON.parse(stdout) as { servers: { name: string; up: boolean }[] };
      assert.deepEqual(servers.map(({ name }) => name), ["serve-in", "serve-out", "serve-policy"]);
      return servers.every(({ name, up }) => up === (name === "serve-policy"));
    }, { what: "a status that says that serve-policy is up" });
    const scraped = await (await fetch(`http://127.0.0.1:${machine.metrics}/metrics`)).text();
    assert.match(scraped, /^mailapp_policy_requests_total\{status="200"\} [3-9]$/m);
    assert.match(scraped, /^mailapp_policy_requests_total\{status="405"\} 1$/m);

    await machine.configure({ mode: "enforce" });
    server.signal("SIGHUP");
    await server.event("config.reloaded");
    assert.equal(await machine.get(`https://${HOSTS[0]}${path}`), POLICY("enforce"));
    // What it cannot serve with changes nothing.
    await machine.configure({ mode: "enforce", mx: ["no host"] });
    server.signal("SIGHUP");
    await server.event("config.not_reloaded");
    assert.equal(await machine.get(`https://${HOSTS[0]}${path}`), POLICY("enforce"));

    await machine.certify();
    server.signal("SIGHUP");
    await server.event("tls.certificate.loaded", { after: 1 });
    assert.equal(await machine.get(`https://${HOSTS[0]}${path}`), POLICY("enforce"));
    assert.equal(await server.stop(), 0);
    const down = await runMailapp(["healthcheck", "serve-policy", "--config", config]);
    assert.notEqual(down.code, 0);
  },
);

Deno.test("serve-policy does not start with what no sender would believe, and check-config says so", async () => {
  await using machine = await Machine.create();
  const without = await machine.configure({}, { tls: { self_signed: true } });
  for (const command of [["serve-policy"], ["check-config", "--start", "serve-policy"]]) {
    const { code, stderr } = await runMailapp([...command, "--config", without]);
    assert.equal(code, 78);
    assert.match(stderr, /tls: must have cert and key, or an \[tls\.acme\]: senders take a policy only with/);
  }
  // A certificate that lacks a name: it starts, and says so.
  await machine.certify(["mx.example.com", "mta-sts.example.com"]);
  const lacking = await machine.configure({
    mode: "enforce",
    max_age: "30d",
    mx: ["mx.example.com", "*.example.org"],
  });
  const { code, stdout } = await runMailapp(["check-config", "--config", lacking]);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /serve-policy, as mta-sts\.example\.com, mta-sts\.example\.net\n/);
  assert.match(
    stdout,
    / {4}mode: enforce\n {4}mx: mx\.example\.com\n {4}mx: \*\.example\.org\n {4}max_age: 2592000\n/,
  );
  assert.match(stdout, /warning: the certificate of \[tls\] is not for mta-sts\.example\.net: /);
  assert.match(stdout, /warning: serve-policy\.port = \d+: senders use port 443 only/);
  await using server = new RunningMailapp(["serve-policy", "--config", lacking]);
  await server.event("server.ready");
  const warned = server.events.filter(({ event }) => event === "config.warning").map(({ warning }) =>
    String(warning)
  );
  assert.ok(warned.some((warning) => warning.includes("mta-sts.example.net")), server.transcript());
  assert.equal(await server.stop(), 0);
});

Deno.test("check-config warns of an enforced policy that senders would find broken", async () => {
  await using workspace = await Workspace.create();
  const warned = async (
    policy: Readonly<Record<string, unknown>>,
    tls: Readonly<Record<string, unknown>>,
  ) => {
    const config = await workspace.configure({
      "serve-in": { domains: ["example.com"], port: freePort() },
      mta_sts: policy,
      tls,
    });
    const { stdout } = await runMailapp(["check-config", "--config", config]);
    return stdout.split("\n").filter((line) => line.includes("mta_sts"));
  };
  const selfSigned = { self_signed: true };
  const enforced = 'warning: mta_sts.mode = "enforce":';
  const consequence =
    'senders that obey the policy deliver nothing here. Until that is mended: mode = "testing"';
  assert.deepEqual(await warned({ mode: "enforce" }, selfSigned), [
    `${enforced} the certificate is self-signed; ${consequence}`,
  ]);
  assert.deepEqual(await warned({ mode: "enforce" }, {}), [
    `${enforced} there is no certificate; ${consequence}`,
  ]);
  assert.deepEqual(
    await warned({ mode: "enforce", mx: ["mx2.example.com", "*.mx.example.com"] }, selfSigned),
    [
      `${enforced} mx has mx2.example.com, *.mx.example.com, and not mx.example.com; ${consequence}`,
    ],
  );
  assert.deepEqual(await warned({ mode: "testing" }, selfSigned), []);
  assert.deepEqual(await warned({ mode: "enforce", mx: ["*.example.com"] }, { acme: {} }), []);
});

Deno.test("[mta_sts] and [serve-policy] are checked", async () => {
  await using workspace = await Workspace.create();
  const wrong: readonly [table: string, lines: Record<string, unknown>, problem: RegExp][] = [
    ["mta_sts", { mode: "strict" }, /mta_sts\.mode = "strict": must be one of "?enforce/],
    ["mta_sts", { max_age: "1h" }, /mta_sts\.max_age = "1h": .*from 1d to 365d/],
    ["mta_sts", { mx: ["*.*.example.com"] }, /mta_sts\.mx\[0\]/],
    ["mta_sts", { mx: ["mx.*.example.com"] }, /mta_sts\.mx\[0\]/],
    ["serve-policy", { listen: "" }, /serve-policy\.listen/],
    ["serve-policy", { tls_port: 443 }, /serve-policy\.tls_port: unknown key/],
  ];
  for (const [table, lines, problem] of wrong) {
    const config = await workspace.configure({ [table]: lines });
    const { code, stderr } = await runMailapp(["check-config", "--config", config]);
    assert.equal(code, 78);
    assert.match(stderr, problem);
  }
});
