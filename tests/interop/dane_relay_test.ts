// DANE in relaying, by a serve-out in its own network: zones signed for BIND, Unbound to validate, servers with
// their own certificates and of authorities. Postfix's posttls-finger looks at the same zones.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, X509Certificate } from "node:crypto";
import { fileURLToPath } from "node:url";
import { HOST_PROGRAMS, makeHost } from "../support/hosts.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { startBind } from "../support/peers/bind.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { run, runOk, startUntil } from "../support/peers/process.ts";
import type { SinkOptions } from "../support/peers/tls_sinks.ts";
import { signZone, zoneText } from "../support/peers/signed_zone.ts";
import { testWith } from "../support/requires.ts";
import { createTestAuthority } from "../support/test_authority.ts";

const SINKS = fileURLToPath(new URL("../support/peers/tls_sinks.ts", import.meta.url));

/**
 * A TLSA record by usage, selector and matching type: of the server, the same cut short, of its authority, or of neither.
 */
type Record = readonly [
  usage: number,
  selector: number,
  type: number,
  of: "own" | "cut" | "authority" | "other",
];

interface Case {
  readonly records: readonly Record[];
  /** `dane`: sent so; `encrypted`: sent with any certificate; `plain`: nothing asks for TLS; a pattern: deferred. */
  readonly expected: "dane" | "encrypted" | "plain" | RegExp;
  /** The MX host is an alias of that of another case. */
  readonly alias?: string;
}

const NOT_NAMED = /not the one that DNSSEC names/;

const every = (usage: number, of: "own" | "authority"): Readonly<globalThis.Record<string, Case>> =>
  Object.fromEntries(
    [0, 1].flatMap((selector) =>
      [0, 1, 2].map((type) => [
        `u${usage}s${selector}m${type}`,
        { records: [[usage, selector, type, of]], expected: "dane" } satisfies Case,
      ])
    ),
  );

const CASES: Readonly<globalThis.Record<string, Case>> = {
  ...every(3, "own"),
  ...every(2, "authority"),
  "wrong-own": { records: [[3, 1, 1, "other"]], expected: NOT_NAMED },
  "wrong-authority": { records: [[2, 1, 1, "other"]], expected: NOT_NAMED },
  // The server's own certificate is no authority.
  "own-as-authority": { records: [[2, 1, 1, "own"]], expected: NOT_NAMED },
  "rollover": { records: [[3, 1, 1, "other"], [3, 1, 1, "own"]], expected: "dane" },
  "either": { records: [[3, 1, 1, "other"], [2, 0, 1, "authority"]], expected: "dane" },
  "mixed": { records: [[1, 1, 1, "other"], [3, 1, 1, "own"]], expected: "dane" },
  "mixed-wrong": { records: [[0, 0, 1, "own"], [3, 1, 1, "other"]], expected: NOT_NAMED },
  "unusable": { records: [[1, 1, 1, "own"], [3, 5, 1, "own"]], expected: "encrypted" },
  "usage-0": { records: [[0, 1, 1, "own"]], expected: "encrypted" },
  "usage-1": { records: [[1, 0, 2, "own"]], expected: "encrypted" },
  "unknown-usage": { records: [[7, 1, 1, "own"]], expected: "encrypted" },
  "unknown-type": { records: [[3, 1, 9, "own"]], expected: "encrypted" },
  "malformed": { records: [[3, 1, 1, "cut"]], expected: "encrypted" },
  "malformed-beside": { records: [[3, 1, 1, "cut"], [3, 1, 1, "own"]], expected: "dane" },
  "malformed-wrong": { records: [[3, 1, 1, "cut"], [3, 1, 1, "other"]], expected: NOT_NAMED },
  "weaker-digest": { records: [[3, 1, 1, "own"], [3, 1, 2, "other"]], expected: NOT_NAMED },
  "none": { records: [], expected: "plain" },
  "alias": { records: [], alias: "rollover", expected: "dane" },
};

