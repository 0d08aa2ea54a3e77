import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { AA, AD, FakeDns, RA } from "../../tests/support/fake_dns.ts";
import { Workspace } from "../../tests/support/mailapp.ts";
import { runInProcess } from "../../tests/support/in_process.ts";

const FLAGS = AA | AD | RA;

/** TLSA records of these usages; `fails`: a question for them is not answered. */
type Tlsa = readonly number[] | "fails";

const signed = (answers: readonly Record<string, unknown>[]) => ({ flags: FLAGS, answers } as never);

/** The records of a domain with these MX hosts, best first. */
function zoneOf(domain: string, ...hosts: readonly Tlsa[]): FakeDns["zone"] {
  const nameOf = (index: number) => `mx${index + 1}.${domain}`;
  const mx = hosts.map((_, index) => ({
    ...{ name: domain, type: "MX", ttl: 60 },
    data: { preference: index, exchange: nameOf(index) },
  }));
  return Object.assign(
    { [`${domain} MX`]: signed(mx) },
    ...hosts.map((tlsa, index) => hostOf(nameOf(index), tlsa)),
  );
}

function hostOf(host: string, usages: Tlsa): FakeDns["zone"] {
  const name = `_25._tcp.${host}`;
  return {
    [`${host} A`]: signed([{ name: host, type: "A", ttl: 60, data: "127.0.0.1" }]),
    [`${name} TLSA`]: usages === "fails" ? { rcode: 2 } : signed(
      usages.map((usage) => ({
        name,
        type: "TLSA",
        ttl: 60,
        data: { usage, selector: 1, matchingType: 1, certificate: Buffer.alloc(32, usage) },
      })),
    ),
  };
}

/** What `mailapp explain` prints. */
async function explainText(...args: readonly string[]): Promise<string> {
  const { code, out, err } = await runInProcess(["explain", ...args]);
  assert.deepEqual([code, err], [0, ""]);
  return out;
}

Deno.test("explain shows what DNSSEC asks of the hosts, before other policies", async () => {
  await using dns = await FakeDns.start({
    ...zoneOf("right.test", [3, 2]),
    ...zoneOf("unusable.test", [1]),
    ...zoneOf("dark.test", "fails"),
    ...zoneOf("none.test", []),
    ...zoneOf("mixed.test", [3], []),
    ...zoneOf("weaker.test", [3]),
  });
  await using workspace = await Workspace.create();
  const configure = (dnssec: boolean) =>
    workspace.configure({
      dns: { servers: [dns.server], dnssec },
      "serve-in": {},
      "serve-out": { listen: ["127.0.0.1"], port: 0, allow_private_targets: true },
      "serve-out.tls_policy": dnssec ? { "none.test": "dane-only", "weaker.test": "require" } : {},
    });
  const explain = async (domain: string, config: string) => {
    const explained = (...more: readonly string[]) => explainText(`u@${domain}`, "--config", config, ...more);
    const { targets: [target], tls_policy } = JSON.parse(await explained("--json"));
    return { text: await explained(), dane: target.dane, policy: tls_policy };
  };
  const config = await configure(true);
  const right = await explain("right.test", config);
  assert.deepEqual([right.dane, right.policy], ["records", "dane"]);
  assert.match(
    right.text,
    /mx1\.right\.test \[127\.0\.0\.1\] port 25: 2 TLSA records at mx1\.right\.test \(DANE\)$/m,
  );
  assert.match(
    right.text,
    /TLS policy dane: .*\n {2}TLSA records, secured by DNSSEC, apply .* go before MTA-STS$/m,
  );
  const unusable = await explain("unusable.test", config);
  assert.deepEqual([unusable.dane, unusable.policy], ["encrypt", "require"]);
  assert.match(
    unusable.text,
    /port 25: none of the TLSA records of mx1\.unusable\.test can be used here \(DANE\)$/m,
  );
  assert.doesNotMatch(unusable.text, /plaintext/);
  const dark = await explain("dark.test", config);
  assert.deepEqual([dark.dane, dark.policy], ["unknown", undefined]);
  assert.match(dark.text, /port 25: not used now: TLSA of mx1\.dark\.test: /);
  assert.doesNotMatch(dark.text, /TLS policy/);
  const none = await explain("none.test", config);
  assert.equal(none.dane, undefined);
  assert.match(
    none.text,
    /port 25: not used: DANE is required: mx1\.none\.test has no signed TLSA records$/m,
  );
  const mixed = await explain("mixed.test", config);
  assert.match(
    mixed.text,
    /TLS policy dane for mx1\.mixed\.test: .*\n {2}TLS policy prefer for mx2\.mixed\.test: /,
  );
  const weaker = await explain("weaker.test", config);
  assert.deepEqual([weaker.dane, weaker.policy], [undefined, "require"]);
  assert.match(weaker.text, /TLS policy require: .*\n {2}set in \[serve-out\.tls_policy\]$/m);
  // Whose servers do not validate.
  const blind = await explain("right.test", await configure(false));
  assert.deepEqual([blind.dane, blind.policy], [undefined, "prefer"]);
});

Deno.test("explain names a source address that no interface has, where mail would be sent from it", async () => {
  await using workspace = await Workspace.create();
  const explained = async (source: string, ...words: readonly string[]) => {
    const config = await workspace.configure({
      "serve-out": { listen: ["127.0.0.1"], port: 0, source_ipv4: source },
    });
    return await explainText(...words, "--config", config);
  };
  const missing = /cannot be sent over IPv4: no interface of this machine has 192\.0\.2\.77 \(source_ipv4\)/;
  assert.match(await explained("192.0.2.77", "u@[198.51.100.1]"), missing);
  const json = await explained("192.0.2.77", "u@[198.51.100.1]", "--json");
  assert.deepEqual(JSON.parse(json).missing_sources, ["192.0.2.77"]);
  // Not over IPv4, or from an address that is there.
  assert.doesNotMatch(await explained("192.0.2.77", "u@[IPv6:2001:db8::1]"), /source_ipv4/);
  assert.doesNotMatch(await explained("127.0.0.1", "u@[198.51.100.1]"), /source_ipv4/);
});

Deno.test("explain says which address a name without a domain stands for", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ dns: { servers: ["127.0.0.1:1"] } });
  const text = async (name: string) => await explainText(name, "--config", config);
  assert.match(await text("alice"), /^alice\n {2}a name without a domain stands for alice@example\.com\n/);
  assert.match(
    await text("gmail.test"),
    /stands for gmail\.test@example\.com; for mail to that domain, try postmaster@gmail\.test\n/,
  );
  assert.doesNotMatch(await text("alice@example.com"), /stands for/);
  const json = async (name: string) => JSON.parse(await explainText(name, "--json", "--config", config));
  assert.equal((await json("alice")).completed, "alice@example.com");
  assert.equal((await json("alice@example.com")).completed, undefined);
});
