// Mail servers that we did not write, receiving from serve-out, which finds them through BIND.
import assert from "node:assert/strict";
import { arrival, assertEndsWith } from "../support/peers/arrivals.ts";
import { startBind } from "../support/peers/bind.ts";
import { type CertificateFiles, makeCertificate } from "../support/peers/certificates.ts";
import { startExim } from "../support/peers/exim.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { type ServeOut, startServeOut } from "../support/peers/mailapp.ts";
import { startOpenSmtpd } from "../support/peers/opensmtpd.ts";
import { startPostfix } from "../support/peers/postfix.ts";
import { sendRaw, withLf } from "../support/peers/raw_smtp.ts";
import { EXIM, OPENSMTPD, unpacked } from "../support/peers/unpacked.ts";
import { testWith } from "../support/requires.ts";

interface Receiver extends AsyncDisposable {
  readonly port: number;
  maildir(address: string): string;
}

interface ReceiverKind {
  readonly title: string;
  readonly programs: readonly string[];
  readonly smtputf8: boolean;
  /** What happens to STARTTLS where the receiver is given a certificate. */
  readonly tls: "unverified" | "none";
  readonly start: (
    options: { mailboxes: readonly string[]; certificate?: CertificateFiles },
  ) => Promise<Receiver>;
}

const RECEIVERS: readonly ReceiverKind[] = [
  { title: "Postfix", programs: ["postfix"], smtputf8: true, tls: "unverified", start: startPostfix },
  { title: "Exim", programs: [unpacked(EXIM)], smtputf8: true, tls: "unverified", start: startExim },
  {
    title: "OpenSMTPD",
    programs: [unpacked(OPENSMTPD), "unshare"],
    smtputf8: false,
    // Debian 12's build breaks off each handshake, and serve-out comes again in plaintext (RFC 7435).
    tls: "none",
    start: startOpenSmtpd,
  },
];

const SENDER = "joe@example.test";
const MAILBOXES = ["alice@example.test", "bob@example.test", SENDER];

for (const { title, programs, smtputf8, tls, start } of RECEIVERS) {
  for (
    const { way, secure, family, records } of [
      { way: "in plaintext over 127.0.0.1", secure: false, family: "ipv4", records: "mx A 127.0.0.1" },
      { way: "with STARTTLS over ::1", secure: true, family: "ipv6", records: "mx AAAA ::1" },
    ]
  ) {
    testWith(["named", "openssl", ...programs], `${title} receives from serve-out ${way}`, async (t) => {
      await using folder = await makeFolder("certificate");
      const certificate = secure ? { certificate: await makeCertificate(folder, ["mx.example.test"]) } : {};
      await using dns = await startBind({ "example.test": `@ MX 10 mx\n${records}` });
      await using receiver = await start({ mailboxes: MAILBOXES, ...certificate });
      await using server = await startServeOut({
        dnsPort: dns.port,
        settings: { family, smtp_port: receiver.port },
      });
      const level = secure ? tls : "none";

      await t.step(
        "a message to several recipients, one of whom it refuses, which the sender is told",
        async () => {
          await pass(server, receiver, {
            marker: "several",
            body: ".\r\n..\r\n.hidden\r\n\r\n\tend .\r\n",
            to: ["alice@example.test", "nobody@example.test", "bob@example.test"],
            arrivesFor: ["alice@example.test", "bob@example.test"],
          });
          const relayed = await server.event("attempt.relayed", { recipient: "bob@example.test" });
          assert.equal(relayed["tls"], level);
          const failed = await server.event("attempt.failed", { recipient: "nobody@example.test" });
          assert.match(String(failed["reply"]), /^5/);

          const notice = await arrival(receiver.maildir(SENDER), "multipart/report");
          // Postfix writes MAILER-DAEMON for the null reverse-path, OpenSMTPD nothing at all.
          assert.doesNotMatch(notice.text, /^return-path: <(?!MAILER-DAEMON>|>)/im);
          assert.match(notice.text, /\nFinal-Recipient: rfc822; ?nobody@example\.test\n/i);
          assert.match(notice.text, /\nAction: failed\n/);
          assert.ok(!/^Final-Recipient:.*(alice|bob)@/im.test(notice.text), notice.text);
        },
      );
      await t.step("8-bit mail data", async () => {
        await pass(server, receiver, {
          marker: "eight-bit",
          body: "Grüße, 日本\r\n",
          mailParameters: "BODY=8BITMIME",
        });
      });
      await t.step("10 MB", async () => {
        const line = `${"0123456789abcdef".repeat(4)}\r\n`;
        await pass(server, receiver, { marker: "large", body: line.repeat(10_000_000 / line.length) });
      });
      if (smtputf8) {
        await t.step("a UTF-8 address and header", async () => {
          await pass(server, receiver, {
            marker: "smtputf8 Grüße",
            from: "jörg@example.test",
            body: "x\r\n",
            mailParameters: "BODY=8BITMIME SMTPUTF8",
          });
        });
      }
    });
  }
}

/** Has serve-out pass a message on and holds what arrives against it. */
async function pass(
  server: ServeOut,
  receiver: Receiver,
  message: {
    marker: string;
    body: string;
    from?: string;
    to?: readonly string[];
    arrivesFor?: readonly string[];
    mailParameters?: string;
  },
): Promise<void> {
  const { marker, body, from = SENDER, to = ["alice@example.test"], arrivesFor = to, mailParameters } =
    message;
  const id = `<${marker.split(" ")[0]}@client.test>`;
  // With all that servers add where it is missing, so that they need not touch it.
  const data = new TextEncoder().encode(
    `From: <${from}>\r\nTo: <${to[0]}>\r\nSubject: ${marker}\r\nDate: Tue, 24 Nov 2026 03:00:00 +0000\r\n` +
      `Message-ID: ${id}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Transfer-Encoding: 8bit\r\n\r\n${body}`,
  );
  await sendRaw({ port: server.port, from, to, data, ...(mailParameters ? { mailParameters } : {}) });
  for (const address of arrivesFor) {
    const stored = await arrival(receiver.maildir(address), `Message-ID: ${id}`);
    const prefix = assertEndsWith(stored.bytes, withLf(data));
    assert.match(prefix, /\nReceived: [^]*\tby out\.example\.test with (UTF8S|ES)MTP/);
  }
}
