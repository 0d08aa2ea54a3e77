// Mail servers that we did not write, sending to serve-in.
import assert from "node:assert/strict";
import { arrival, assertEndsWith, assertSizesInName, toLatin1 } from "../support/peers/arrivals.ts";
import { startExim } from "../support/peers/exim.ts";
import { type ServeIn, startServeIn } from "../support/peers/mailapp.ts";
import { startOpenSmtpd } from "../support/peers/opensmtpd.ts";
import { startPostfix } from "../support/peers/postfix.ts";
import { sendRaw, withLf } from "../support/peers/raw_smtp.ts";
import { EXIM, OPENSMTPD, unpacked } from "../support/peers/unpacked.ts";
import { testWith } from "../support/requires.ts";

interface Sender extends AsyncDisposable {
  readonly port: number;
}

interface SenderKind {
  readonly title: string;
  readonly programs: readonly string[];
  readonly smtputf8: boolean;
  readonly start: (
    options: { relayTo: { host: string; port: number }; sendTls: "none" | "encrypt" },
  ) => Promise<Sender>;
}

const SENDERS: readonly SenderKind[] = [
  { title: "Postfix", programs: ["postfix"], smtputf8: true, start: startPostfix },
  { title: "Exim", programs: [unpacked(EXIM)], smtputf8: true, start: startExim },
  { title: "OpenSMTPD", programs: [unpacked(OPENSMTPD), "unshare"], smtputf8: false, start: startOpenSmtpd },
];

const WAYS = [
  { sendTls: "none", host: "127.0.0.1", secured: "" },
  { sendTls: "encrypt", host: "::1", secured: "S" },
] as const;

for (const { title, programs, smtputf8, start } of SENDERS) {
  for (const { sendTls, host, secured } of WAYS) {
    const way = sendTls === "none" ? "in plaintext" : "over STARTTLS";
    testWith(programs, `${title} sends to serve-in ${way} over ${host}`, async (t) => {
      await using server = await startServeIn();
      await using sender = await start({ relayTo: { host, port: server.port }, sendTls });

      await t.step("a message to several recipients, dots and all", async () => {
        const received = await pass(server, sender, {
          marker: "several",
          to: ["alice@example.test", "bob@example.test"],
          body: ".\r\n..\r\n.hidden\r\n\r\n\tend .\r\n",
        });
        assert.match(received, new RegExp(`with ESMTP${secured}[ \n]`));
      });
      await t.step("8-bit mail data", async () => {
        await pass(server, sender, {
          marker: "eight-bit",
          body: "Grüße, 日本\r\n",
          mailParameters: "BODY=8BITMIME",
        });
      });
      await t.step("10 MB", async () => {
        const line = `${"0123456789abcdef".repeat(4)}\r\n`;
        await pass(server, sender, { marker: "large", body: line.repeat(10_000_000 / line.length) });
      });
      if (smtputf8) {
        await t.step("a UTF-8 address and header", async () => {
          const received = await pass(server, sender, {
            marker: "smtputf8 Grüße",
            from: "jörg@client.test",
            body: "x\r\n",
            mailParameters: "BODY=8BITMIME SMTPUTF8",
          });
          assert.match(received, new RegExp(`with UTF8SMTP${secured}[ \n]`));
        });
      }
    });
  }
}

/** Has the sender pass a message on and holds what arrives against it. @returns what stands above it */
async function pass(
  server: ServeIn,
  sender: Sender,
  message: { marker: string; body: string; from?: string; to?: readonly string[]; mailParameters?: string },
): Promise<string> {
  const { marker, body, from = "joe@client.test", to = ["alice@example.test"], mailParameters } = message;
  // All that servers add where it is missing is there, so that they need not touch it.
  const data = new TextEncoder().encode(
    `From: <${from}>\r\nTo: <${to[0]}>\r\nSubject: ${marker}\r\nDate: Tue, 24 Nov 2026 03:00:00 +0000\r\n` +
      `Message-ID: <${marker.split(" ")[0]}@client.test>\r\nMIME-Version: 1.0\r\n` +
      `Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n${body}`,
  );
  await sendRaw({ port: sender.port, from, to, data, ...(mailParameters ? { mailParameters } : {}) });
  let prefix = "";
  for (const address of to) {
    const stored = await arrival(
      server.maildir(address),
      `Message-ID: <${marker.split(" ")[0]}@client.test>`,
    );
    prefix = assertEndsWith(stored.bytes, withLf(data));
    assertSizesInName(stored);
    assert.match(prefix, new RegExp(`^Return-Path: <${toLatin1(new TextEncoder().encode(from))}>\n`));
  }
  return prefix;
}
