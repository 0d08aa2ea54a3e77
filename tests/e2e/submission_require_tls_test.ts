// REQUIRETLS (RFC 8689) from a mail program to the next host: serve-submit announces it, serve-out heeds it.
import assert from "node:assert/strict";
import { createSecureContext } from "node:tls";
import { serverUpgrade } from "../../tls/server_upgrade.ts";
import { FakeDns } from "../support/fake_dns.ts";
import { Served } from "../support/served.ts";
import { PASSWORD, SubmissionMachine } from "../support/submission.ts";
import type { WireClient } from "../support/wire_client.ts";
import { createTestAuthority } from "../support/test_authority.ts";

const NEXT_HOST = "mx.here.example";
const FROM = "alice@example.com";

async function send(
  client: WireClient,
  { to, parameters = "" }: { readonly to: string; readonly parameters?: string },
): Promise<void> {
  assert.match(await client.say(`MAIL FROM:<${FROM}>${parameters}`), /^250 /);
  assert.match(await client.say(`RCPT TO:<${to}>`), /^250 /);
  assert.match(await client.say("DATA"), /^354 /);
  assert.match(
    await client.say(`From: ${FROM}\r\nSubject: for ${to}\r\n\r\nsecret words\r\n.`),
    /^250 2\.0\.0 /,
  );
}

Deno.test("REQUIRETLS goes from the mail program to the next host over verified TLS; where there is none the message fails", async () => {
  const authority = await createTestAuthority();
  const secureContext = createSecureContext(await authority.issue({ names: [NEXT_HOST] }));
  await using secure = new Served({ upgradeToTls: serverUpgrade({ certificates: { secureContext } }) });
  await using plain = new Served();
  await using dns = await FakeDns.start({
    [`${NEXT_HOST} A`]: { answers: [{ name: NEXT_HOST, type: "A", ttl: 60, data: "127.0.0.1" }] },
  });
  const trusted = await Deno.makeTempFile({ suffix: ".pem" });
  await using machine = await SubmissionMachine.create({
    changes: {
      dns: { servers: [dns.server] },
      "serve-out.routes": {
        "here.example": { host: NEXT_HOST, port: secure.port(), tls: "verify" },
        "plain.test": `127.0.0.1:${plain.port()}`,
      },
    },
    run: { env: { DENO_CERT: trusted } },
  });
  try {
    await Deno.writeTextFile(trusted, authority.cert);
    await using serveIn = await machine.start("serve-in");
    await using serveOut = await machine.start("serve-out");
    await using _serveSubmit = await machine.start("serve-submit");
    using client = await machine.connect();
    assert.match(await client.say("EHLO client.test"), /^250[- ]REQUIRETLS\r\n/m);
    assert.match(await client.say(`AUTH PLAIN ${btoa(`\0${FROM}\0${PASSWORD}`)}`), /^235 /);

    await send(client, { to: "alice@here.example", parameters: " REQUIRETLS" });
    await serveOut.event("attempt.relayed", { where: { recipient: "alice@here.example", tls: "verified" } });
    const [relayed] = secure.delivery.stored;
    assert.equal(relayed?.envelope.requireTls, true);
    await send(client, { to: "bob@here.example" });
    await serveOut.event("attempt.relayed", { where: { recipient: "bob@here.example" } });
    assert.notEqual(secure.delivery.stored[1]?.envelope.requireTls, true);

    await send(client, { to: "x@plain.test", parameters: " REQUIRETLS" });
    const failed = await serveOut.event("attempt.failed", { where: { recipient: "x@plain.test" } });
    assert.match(String(failed["error"]), /the sender demands REQUIRETLS, and 127\.0\.0\.1 has no TLS/);
    const notice = await serveIn.event("message.delivered", { where: { mailbox: FROM } });
    const text = await Deno.readTextFile(String(notice["file"]));
    assert.match(text, /^Status: 5\.7\.30$/m);
    assert.doesNotMatch(text, /secret words/);
    // Without REQUIRETLS it gets as far as that host's own reply.
    await send(client, { to: "y@plain.test" });
    const refused = await serveOut.event("attempt.failed", { where: { recipient: "y@plain.test" } });
    assert.match(String(refused["reply"]), /^550 5\.7\.1 This server does not relay/);
    assert.equal(plain.delivery.begun, 0);
  } finally {
    await Deno.remove(trusted);
  }
});
