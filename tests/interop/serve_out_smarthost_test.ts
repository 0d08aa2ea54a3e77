// A smarthost that wants a login, as providers run it: Exim with AUTH over STARTTLS, and over TLS on port 465.
import assert from "node:assert/strict";
import { createTestAuthority } from "../support/test_authority.ts";
import { testWith } from "../support/requires.ts";
import { arrival } from "../support/peers/arrivals.ts";
import { startBind } from "../support/peers/bind.ts";
import { startExim } from "../support/peers/exim.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { startServeOut } from "../support/peers/mailapp.ts";
import { sendRaw } from "../support/peers/raw_smtp.ts";
import { EXIM, unpacked } from "../support/peers/unpacked.ts";

const RECIPIENT = "alice@example.test";
const PASSWORD = "s3cret pass";
/** Where port 465 is free. */
const SUBMISSIONS = "127.0.46.5";

testWith([unpacked(EXIM), "named"], "serve-out logs in to a smarthost", async (t) => {
  await using folder = await makeFolder("smarthost");
  const authority = await createTestAuthority();
  const leaf = await authority.issue({ names: ["smtp.provider.test", "smtps.provider.test"] });
  const certificate = {
    cert: await folder.write("cert.pem", leaf.cert),
    key: await folder.write("key.pem", leaf.key, { mode: 0o600 }),
  };
  const trusting = { DENO_CERT: await folder.write("authority.pem", authority.cert) };
  await using dns = await startBind({ "provider.test": `smtp A 127.0.0.1\nsmtps A ${SUBMISSIONS}` });
  const login = { user: "relay", password: PASSWORD };
  await using smarthost = await startExim({ mailboxes: [RECIPIENT], certificate, login });

  /** A serve-out that hands everything to the smarthost with this password, and has one message. */
  async function relaying(
    password: string,
    env: Readonly<Record<string, string>>,
    { host, port } = { host: "smtp.provider.test", port: smarthost.port },
  ) {
    const server = await startServeOut({
      dnsPort: dns.port,
      env,
      routes: {
        "*": {
          host,
          port,
          tls: "verify",
          user: "relay",
          password_file: await folder.write("password", `${password}\n`, { mode: 0o600 }),
        },
      },
    });
    const data = new TextEncoder().encode("Subject: through the smarthost\r\n\r\nx\r\n");
    await sendRaw({ port: server.port, from: "joe@client.test", to: [RECIPIENT], data });
    return server;
  }

  await t.step("a self-signed certificate: the password is not sent", async () => {
    await using server = await relaying(PASSWORD, {});
    const event = await server.event("attempt.deferred", { recipient: RECIPIENT });
    assert.match(String(event["error"]), /certificate/);
  });
  await t.step("a wrong password: put off, and not in the log", async () => {
    await using server = await relaying("my guess", trusting);
    const event = await server.event("attempt.deferred", { recipient: RECIPIENT });
    assert.match(String(event["reply"]), /^535/);
    assert.ok(!server.program.lines.join("\n").includes("my guess"));
  });
  await t.step("the right password", async () => {
    await using server = await relaying(PASSWORD, trusting);
    const event = await server.event("attempt.relayed", { recipient: RECIPIENT });
    assert.equal(event["tls"], "verified");
    await arrival(smarthost.maildir(RECIPIENT), "Subject: through the smarthost\n");
    await smarthost.logLine(/ P=esmtpsa .* A=plain:relay/);
  });
  await t.step("the right password, over TLS from the first octet on", async () => {
    await using submissions = await startExim({
      mailboxes: [RECIPIENT],
      certificate,
      submissionsOn: SUBMISSIONS,
      login,
    });
    await using server = await relaying(PASSWORD, trusting, { host: "smtps.provider.test", port: 465 });
    const event = await server.event("attempt.relayed", { recipient: RECIPIENT });
    assert.equal(event["tls"], "verified");
    await arrival(submissions.maildir(RECIPIENT), "Subject: through the smarthost\n");
    await submissions.logLine(/ P=esmtpsa .* A=plain:relay/);
  });
});
