// Programs that submit one message, and the corpus, byte for byte.
import assert from "node:assert/strict";
import {
  arrival,
  assertEndsWith,
  assertSizesInName,
  assertTraceOnly,
  storedMessages,
} from "../support/peers/arrivals.ts";
import { curl, msmtp, smtplib, swaks } from "../support/peers/clients.ts";
import { startServeIn } from "../support/peers/mailapp.ts";
import { PYTHON } from "../support/peers/process.ts";
import { sendRaw, withCrlf, withLf } from "../support/peers/raw_smtp.ts";
import { testWith, testWithData } from "../support/requires.ts";

const CLIENTS = [
  { program: "swaks", send: swaks },
  { program: "msmtp", send: msmtp },
  { program: "curl", send: curl },
  { program: PYTHON, send: smtplib },
];

for (const { program, send } of CLIENTS) {
  testWith(
    [program],
    `${send.name} submits to serve-in: plain, STARTTLS, port 465; IPv4, IPv6`,
    async (t) => {
      await using server = await startServeIn();
      for (const tls of ["plain", "starttls", "implicit"] as const) {
        for (const host of ["127.0.0.1", "::1"]) {
          await t.step(`${tls} over ${host}`, async () => {
            const marker = `${tls}-${host}`;
            // With a Date and a Message-ID, else msmtp adds them.
            const message = `From: <joe@client.test>\nSubject: ${marker}\n` +
              `Date: Tue, 24 Nov 2026 03:00:00 +0000\nMessage-ID: <${tls}@client.test>\n\n.\n..\nGrüße\nend\n`;
            await send({
              host,
              port: tls === "implicit" ? server.tlsPort : server.port,
              tls,
              from: "joe@client.test",
              to: ["alice@example.test", "bob@example.test"],
              message,
            });
            for (const address of ["alice@example.test", "bob@example.test"]) {
              const stored = await arrival(server.maildir(address), `Subject: ${marker}\n`);
              const received = assertTraceOnly(
                assertEndsWith(stored.bytes, new TextEncoder().encode(message)),
              );
              assert.ok(received.includes(host === "::1" ? "[IPv6:::1]" : "[127.0.0.1]"), received);
              assert.match(received, tls === "plain" ? / with ESMTP / : / with ESMTPS \(TLSv1\.3 /);
              assertSizesInName(stored);
            }
          });
        }
      }
    },
  );
}

const WAYS_IN = [
  {
    programs: [],
    title: "a raw client",
    send: (port: number, data: Uint8Array) => sendRaw({ ...ENVELOPE, port, data }),
  },
  {
    programs: [PYTHON],
    title: "smtplib over STARTTLS",
    send: (port: number, data: Uint8Array) =>
      smtplib({ ...ENVELOPE, port, host: "127.0.0.1", tls: "starttls", message: data }),
  },
];
const ENVELOPE = { from: "joe@client.test", to: ["alice@example.test"], mailParameters: "BODY=8BITMIME" };

for (const { programs, title, send } of WAYS_IN) {
  const name = `the corpus sent by ${title} arrives byte for byte`;
  testWithData("corpus", { programs, name }, async (corpus) => {
    await using server = await startServeIn();
    const names = [...Deno.readDirSync(corpus)].map(({ name }) => name).filter((name) =>
      name.endsWith(".eml")
    );
    assert.ok(names.length > 0);
    for (const name of names) {
      const data = endedByLine(withCrlf(await Deno.readFile(`${corpus}/${name}`)));
      const before = new Set(
        (await storedMessages(server.maildir("alice@example.test"))).map(({ name }) => name),
      );
      await send(server.port, data);
      const stored = (await storedMessages(server.maildir("alice@example.test")))
        .find(({ name }) => !before.has(name));
      assert.ok(stored, name);
      assertTraceOnly(assertEndsWith(stored.bytes, withLf(withoutReturnPath(data))));
      assertSizesInName(stored);
    }
  });
}

/** With a line end at the end, since DATA cannot send a message without. */
function endedByLine(data: Uint8Array): Uint8Array {
  return data.at(-1) === 0x0a ? data : new Uint8Array([...data, 0x0d, 0x0a]);
}

/** Return-Path lines from outside are replaced (RFC 5321 §4.4); in the corpus they have one line each, at the top. */
function withoutReturnPath(data: Uint8Array): Uint8Array {
  return /^return-path:/i.test(new TextDecoder().decode(data.subarray(0, 12)))
    ? data.subarray(data.indexOf(0x0a) + 1)
    : data;
}
