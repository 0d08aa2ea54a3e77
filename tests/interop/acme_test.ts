// Certificates from Pebble, by each challenge, over the whole command.
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { HOST_PROGRAMS, type Hosts, makeHosts } from "../support/hosts.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { type Bind, startBind } from "../support/peers/bind.ts";
import { type Pebble, type PebbleOptions, startPebble } from "../support/peers/pebble.ts";
import { run, until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const PROGRAMS = [...HOST_PROGRAMS, "pebble", "named", "openssl"];
const HERE = "198.51.100.1";
const SECRET = "c2VjcmV0IGZvciB0ZXN0cyBvbmx5LCAzMiBvY3RldHM=";

/** A host with BIND, Pebble and a configuration. */
class Setting implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly workspace: Workspace;
  readonly hosts: Hosts;
  readonly bind: Bind;
  readonly pebble: Pebble;

  private constructor(
    stack: AsyncDisposableStack,
    parts: { workspace: Workspace; hosts: Hosts; bind: Bind; pebble: Pebble },
  ) {
    this.#stack = stack;
    this.workspace = parts.workspace;
    this.hosts = parts.hosts;
    this.bind = parts.bind;
    this.pebble = parts.pebble;
  }

  static async create(options: Partial<PebbleOptions> = {}): Promise<Setting> {
    await using stack = new AsyncDisposableStack();
    const workspace = stack.use(await Workspace.create());
    const hosts = stack.use(await makeHosts());
    const bind = stack.use(
      await startBind({ "example.com": `mx A ${HERE}\nmail A ${HERE}\nelsewhere A 198.51.100.77` }, {
        address: HERE,
        port: 53,
        through: hosts.server,
        updateKey: { name: "acme.key", secret: SECRET },
      }),
    );
    const pebble = stack.use(await startPebble({ through: hosts.server, dns: `${HERE}:53`, ...options }));
    return new Setting(stack.move(), { workspace, hosts, bind, pebble });
  }

  configure(acme: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const { directory, caFile } = this.pebble;
    return this.workspace.configure({
      "serve-in": { listen: [HERE], port: 2525 },
      dns: { servers: [`${HERE}:53`] },
      "tls.acme": { directory, ca_file: caFile, email: "alice@example.com", ...acme },
    });
  }

  command(config: string, ...args: string[]) {
    return runMailapp(["certificate", ...args, "--config", config], { through: this.hosts.server });
  }

  async certificate(): Promise<X509Certificate> {
    return new X509Certificate(
      await Deno.readTextFile(this.workspace.file("state", "tls", "current", "cert.pem")),
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

const CHALLENGES = {
  "http-01": {},
  "tls-alpn-01": {},
  "dns-01": { dns: true },
};

for (const [challenge, { dns = false }] of Object.entries<{ dns?: boolean }>(CHALLENGES)) {
  testWith(PROGRAMS, `certificate obtain gets a certificate from Pebble by ${challenge}`, async () => {
    await using setting = await Setting.create();
    const { workspace } = setting;
    await Deno.writeTextFile(workspace.file("tsig"), `${SECRET}\n`);
    const config = await setting.configure({
      challenge,
      names: ["mail.example.com"],
      ...(dns && {
        dns: { server: HERE, zone: "example.com", key_name: "acme.key", key_file: workspace.file("tsig") },
      }),
    });
    const { code, stdout, stderr } = await setting.command(config, "obtain");
    assert.equal(code, 0, stdout + stderr + setting.pebble.program.lines.slice(-20).join("\n"));
    assert.match(stdout, /^A certificate for mx\.example\.com, mail\.example\.com, until /);
    const leaf = await setting.certificate();
    assert.match(leaf.subjectAltName ?? "", /DNS:mx\.example\.com/);
    assert.match(leaf.subjectAltName ?? "", /DNS:mail\.example\.com/);
    assert.equal(leaf.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
    const key = await Deno.stat(workspace.file("state", "tls", "current", "key.pem"));
    assert.equal((key.mode ?? 0) & 0o777, 0o640);
    if (!dns) return;
    const [command = "", ...through] = setting.hosts.server;
    const records = await run(command, {
      args: [...through, "dig", "+norecurse", "TXT", "_acme-challenge.mx.example.com", `@${HERE}`],
    });
    assert.match(records.stdout, /status: NXDOMAIN/, "the record of the challenge is gone");
  });
}

testWith(
  PROGRAMS,
  "A running serve-in shows the certificate once it is issued, and the next one after a renewal",
  async () => {
    await using setting = await Setting.create({ refusedNonces: 30 });
    const config = await setting.configure();
    await using server = new RunningMailapp(["serve-in", "--config", config], {
      through: setting.hosts.server,
    });
    const warning = await server.event("config.warning");
    assert.match(
      String(warning["warning"]),
      /no certificate from the authority .* mailapp certificate obtain/,
    );
    await server.event("server.ready");
    const shown = async () => {
      const [command = "", ...through] = setting.hosts.server;
      const { stdout } = await run(command, {
        args: [
          ...through,
          "openssl",
          "s_client",
          "-starttls",
          "smtp",
          "-connect",
          `${HERE}:2525`,
          "-showcerts",
        ],
        stdin: "QUIT\r\n",
      });
      return new X509Certificate(
        /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/.exec(stdout)?.[0] ?? "",
      )
        .fingerprint256;
    };
    const first = await shown();
    assert.equal((await setting.command(config, "obtain")).code, 0);
    server.signal("SIGHUP");
    await server.event("tls.certificate.loaded", { after: 1 });
    const second = (await setting.certificate()).fingerprint256;
    assert.notEqual(second, first);
    assert.equal(await shown(), second);

    const early = await setting.command(config, "renew");
    assert.match(early.stdout, /it will be renewed from /);
    assert.equal((await setting.certificate()).fingerprint256, second);
    const before = (await setting.certificate()).publicKey.export({ type: "spki", format: "pem" });
    assert.equal((await setting.command(config, "renew", "--force")).code, 0);
    server.signal("SIGHUP");
    await server.event("tls.certificate.loaded", { after: 2 });
    const third = await setting.certificate();
    assert.equal(await shown(), third.fingerprint256);
    // The key stays, and with it the TLSA record.
    assert.equal(third.publicKey.export({ type: "spki", format: "pem" }), before);
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  PROGRAMS,
  "certificate rollover changes the key, and revoke has the authority take a certificate back",
  async () => {
    await using setting = await Setting.create();
    const config = await setting.configure();
    assert.equal((await setting.command(config, "obtain")).code, 0);
    const before = (await setting.certificate()).publicKey.export({ type: "spki", format: "pem" });
    const { code, stdout, stderr } = await setting.command(config, "rollover");
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /no TLSA records[^]*with the new key/);
    assert.notEqual((await setting.certificate()).publicKey.export({ type: "spki", format: "pem" }), before);
    const asked = await setting.command(config, "revoke");
    assert.match(asked.stdout, /^--yes would revoke the certificate for mx\.example\.com/);
    assert.equal((await setting.command(config, "revoke", "--yes")).code, 0);
    const again = await setting.command(config, "revoke", "--yes");
    assert.equal(again.code, 69);
    assert.match(again.stderr, /already been revoked/i);
  },
);

testWith(
  [...PROGRAMS, "nsupdate"],
  "certificate rollover uses the next key once its TLSA record has been published for two TTLs, and doctor says what is left",
  async () => {
    await using setting = await Setting.create();
    const { workspace } = setting;
    await setting.configure();
    const config = await workspace.configure({
      "serve-in": { domains: ["example.com"], listen: [HERE], port: 2525 },
      dns: { servers: [`${HERE}:53`], dnssec: true },
      "tls.acme": { directory: setting.pebble.directory, ca_file: setting.pebble.caFile },
    });
    const name = "_25._tcp.mx.example.com.";
    const [ip = "", ...through] = setting.hosts.server;
    const update = async (...changes: readonly string[]) => {
      const key = `hmac-sha256:acme.key:${SECRET}`;
      const stdin = [`server ${HERE}`, "zone example.com", ...changes, "send", ""].join("\n");
      const { code, stdout, stderr } = await run(ip, { args: [...through, "nsupdate", "-y", key], stdin });
      assert.equal(code, 0, stdout + stderr);
    };
    const printed = async () => {
      const { stdout } = await runMailapp(["dns", "--config", config, "--json"], {
        through: setting.hosts.server,
      });
      const { records } = JSON.parse(stdout) as { records: { type: string; data: string }[] };
      return records.filter(({ type }) => type === "TLSA").map(({ data }) => data);
    };
    const doctor = async () => {
      const { stdout } = await runMailapp(["doctor", "--config", config, "--json"], {
        through: setting.hosts.server,
      });
      const { findings } = JSON.parse(stdout) as { findings: { id: string; what: string; next?: string }[] };
      return findings.filter(({ id }) => id.startsWith("tlsa")).map(({ id, what, next = "" }) =>
        `${id}: ${what} → ${next}`
      ).join("\n");
    };
    const keyOf = async () => {
      const { publicKey } = await setting.certificate();
      const der = publicKey.export({ type: "spki", format: "der" });
      return `3 1 1 ${createHash("sha256").update(der).digest("hex")}`;
    };
    assert.equal((await setting.command(config, "obtain")).code, 0);
    const old = await keyOf();
    assert.deepEqual(await printed(), [old]);
    await update(`update add ${name} 1 TLSA ${old}`);
    assert.match(await doctor(), /^tlsa(?:\.unsigned)?: /);

    const begun = await setting.command(config, "rollover");
    assert.equal(begun.code, 75, begun.stderr);
    const [, next = ""] =
      /^_25\._tcp\.mx\.example\.com\. IN TLSA (3 1 1 [0-9a-f]{64})$/m.exec(begun.stdout) ?? [];
    assert.deepEqual(await printed(), [old, next]);
    assert.match(
      await doctor(),
      new RegExp(`^tlsa\\.rollover: .*not published → Publish .* TLSA ${next}\\.`),
    );
    // Before that, not even a renewal uses it.
    assert.equal((await setting.command(config, "renew", "--force")).code, 0);
    assert.equal(await keyOf(), old);

    await update(`update add ${name} 1 TLSA ${next}`);
    // By default an hour at least, whatever the TTL is.
    const waiting = await setting.command(config, "rollover");
    assert.equal(waiting.code, 75);
    assert.match(waiting.stdout, /^The record is published\..* from \d{4}-/);
    assert.match(await doctor(), /^tlsa\.rollover: .*is published; .* → As root: .*, after that\.$/);
    assert.equal(await keyOf(), old);
    // A record that goes away again has to be published for two TTLs anew.
    await update(`update delete ${name} TLSA ${next}`);
    assert.equal((await setting.command(config, "rollover", "--ttl", "1s")).code, 75);
    await update(`update add ${name} 1 TLSA ${next}`);
    await until(async () => {
      const { code, stdout, stderr } = await setting.command(config, "rollover", "--ttl", "1s");
      assert.ok(code === 0 || code === 75, stdout + stderr);
      if (code === 75) assert.equal(await keyOf(), old);
      return code === 0;
    }, { what: "the change of keys" });
    assert.equal(await keyOf(), next);
    assert.deepEqual(await printed(), [next]);
    assert.match(await doctor(), new RegExp(`^tlsa\\.leftover: .* → Remove: .* TLSA ${old}$`));
    await update(`update delete ${name} TLSA ${old}`);
    assert.match(await doctor(), /^tlsa(?:\.unsigned)?: /);
  },
);

testWith(
  PROGRAMS,
  "What the authority refuses is said, noted for show, and leaves the certificate as it was",
  async () => {
    await using setting = await Setting.create();
    assert.equal((await setting.command(await setting.configure(), "obtain")).code, 0);
    const before = (await setting.certificate()).fingerprint256;
    // Nothing answers for this name.
    const config = await setting.configure({ names: ["elsewhere.example.com"] });
    const { code, stderr } = await setting.command(config, "renew");
    assert.equal(code, 69);
    assert.match(stderr, /elsewhere\.example\.com could not be validated by http-01: /);
    assert.equal((await setting.certificate()).fingerprint256, before);
    const shown = await setting.command(config, "show");
    assert.match(shown.stdout, /^lacks +elsewhere\.example\.com/m);
    assert.match(shown.stdout, /^failed .*could not be validated/m);
    const json = JSON.parse((await setting.command(config, "show", "--json")).stdout);
    assert.deepEqual(json.missing_names, ["elsewhere.example.com"]);
  },
);

testWith(PROGRAMS, "An account is bound to one at the authority where that asks for it", async () => {
  const secret = new Uint8Array(32).fill(7).toBase64({ alphabet: "base64url", omitPadding: true });
  await using setting = await Setting.create({ externalAccounts: { "kid-1": secret } });
  const refused = await setting.command(await setting.configure(), "obtain");
  assert.equal(refused.code, 69);
  assert.match(refused.stderr, /externalAccountBinding/);
  await Deno.writeTextFile(setting.workspace.file("eab"), secret);
  const config = await setting.configure({
    account_id: "kid-1",
    account_key_file: setting.workspace.file("eab"),
  });
  const { code, stderr } = await setting.command(config, "obtain");
  assert.equal(code, 0, stderr);
});

Deno.test("With [tls.acme] and no certificate yet, check-config lets the servers start", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ "tls.acme": { directory: "https://127.0.0.1:1/dir" } });
  const started = await runMailapp(["check-config", "--start", "serve-in", "--config", config]);
  assert.equal(started.code, 0, started.stderr);
  const checked = await runMailapp(["check-config", "--config", config]);
  assert.match(checked.stdout, /a self-signed certificate until mailapp certificate obtain gets one/);
  const shown = await runMailapp(["certificate", "show", "--config", config]);
  assert.match(shown.stdout, /There is no certificate yet/);
});

Deno.test("An authority that cannot be reached is named at once", async () => {
  await using workspace = await Workspace.create();
  const tsig = workspace.file("tsig");
  await Deno.writeTextFile(tsig, "c2VjcmV0\n");
  const config = await workspace.configure({
    "tls.acme": {
      directory: "https://127.0.0.1:1/dir",
      challenge: "dns-01",
      dns: { server: "127.0.0.1", zone: "example.com", key_name: "k", key_file: tsig },
    },
  });
  const { code, stderr } = await runMailapp(["certificate", "obtain", "--config", config]);
  assert.equal(code, 69);
  assert.match(stderr, /the authority at https:\/\/127\.0\.0\.1:1\/dir cannot be reached: .*refused/i);
});
