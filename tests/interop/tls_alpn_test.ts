// The handshake of TLS-ALPN-01 with OpenSSL as the client: the certificate that RFC 8737 asks for, with each group, and
// after a HelloRetryRequest.
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { TlsAlpnResponder } from "../../acme/tls_alpn_responder.ts";
import { run } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const KEY_AUTHORIZATION = "token.thumbprint";

testWith(["openssl"], "OpenSSL gets the certificate of the challenge by TLS-ALPN-01", async (t) => {
  await using responder = TlsAlpnResponder.listen({ addresses: ["127.0.0.1"], port: 0 });
  const [addr] = responder.addresses;
  assert.ok(addr?.transport === "tcp");
  await using answer = await responder.respond({
    type: "tls-alpn-01",
    name: "mx.example.com",
    token: "token",
    keyAuthorization: KEY_AUTHORIZATION,
  });
  const ask = async (...flags: readonly string[]) => {
    const { stdout, stderr } = await run("openssl", {
      args: ["s_client", "-connect", `127.0.0.1:${addr.port}`, "-servername", "mx.example.com", ...flags],
    });
    return stdout + stderr;
  };
  const alpn = ["-alpn", "acme-tls/1"];
  const groups: Readonly<Record<string, readonly string[]>> = {
    "what OpenSSL offers by itself": [],
    "X25519": ["-groups", "X25519"],
    "P-256": ["-groups", "P-256"],
    "P-256 after a HelloRetryRequest": ["-groups", "P-521:P-256"],
    "X25519 after a HelloRetryRequest": ["-groups", "P-384:X25519"],
    "without a session id for middleboxes": ["-no_middlebox"],
  };
  for (const [name, flags] of Object.entries(groups)) {
    await t.step(name, async () => {
      const said = await ask(...alpn, ...flags);
      assert.match(said, /New, TLSv1\.3, Cipher is TLS_AES_128_GCM_SHA256/, said);
      assert.match(said, /ALPN protocol: acme-tls\/1/);
      const [pem = ""] = /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/.exec(said) ?? [];
      const certificate = new X509Certificate(pem);
      assert.equal(certificate.subjectAltName, "DNS:mx.example.com");
      const { stdout } = await run("openssl", { args: ["x509", "-noout", "-text"], stdin: pem });
      // The hash as an octet string (RFC 8737 §3).
      const hash = createHash("sha256").update(KEY_AUTHORIZATION).digest("hex");
      assert.match(stdout, /1\.3\.6\.1\.5\.5\.7\.1\.31: critical/);
      assert.ok(certificate.raw.toString("hex").includes(`0420${hash}`));
    });
  }
  const refused: Readonly<Record<string, readonly [flags: readonly string[], alert: RegExp]>> = {
    "no protocol": [[], /alert number 120/],
    "another protocol": [["-alpn", "h2"], /alert number 120/],
    "another name": [[...alpn, "-servername", "other.example.com"], /alert number 112/],
    "TLS 1.2": [[...alpn, "-tls1_2"], /alert number 70/],
    "no group in common": [[...alpn, "-groups", "P-521"], /alert number 40/],
    "no cipher suite in common": [
      [...alpn, "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
      /alert number 40/,
    ],
    "no signature in common": [[...alpn, "-sigalgs", "RSA-PSS+SHA256"], /alert number 40/],
  };
  for (const [name, [flags, alert]] of Object.entries(refused)) {
    await t.step(`refused: ${name}`, async () => {
      const said = await ask(...flags);
      assert.match(said, alert, said);
      assert.doesNotMatch(said, /BEGIN CERTIFICATE/);
    });
  }
  await t.step("no longer, once the challenge is over", async () => {
    await answer[Symbol.asyncDispose]();
    assert.match(await ask(...alpn), /alert number 112/);
  });
});
