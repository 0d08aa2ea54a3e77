import assert from "node:assert/strict";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { mailAlert } from "./alert_mail.ts";
import type { Alert } from "./alert.ts";

const ALERT: Alert = {
  hostname: "mx.example.com",
  server: "serve-in",
  at: Date.UTC(2026, 10, 24),
  firing: [{ kind: "disk", what: "the disk is full\u0007", next: "Make room." }],
  resolved: [],
};

/** What a server with TLS and a login hears, which answers each command with what is set for it. */
async function mailed(
  answers: Readonly<Record<string, string>> = {},
): Promise<{ heard: string; error?: Error }> {
  const authority = await createTestAuthority();
  const { cert, key } = await authority.issue({ names: ["localhost"] });
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key });
  let heard = "";
  const serving = (async () => {
    using conn = await listener.accept();
    const say = (text: string) => conn.write(new TextEncoder().encode(`${text}\r\n`));
    await say("220 smtp.example.net");
    const buffer = new Uint8Array(4096);
    let rest = "";
    let inData = false;
    for (;;) {
      const length = await conn.read(buffer).catch(() => null);
      if (length === null) return;
      rest += new TextDecoder().decode(buffer.subarray(0, length));
      for (let end = rest.indexOf("\r\n"); end >= 0; end = rest.indexOf("\r\n")) {
        const line = rest.slice(0, end);
        rest = rest.slice(end + 2);
        heard += `${line}\n`;
        if (inData && line !== ".") continue;
        const verb: string = inData ? "." : line.slice(0, 4).toUpperCase();
        inData = verb === "DATA";
        const usual: Record<string, string> = {
          EHLO: "250-smtp.example.net\r\n250 AUTH PLAIN",
          AUTH: "235 2.7.0 welcome",
          DATA: "354 go on",
          ".": "250 2.0.0 taken",
          QUIT: "221 2.0.0 bye",
        };
        await say(answers[verb] ?? usual[verb] ?? "250 2.0.0 ok");
      }
    }
  })();
  let error: Error | undefined;
  try {
    await mailAlert(ALERT, {
      host: "localhost",
      port: listener.addr.port,
      user: "u@example.net",
      password: "pass",
      from: "u@example.net",
      to: "ann@example.org",
      caCerts: [authority.cert],
    });
  } catch (caught) {
    error = caught as Error;
  }
  await serving;
  listener.close();
  return { heard, ...(error && { error }) };
}

Deno.test("mailAlert() logs in over TLS and sends the alert", async () => {
  const { heard, error } = await mailed();
  assert.equal(error, undefined);
  assert.match(heard, new RegExp(`^AUTH PLAIN ${btoa("\0u@example.net\0pass")}$`, "m"));
  assert.match(heard, /^MAIL FROM:<u@example\.net>/m);
  assert.match(heard, /^RCPT TO:<ann@example\.org>/m);
  assert.match(heard, /^Subject: mx\.example\.com: serve-in needs attention \(disk\)$/m);
  assert.match(heard, /^Auto-Submitted: auto-generated$/m);
  assert.match(heard, /^the disk is full\?\. Make room\.$/m);
});

Deno.test("mailAlert() rejects where the login or the message is refused, with the server's words", async () => {
  const login = await mailed({ AUTH: "535 5.7.8 no" });
  assert.match(login.error?.message ?? "", /localhost says 535 5\.7\.8 no/);
  const refused = await mailed({ RCPT: "550 5.1.1 nobody" });
  assert.match(refused.error?.message ?? "", /localhost does not take it: 550 (?:5\.1\.1 )?nobody/);
});
