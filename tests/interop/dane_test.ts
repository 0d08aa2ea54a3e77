// DNSSEC with a real authority and a real validating resolver: what is authenticated, what is forged, and what DANE
// needs.
import assert from "node:assert/strict";
import { daneNeed } from "../../tls/dane.ts";
import { DnsResolver } from "../../dns/resolver.ts";
import { silentLogger } from "../../base/log.ts";
import { findTargets, type Target } from "../../relay/mx.ts";
import { systemClock } from "../../base/clock.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { freePort, untilListening } from "../support/peers/ports.ts";
import { start } from "../support/peers/process.ts";
import { signZone, zoneText } from "../support/peers/signed_zone.ts";
import { testWith } from "../support/requires.ts";

const HASH = "AB".repeat(32);

const RECORDS = [
  "@ MX 10 mx",
  "mx A 192.0.2.1",
  `_25._tcp.mx TLSA 3 1 1 ${HASH}`,
  "within CNAME mx",
  "out CNAME mx.plain.example.",
  `_25._tcp.out TLSA 3 1 1 ${HASH}`,
];

testWith(
  ["named", "unbound", "dnssec-keygen", "dnssec-signzone"],
  "a validating resolver's AD bit decides what DANE asks for, and a forged zone is not a zone",
  async (t) => {
    await using folder = await makeFolder("dnssec");
    const signed = await signZone(folder, "signed.example", RECORDS);
    const forged = await signZone(folder, "forged.example", RECORDS);
    const text = await Deno.readTextFile(forged.file);
    assert.ok(text.includes("192.0.2.1"));
    await Deno.writeTextFile(forged.file, text.replace("192.0.2.1", "192.0.2.66"));
    const plain = await folder.write("plain.example.zone", zoneText(RECORDS));
    const files = { "signed.example": signed.file, "forged.example": forged.file, "plain.example": plain };

    const [authority, resolver] = [freePort(), freePort()];
    const zones = Object.entries(files).map(([zone, file]) =>
      `zone "${zone}" { type primary; file "${file}"; };`
    );
    const namedConf = await folder.write(
      "named.conf",
      `options { directory "${folder.path}"; listen-on port ${authority} { 127.0.0.1; }; listen-on-v6 { none; };
         pid-file none; session-keyfile none; recursion no; notify no; };
       controls { };
       ${zones.join("\n")}\n`,
    );
    await using named = start("named", { args: ["-g", "-c", namedConf] });
    await named.line(/ running$/);
    const stubs = Object.keys(files).map((zone) =>
      `stub-zone:\n  name: "${zone}"\n  stub-addr: 127.0.0.1@${authority}\n`
    );
    const unboundConf = await folder.write(
      "unbound.conf",
      `server:
  interface: 127.0.0.1
  port: ${resolver}
  directory: "${folder.path}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  do-not-query-localhost: no
  module-config: "validator iterator"
  trust-anchor: "${signed.anchor}"
  trust-anchor: "${forged.anchor}"
${stubs.join("")}remote-control:
  control-enable: no
`,
    );
    await using _unbound = start("unbound", { args: ["-d", "-c", unboundConf] });
    await untilListening(resolver);

    const dns = new DnsResolver({ clock: systemClock, servers: [`127.0.0.1:${resolver}`], dnssec: true });
    const find = async (domain: string): Promise<Target | string> => {
      const found = await findTargets(domain, {
        resolver: dns,
        family: "auto",
        port: 25,
        allowPrivateTargets: false,
        hostname: "self.test",
        ownListeners: [],
        routes: new Map(),
        tlsPolicy: new Map(),
        random: () => 0,
        logger: silentLogger,
      });
      return found.kind === "targets" ? found.targets[0] ?? "" : `${found.kind} ${found.status}`;
    };

    await t.step("signed: authenticated, with the certificate it names", async () => {
      const target = await find("signed.example");
      assert.ok(typeof target !== "string");
      assert.equal(target.authenticated, true);
      const need = await daneNeed(target, { resolver: dns });
      assert.deepEqual(need, {
        kind: "records",
        records: [{ usage: 3, selector: 1, matchingType: 1, data: new Uint8Array(32).fill(0xab) }],
        baseDomain: "mx.signed.example",
      });
    });
    await t.step(
      "signed: aliases, with the certificate named at their end or at their beginning",
      async () => {
        for (
          const [domain, baseDomain] of [
            ["within.signed.example", "mx.signed.example"],
            ["out.signed.example", "out.signed.example"],
            ["within.plain.example", undefined],
            ["out.plain.example", undefined],
          ] as const
        ) {
          const target = await find(domain);
          assert.ok(typeof target !== "string");
          const need = await daneNeed(target, { resolver: dns });
          assert.equal(need.kind === "records" ? need.baseDomain : undefined, baseDomain, domain);
        }
      },
    );
    await t.step("signed: a name that does not exist", async () => {
      assert.equal(await find("gone.signed.example"), "failed 5.1.2");
      const answer = await dns.mx("gone.signed.example");
      assert.ok(answer.kind === "no-such-name");
      assert.equal(answer.authenticated, true);
    });
    await t.step("not signed: used, with no DANE", async () => {
      const target = await find("plain.example");
      assert.ok(typeof target !== "string");
      assert.equal(target.authenticated, false);
      assert.equal((await daneNeed(target, { resolver: dns })).kind, "none");
    });
    await t.step(
      "forged: deferred",
      async () => assert.equal(await find("forged.example"), "deferred 4.4.3"),
    );
  },
);
