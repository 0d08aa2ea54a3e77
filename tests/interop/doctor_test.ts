// What doctor says of zones that a real named serves: nothing of the one that `mailapp dns` prints, and of each that is
// wrong in one way exactly that. Both servers run, on a host with an address of each family.
import assert from "node:assert/strict";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { type Finished, runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { startBind } from "../support/peers/bind.ts";
import { runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { createTestAuthority } from "../support/test_authority.ts";
import type { Finding } from "../../doctor/finding.ts";

const IPV4 = "198.51.100.1";
const IPV6 = "2001:db8:51::1";
const REVERSE_IPV4 = "1.100.51.198.in-addr.arpa";
const REVERSE_IPV6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.5.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
const DAY = 86_400_000;

/** Replaces what must be there. */
function edit(zone: string, pattern: RegExp, replacement: string): string {
  assert.match(zone, pattern);
  return zone.replace(pattern, replacement);
}

interface Zones {
  readonly zone: string;
  readonly reverse: Readonly<Record<string, string>>;
}

/** Each way to be wrong, and what must be found. */
const WRONG: Readonly<Record<string, { readonly finding: string; readonly make: (right: Zones) => Zones }>> =
  {
    "no MX": {
      finding: "mx.missing example.com",
      make: ({ zone, reverse }) => ({ reverse, zone: edit(zone, /^example\.com\. IN MX .*$/m, "") }),
    },
    "MX to CNAME": {
      finding: "mx.cname example.com",
      make: ({ zone, reverse }) => ({
        reverse,
        zone: edit(zone, /MX 10 mx\.example\.com\./, "MX 10 mail") +
          "mail.example.com. IN CNAME mx.example.com.\n",
      }),
    },
    "MX elsewhere": {
      finding: "mx.elsewhere example.com",
      make: ({ zone, reverse }) => ({
        reverse,
        zone: edit(zone, /MX 10 mx\.example\.com\./, "MX 10 old.example.com.") +
          "old.example.com. IN A 198.51.100.77\n",
      }),
    },
    "SPF without our address": {
      finding: "spf.refused example.com",
      make: ({ zone, reverse }) => ({
        reverse,
        zone: edit(
          zone,
          /^example\.com\. IN TXT "v=spf1 .*$/m,
          'example.com. IN TXT "v=spf1 ip4:198.51.100.9 -all"',
        ),
      }),
    },
    "SPF without our IPv6 address": {
      finding: "spf.refused example.com",
      make: ({ zone, reverse }) => ({
        reverse,
        zone: edit(zone, /^(example\.com\. IN TXT "v=spf1 .*) ip6:\S+/m, "$1"),
      }),
    },
    "SPF that cannot be read": {
      finding: "spf.syntax example.com",
      make: ({ zone, reverse }) => ({
        reverse,
        zone: edit(zone, /^(example\.com\. IN TXT "v=spf1) /m, "$1 ipv4:1.2.3.4 "),
      }),
    },
    "two SPF records": {
      finding: "spf.several example.com",
      make: ({ zone, reverse }) => ({ reverse, zone: `${zone}example.com. IN TXT "v=spf1 mx -all"\n` }),
    },
    "no SPF": {
      finding: "spf.missing example.com",
      make: ({ zone, reverse }) => ({ reverse, zone: edit(zone, /^example\.com\. IN TXT "v=spf1 .*$/m, "") }),
    },
    "another DKIM key": {
      finding: "dkim.other-key s1._domainkey.example.com",
      make: ({ zone, reverse }) => ({ reverse, zone: edit(zone, /(p=MII[^"]{40})./, "$1/") }),
    },
    "not a DKIM key": {
      finding: "dkim.missing s1._domainkey.example.com",
      make: ({ zone, reverse }) => ({ reverse, zone: edit(zone, /^s1\._domainkey.*\n.*\)$/m, "") }),
    },
    "no DMARC": {
      finding: "dmarc.missing example.com",
      make: ({ zone, reverse }) => ({ reverse, zone: edit(zone, /^_dmarc\..*$/m, "") }),
    },
    "a TLSA record of an old key": {
      finding: "tlsa.stale _25._tcp.mx.example.com",
      make: ({ zone, reverse }) => ({
        reverse,
        zone: edit(zone, /TLSA 3 1 1 [0-9a-f]{64}/, `TLSA 3 1 1 ${"ab".repeat(32)}`),
      }),
    },
    "no reverse DNS": {
      finding: `reverse.missing ${IPV4}`,
      make: ({ zone, reverse }) => ({ zone, reverse: { ...reverse, [REVERSE_IPV4]: "" } }),
    },
    "IPv6 without reverse DNS": {
      finding: `reverse.missing ${IPV6}`,
      make: ({ zone, reverse }) => ({ zone, reverse: { ...reverse, [REVERSE_IPV6]: "" } }),
    },
    "reverse DNS that is not confirmed": {
      finding: `reverse.unconfirmed ${IPV4}`,
      make: ({ zone, reverse }) => ({
        zone: `${zone}static-1.example.com. IN A 198.51.100.200\n`,
        reverse: { ...reverse, [REVERSE_IPV4]: "@ PTR static-1.example.com." },
      }),
    },
    "reverse DNS with another name": {
      finding: `reverse.other-name ${IPV4}`,
      make: ({ zone, reverse }) => ({
        zone: `${zone}static-1.example.com. IN A ${IPV4}\n`,
        reverse: { ...reverse, [REVERSE_IPV4]: "@ PTR static-1.example.com." },
      }),
    },
    "no AAAA for the address that mail is sent from": {
      finding: `address.missing ${IPV6}`,
      make: ({ zone, reverse }) => ({ reverse, zone: edit(zone, /^mx\.example\.com\. IN AAAA .*$/m, "") }),
    },
    "an address that is not ours": {
      finding: "address.foreign 198.51.100.77",
      make: ({ zone, reverse }) => ({ reverse, zone: `${zone}mx.example.com. IN A 198.51.100.77\n` }),
    },
  };

testWith(
  [...HOST_PROGRAMS, "named", "named-checkzone"],
  "doctor, against zones served by named",
  async (t) => {
    await using ours = await Workspace.create();
    await using theirs = await Workspace.create();
    await using hosts = await makeHosts();
    const authority = await createTestAuthority();
    const leaf = await authority.issue({
      names: ["mx.example.com"],
      notAfter: new Date(Date.now() + 20 * DAY),
    });
    for (
      const [name, text] of Object.entries({
        "ca.pem": authority.cert,
        "cert.pem": leaf.cert,
        "key.pem": leaf.key,
      })
    ) {
      await Deno.writeTextFile(ours.file(name), text, { mode: 0o600 });
    }
    const made = await runMailapp([
      ...["dkim", "new", "example.com", "--selector", "s1"],
      ...["--config", await ours.configure({ log: { level: "error" } })],
    ]);
    assert.equal(made.code, 0, made.stderr);
    const [, keyFile] = /^Made (\S+) /.exec(made.stdout) ?? [];
    assert.ok(keyFile);
    const configure = (dnssec: boolean) =>
      ours.configure({
        tls: { cert: ours.file("cert.pem"), key: ours.file("key.pem") },
        dns: { servers: ["198.51.100.2"], dnssec },
        "serve-in": { listen: "auto", port: 25 },
        "serve-out": { min_free_space: 0 },
        "mailboxes.aliases": { postmaster: "alice", root: "alice" },
        'dkim."example.com"': { selector: "s1", key: keyFile },
        // For the records of mail programs; the server does not run.
        ...(dnssec && { "serve-submit": {} }),
      });
    const env = { DENO_CERT: ours.file("ca.pem") };
    const mailapp = (...args: string[]) =>
      runMailapp([...args, "--config", ours.file("config.toml")], { through: hosts.server, env });

    // With TLSA.
    await configure(true);
    const printed = await mailapp("dns");
    assert.equal(printed.code, 0, printed.stderr);
    const right: Zones = {
      zone: printed.stdout,
      reverse: { [REVERSE_IPV4]: "@ PTR mx.example.com.", [REVERSE_IPV6]: "@ PTR mx.example.com." },
    };
    await t.step("the zone that dns prints loads as it is", async () => {
      await Deno.writeTextFile(ours.file("zone"), right.zone);
      await runOk("named-checkzone", { args: ["example.com", ours.file("zone")] });
      assert.match(right.zone, /^_submissions\._tcp\.example\.com\. IN SRV /m);
      for (const name of [REVERSE_IPV4, REVERSE_IPV6]) {
        assert.match(right.zone, new RegExp(`\\(${name}\\. PTR mx\\.example\\.com\\.\\)`));
      }
    });

    await configure(false);
    const theirConfig = await theirs.configure({
      "": { hostname: "mx.probe.test" },
      "serve-in": { listen: ["198.51.100.2", "2001:db8:51::2"], port: 25, domains: ["probe.test"] },
    });
    await using probe = new RunningMailapp(["serve-in", "--config", theirConfig], { through: hosts.client });
    await using serveIn = new RunningMailapp(["serve-in", "--config", ours.file("config.toml")], {
      through: hosts.server,
    });
    await using serveOut = new RunningMailapp(["serve-out", "--config", ours.file("config.toml")], {
      through: hosts.server,
    });
    for (const server of [probe, serveIn, serveOut]) await server.event("listener.ready", { after: 1 });

    const diagnose = async ({ zone, reverse }: Zones): Promise<Finished> => {
      await using _dns = await startBind({
        "example.com": { whole: zone },
        "probe.test": "@ MX 10 mx\nmx A 198.51.100.2\nmx AAAA 2001:db8:51::2",
        ...reverse,
      }, { address: "198.51.100.2", port: 53, through: hosts.client });
      return await mailapp("doctor", "--json", "--probe", "probe.test");
    };
    const findingsOf = ({ stdout, stderr }: Finished) => {
      assert.notEqual(stdout, "", stderr);
      return (JSON.parse(stdout) as { findings: Finding[] }).findings;
    };
    const badOf = (finished: Finished) =>
      findingsOf(finished).filter(({ outcome }) => outcome === "failure" || outcome === "warning");

    await t.step("a zone that is right: nothing is found", async () => {
      const finished = await diagnose(right);
      assert.deepEqual(badOf(finished), []);
      assert.equal(finished.code, 0);
      const well = new Set(
        findingsOf(finished).filter(({ outcome }) => outcome === "ok").map(({ id }) => id),
      );
      const all = [
        "address",
        "certificate",
        "dkim",
        "dmarc",
        "dns",
        "mx",
        "outward",
        "queue",
        "reverse",
        "smtp",
        "spf",
      ];
      for (const id of [...all, "storage", "tlsa", "tlsrpt"]) assert.ok(well.has(id), id);
    });

    for (const [name, { finding, make }] of Object.entries(WRONG)) {
      await t.step(`${name}: exactly that`, async () => {
        const finished = await diagnose(make(right));
        assert.deepEqual(badOf(finished).map(({ id, subject }) => `${id} ${subject}`), [finding]);
        assert.ok(badOf(finished).every(({ next }) => next !== undefined && next !== ""));
        assert.equal(finished.code, badOf(finished).some(({ outcome }) => outcome === "failure") ? 69 : 0);
      });
    }

    await t.step("no DNS at all: said once", async () => {
      const finished = await mailapp("doctor", "--json", "--probe", "probe.test");
      assert.deepEqual(badOf(finished).map(({ id }) => id), ["dns.down"]);
      assert.match(finished.stderr, /no mail is sent.*198\.51\.100\.2.*198\.51\.100\.1:25/s);
    });
    for (const server of [serveOut, serveIn, probe]) assert.equal(await server.stop(), 0);
  },
);
