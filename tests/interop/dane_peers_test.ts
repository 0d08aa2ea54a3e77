// DANE with others on the other side: OpenSSL checks serve-in against the TLSA records that `mailapp dns` prints, and
// serve-out delivers to Exim by a TLSA record.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, X509Certificate } from "node:crypto";
import { zoneSections } from "../../doctor/zone.ts";
import { AA, AD, FakeDns, RA } from "../support/fake_dns.ts";
import { Dialogue } from "../support/dialogue.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";
import { makeCertificate } from "../support/peers/certificates.ts";
import { startExim } from "../support/peers/exim.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { startServeIn } from "../support/peers/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { run } from "../support/peers/process.ts";
import { EXIM, unpacked } from "../support/peers/unpacked.ts";
import { testWith } from "../support/requires.ts";

testWith(
  ["openssl"],
  "OpenSSL verifies serve-in by the TLSA records that dns prints, of now and of the next key",
  async (t) => {
    await using folder = await makeFolder("dane-openssl");
    await using otherFolder = await makeFolder("dane-openssl-other");
    const hostname = "mx.example.test";
    const files = await makeCertificate(folder, [hostname]);
    const leaf = new X509Certificate(await Deno.readTextFile(files.cert));
    const other = new X509Certificate(
      await Deno.readTextFile((await makeCertificate(otherFolder, [hostname])).cert),
    );
    await using serveIn = await startServeIn({ hostname, certificate: files });
    const printed = (certificate: X509Certificate, next?: X509Certificate) =>
      zoneSections({
        hostname,
        domains: [],
        addresses: [],
        sending: [],
        dkim: [],
        certificate,
        ...(next && { nextKey: next.publicKey }),
      }).flatMap(({ records }) => records.flatMap(({ type, data }) => type === "TLSA" ? [data] : []));
    const verdict = async (records: readonly string[]) => {
      const { stdout, stderr } = await run("openssl", {
        args: [
          ...[
            "s_client",
            "-starttls",
            "smtp",
            "-connect",
            `127.0.0.1:${serveIn.port}`,
            "-dane_tlsa_domain",
            hostname,
          ],
          ...records.flatMap((record) => ["-dane_tlsa_rrdata", record]),
          ...["-verify_return_error", "-brief"],
        ],
        stdin: "QUIT\r\n",
      });
      return stdout + stderr;
    };
    const ask = async (records: readonly string[]) => /Verification: OK/.test(await verdict(records));
    await t.step("the key of now", async () => assert.ok(await ask(printed(leaf))));
    await t.step("the key of now, and the next one", async () => assert.ok(await ask(printed(leaf, other))));
    await t.step("the key before, and the one of now, after the change", async () => {
      assert.ok(await ask(printed(other, leaf)));
    });
    await t.step("another key alone", async () => assert.ok(!await ask(printed(other))));
  },
);

testWith(
  [unpacked(EXIM), "openssl"],
  "serve-out delivers to Exim by DANE, and not to one with another key",
  async () => {
    await using folder = await makeFolder("dane-exim");
    const certificate = await makeCertificate(folder, ["some.other.name"]);
    const { publicKey } = new X509Certificate(await Deno.readTextFile(certificate.cert));
    const hash = createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest();
    await using exim = await startExim({ mailboxes: ["x@right.test", "x@wrong.test"], certificate });
    const flags = AA | AD | RA;
    const a = (name: string) => ({ flags, answers: [{ name, type: "A", ttl: 60, data: "127.0.0.1" }] });
    const tlsa = (name: string, hash: Uint8Array) => ({
      flags,
      answers: [{
        name,
        type: "TLSA",
        ttl: 60,
        data: { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.from(hash) },
      }],
    });
    const zone: FakeDns["zone"] = {};
    for (const [domain, data] of [["right.test", hash], ["wrong.test", Buffer.alloc(32, 1)]] as const) {
      const host = `mx.${domain}`;
      const name = `_${exim.port}._tcp.${host}`;
      zone[`${domain} MX`] = {
        flags,
        answers: [{ name: domain, type: "MX", ttl: 60, data: { preference: 10, exchange: host } }],
      };
      zone[`${host} A`] = a(host);
      zone[`${name} TLSA`] = tlsa(name, data);
    }
    await using dns = await FakeDns.start(zone);
    await using workspace = await Workspace.create();
    const port = freePort();
    const config = await workspace.configure({
      "": { hostname: "out.client.test", data_dir: workspace.file("state") },
      dns: { servers: [dns.server], dnssec: true },
      "serve-in": {},
      "serve-out": {
        listen: ["127.0.0.1"],
        port,
        smtp_port: exim.port,
        allow_private_targets: true,
        min_free_space: 0,
      },
    });
    await using server = new RunningMailapp(["serve-out", "--config", config]);
    await server.event("server.ready");
    using dialogue = await Dialogue.connect(port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    await dialogue.say("MAIL FROM:<a@client.test>");
    for (const domain of ["right.test", "wrong.test"]) {
      assert.match(await dialogue.say(`RCPT TO:<x@${domain}>`), /^250 /);
    }
    await dialogue.say("DATA");
    assert.match(await dialogue.say("Subject: x\r\n\r\nHello\r\n."), /^250 /);
    // Name and issuer of the certificate do not matter (RFC 7672 §3.1.1).
    const sent = await server.event("attempt.relayed");
    assert.deepEqual([sent["recipient"], sent["policy"], sent["tls"]], ["x@right.test", "dane", "dane"]);
    const kept = await server.event("attempt.deferred");
    assert.deepEqual([kept["recipient"], kept["policy"]], ["x@wrong.test", "dane"]);
    assert.match(String(kept["error"]), /not the one that DNSSEC names/);
    await exim.logLine(/<= a@client\.test .* P=esmtps/);
    assert.equal(await server.stop(), 0);
  },
);