testWith(
  [...HOST_PROGRAMS, "named", "unbound", "dnssec-keygen", "dnssec-signzone", "posttls-finger", "swaks"],
  "serve-out asks for the certificates that DNSSEC names, as Postfix does",
  async (t) => {
    await using folder = await makeFolder("dane");
    await using workspace = await Workspace.create();
    await using host = await makeHost();
    const { through } = host;
    const authority = await createTestAuthority();
    const labels = Object.keys(CASES);
    const leaf = await authority.issue({
      names: [...labels, "out", "bogus"].map((label) => `mx-${label}.signed.test`),
    });
    const other = await authority.issue({ names: ["mx.elsewhere.test"] });
    const stranger = await createTestAuthority("another authority");
    const certificates = {
      own: new X509Certificate(leaf.cert),
      cut: new X509Certificate(leaf.cert),
      authority: new X509Certificate(authority.cert),
      other: new X509Certificate(stranger.cert),
    };
    const tlsa = ([usage, selector, type, of]: Record) => {
      const certificate = certificates[of];
      const whole = selector === 0
        ? new Uint8Array(certificate.raw)
        : new Uint8Array(certificate.publicKey.export({ type: "spki", format: "der" }));
      const digest = ["", "sha256", "sha512"][type] ?? "";
      const data = digest === "" ? whole : createHash(digest).update(whole).digest();
      const hex = Buffer.from(of === "cut" ? data.subarray(0, 20) : data).toString("hex");
      return `TLSA ${usage} ${selector} ${type} ${hex}`;
    };
    const lines = Object.entries(CASES).flatMap(([label, { records, alias }]) => [
      `${label} MX 1 mx-${label}`,
      alias === undefined ? `mx-${label} A 127.0.1.1` : `mx-${label} CNAME mx-${alias}`,
      ...records.map((record) => `_25._tcp.mx-${label} ${tlsa(record)}`),
    ]);
    const named = tlsa([2, 1, 1, "authority"]);
    lines.push("misnamed MX 1 mx-misnamed", "mx-misnamed A 127.0.1.2", `_25._tcp.mx-misnamed ${named}`);
    // An alias that leads out of the signed zone: its own name counts (RFC 7672 §2.2.2).
    lines.push("out MX 1 mx-out", "mx-out CNAME mx.plain.test.", `_25._tcp.mx-out ${tlsa([3, 1, 1, "own"])}`);
    const signed = await signZone(folder, "signed.test", lines);
    const mark = "AB".repeat(32);
    const bogus = await signZone(folder, "bogus.test", [
      "@ MX 1 mx",
      "mx A 127.0.1.1",
      `_25._tcp.mx TLSA 3 1 1 ${mark}`,
    ]);
    await Deno.writeTextFile(
      bogus.file,
      (await Deno.readTextFile(bogus.file)).replace(/ABAB/, "ACAB"),
    );
    await using _dns = await startBind({
      "signed.test": { whole: await Deno.readTextFile(signed.file) },
      "bogus.test": { whole: await Deno.readTextFile(bogus.file) },
      "plain.test": {
        whole: zoneText([
          "@ MX 1 mx",
          "mx A 127.0.1.1",
          `_25._tcp.mx TLSA 3 1 1 ${mark}`,
          "alias MX 1 to-signed",
          "to-signed CNAME mx-rollover.signed.test.",
        ]),
      },
    }, { address: "127.0.0.5", port: 53, through });
    const stubs = ["signed.test", "bogus.test", "plain.test"].map((zone) =>
      `stub-zone:\n  name: "${zone}"\n  stub-addr: 127.0.0.5\n`
    );
    const unbound = await folder.write(
      "unbound.conf",
      `server:
  interface: 127.0.0.1
  directory: "${folder.path}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  verbosity: 1
  do-not-query-localhost: no
  module-config: "validator iterator"
  domain-insecure: "plain.test"
  trust-anchor: "${signed.anchor}"
  trust-anchor: "${bogus.anchor}"
  local-zone: "test." nodefault
${stubs.join("")}remote-control:
  control-enable: no
`,
    );
    await using _resolver = await startUntil(through[0] ?? "", {
      args: [...through.slice(1), "unbound", "-d", "-c", unbound],
      ready: ({ line }) => line(/start of service/),
    });
    const files = async (name: string, { cert, key }: { cert: string; key: string }) => ({
      cert: await folder.write(`${name}.crt`, cert),
      key: await folder.write(`${name}.key`, key),
    });
    const sinks: SinkOptions[] = [
      { address: "127.0.1.1", ...await files("leaf", leaf) },
      { address: "127.0.1.2", ...await files("other", other) },
    ];
    await using taking = await startUntil(through[0] ?? "", {
      args: [...through.slice(1), Deno.execPath(), "run", "-A", "--quiet", SINKS, JSON.stringify(sinks)],
      ready: ({ line }) => line(/^ready$/),
    });
    const config = await workspace.configure({
      "": { hostname: "out.client.test", data_dir: workspace.file("state") },
      dns: { servers: ["127.0.0.1"], dnssec: true },
      "serve-out": {
        listen: ["127.0.0.1"],
        port: 25,
        allow_private_targets: true,
        max_connections_per_host: 50,
      },
      "serve-out.tls_policy": { "none.signed.test": "dane-only" },
    });
    await using server = new RunningMailapp(["serve-out", "--config", config], { through });
    await server.event("server.ready");
    const all: readonly (readonly [domain: string, expected: Case["expected"]])[] = [
      ...Object.entries(CASES).map(([label, { expected }]) =>
        [`${label}.signed.test`, label === "none" ? /DANE is required/ : expected] as const
      ),
      ["misnamed.signed.test", /it is for another name/],
      ["bogus.test", /TLSA of mx\.bogus\.test/],
      ["plain.test", "plain"],
      ["out.signed.test", "dane"],
      // Who says which host it is is not signed.
      ["alias.plain.test", "plain"],
    ];
    const [swaks = "", ...rest] = [...through, "swaks", "--server", "127.0.0.1", "--from", "a@client.test"];
    await runOk(swaks, { args: [...rest, "--to", all.map(([domain]) => `x@${domain}`).join(",")] });
    for (const [domain, expected] of all) {
      await t.step(`${domain}: ${expected}`, async () => {
        const where = { recipient: `x@${domain}` };
        const sent = typeof expected === "string";
        const event = await server.event(sent ? "attempt.relayed" : "attempt.deferred", { where });
        if (sent) assert.equal(event["tls"], expected === "dane" ? "dane" : "unverified");
        else assert.match(String(event["error"]), expected);
        assert.equal(
          event["policy"],
          expected === "plain" ? undefined : domain.startsWith("none.") ? "configuration" : "dane",
        );
      });
    }
    for (const [domain, expected] of all) {
      // It wants a certificate for a name of an authority's even where the zone is not signed: nothing to compare.
      if (expected === "plain") continue;
      await t.step(`${domain}: so does posttls-finger`, async () => {
        const [finger = "", ...args] = [...through, "posttls-finger", "-c", "-l", "dane", "-t", "10", domain];
        const { stdout, stderr } = await run(finger, { args });
        const verified = /Verified TLS connection established/.test(stdout + stderr);
        assert.equal(verified, expected === "dane", stdout + stderr);
      });
    }
    const explained: Readonly<
      globalThis.Record<string, readonly [string | undefined, string | undefined, RegExp]>
    > = {
      "rollover.signed.test": ["records", "dane", /2 TLSA records at mx-rollover\.signed\.test \(DANE\)$/m],
      "alias.signed.test": ["records", "dane", /the certificate is one that the TLSA records name$/m],
      "wrong-own.signed.test": ["records", "dane", /no mail would be sent: the certificate is not the one/],
      "unusable.signed.test": ["encrypt", "require", /over TLS; the certificate was not verified$/m],
      "none.signed.test": [
        undefined,
        "dane",
        /not used: DANE is required: .*\n.*\n.*\n {2}set in \[serve-out/,
      ],
      "bogus.test": ["unknown", undefined, /not used now: TLSA of mx\.bogus\.test: /],
      "plain.test": [undefined, "prefer", /TLS policy prefer: .*\n(?! {2}TLSA records)/],
    };
    for (const [domain, [dane, policy, text]] of Object.entries(explained)) {
      await t.step(`${domain}: explain says so`, async () => {
        const explain = async (...more: readonly string[]) => {
          const args = ["explain", "--connect", `x@${domain}`, "--config", config, ...more];
          const { code, stdout, stderr } = await runMailapp(args, { through });
          assert.equal(code, 0, stderr);
          return stdout;
        };
        const { targets: [target], tls_policy } = JSON.parse(await explain("--json"));
        assert.deepEqual([target.dane, target.tls_policy, tls_policy], [dane, policy, policy]);
        assert.match(await explain(), text);
      });
    }
    assert.equal(await server.stop(), 0);
    assert.ok(taking.lines.some((line) => line.includes(" x@rollover.signed.test ")));
  },
);
