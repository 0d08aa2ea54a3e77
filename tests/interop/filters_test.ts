// Filters that others wrote, asked by serve-in as an operator starts it.
import assert from "node:assert/strict";
import { ed25519Key, rsaKey, signByTheBook } from "../support/dkim.ts";
import { FakeDns } from "../support/fake_dns.ts";
import { arrival } from "../support/peers/arrivals.ts";
import { type ServeIn, startServeIn } from "../support/peers/mailapp.ts";
import { startOpenDkim, startSpamAssassin } from "../support/peers/milters.ts";
import { sendRaw } from "../support/peers/raw_smtp.ts";
import { startRspamd } from "../support/peers/rspamd.ts";
import { testWith } from "../support/requires.ts";

const CHECKS = { spf: false, dkim: false, arc: false, dmarc: "off" };
const GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

function message(subject: string, body = "Hello Alice, how are you?", test = ""): string {
  return `Received: from mail.client.test (mail.client.test [192.0.2.7]) by relay.client.test;\r\n` +
    `\tMon, 30 Nov 2026 06:00:00 +0000\r\nFrom: Joe <joe@client.test>\r\nTo: Alice <alice@example.test>\r\n` +
    `Subject: ${subject}\r\nDate: ${new Date().toUTCString().replace("GMT", "+0000")}\r\n` +
    (test === "" ? "" : `X-Test: ${test}\r\n`) +
    `Message-ID: <${subject}@client.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n` +
    `${body}\r\n`;
}

async function send(server: ServeIn, text: string): Promise<string> {
  return await sendRaw({
    port: server.port,
    from: "joe@client.test",
    to: ["alice@example.test"],
    data: new TextEncoder().encode(text),
  });
}

/** A message in a folder of Alice's, as it stands on the disk. */
async function stored(
  server: ServeIn,
  { subject, folder = "" }: { subject: string; folder?: string },
): Promise<string> {
  const maildir = server.maildir("alice@example.test");
  return (await arrival(folder === "" ? maildir : `${maildir}/${folder}`, `<${subject}@client.test>`)).text;
}

const LARGE = `${"A line of a large message, as there are many.\r\n".repeat(20_000)}`;

testWith(["rspamd"], "Rspamd refuses, marks and lets pass, over HTTP and as a milter", async (t) => {
  await using dns = await FakeDns.start();
  await using rspamd = await startRspamd({ dnsPort: dns.port });
  const filters = {
    HTTP: `rspamd:http://127.0.0.1:${rspamd.port}`,
    "as a milter": `milter:127.0.0.1:${rspamd.milterPort}`,
  };
  for (const [way, filter] of Object.entries(filters)) {
    await using server = await startServeIn({ checks: { ...CHECKS, filter, filter_failure: "defer" } });
    await t.step(`${way}: GTUBE is refused`, async () => {
      await assert.rejects(
        send(server, message("gtube", GTUBE)),
        /answered 55\d[ -]5\.7\.1 .*gtube/i,
      );
    });
    for (const [size, more] of [["small", ""], ["large", LARGE]] as const) {
      await t.step(`${way}, ${size}: an ordinary message passes`, async () => {
        const subject = `ordinary-${size}`;
        await send(server, message(subject, `Hello\r\n${more}`));
        const text = await stored(server, { subject });
        if (way === "HTTP") assert.match(text, /^X-Spam-Status: No, score=-?[\d.]+ required=15 */m);
        assert.ok(text.endsWith(`Hello\n${more.replaceAll("\r\n", "\n")}\n`));
      });
      await t.step(`${way}, ${size}: what it marks is junk`, async () => {
        const subject = `marked-${size}`;
        await send(server, message(subject, `Hello\r\n${more}`, "marked"));
        const text = await stored(server, { subject, folder: ".Junk" });
        assert.match(text, /^X-Spam-Flag: YES *$/m);
        if (way !== "HTTP") assert.match(text, /^X-Spam: Yes *$/m);
        assert.ok(text.endsWith(`Hello\n${more.replaceAll("\r\n", "\n")}\n`));
      });
      await t.step(`${way}, ${size}: a subject is rewritten`, async () => {
        const subject = `rewritten-${size}`;
        await send(server, message(subject, `Hello\r\n${more}`, "rewritten"));
        // As a milter it says nothing of junk then.
        const text = await stored(server, { subject, ...(way === "HTTP" && { folder: ".Junk" }) });
        assert.match(text, new RegExp(`^Subject: \\[junk\\] ${subject}$`, "m"));
        assert.doesNotMatch(text, new RegExp(`^Subject: ${subject}`, "m"));
        assert.ok(text.endsWith(`Hello\n${more.replaceAll("\r\n", "\n")}\n`));
      });
    }
  }
});

testWith(
  ["opendkim"],
  "OpenDKIM as a milter sees what was sent, byte for byte, and adds its field",
  async () => {
    const keys = { rsa: rsaKey(2048), ed: ed25519Key() };
    await using milter = await startOpenDkim({
      "rsa._domainkey.client.test": `v=DKIM1; ${keys.rsa.record}`,
      "ed._domainkey.client.test": `v=DKIM1; ${keys.ed.record}`,
    });
    await using server = await startServeIn({
      checks: { ...CHECKS, filter: `milter:unix:${milter.path}`, filter_failure: "defer" },
    });
    let count = 0;
    for (const c of ["simple/simple", "relaxed/relaxed"]) {
      for (const [s, key] of Object.entries(keys)) {
        for (const more of ["", LARGE]) {
          const subject = `signed-${++count}`;
          const tags = { a: s === "rsa" ? "rsa-sha256" : "ed25519-sha256", c, s, d: "client.test" };
          // White space as it is, which simple signs.
          const text = message(subject, `Hello \t \r\n\r\n ${more}\r\n\r\n`).replace(
            "Subject: ",
            "Subject:   ",
          );
          await send(server, signByTheBook({ message: text, key, tags }));
          const arrived = await stored(server, { subject });
          assert.match(
            arrived,
            /^Authentication-Results: opendkim\.test;\s+dkim=pass /m,
            `${subject} ${c} ${s}`,
          );
        }
      }
    }
    await send(server, message("unsigned"));
    assert.match(
      await stored(server, { subject: "unsigned" }),
      /^Authentication-Results: opendkim\.test;\s+dkim=none/m,
    );
    // libmilter hangs up at a packet of 64 KiB: no sender is to get past a filter by that.
    for (
      const [subject, field] of [["value", `X: ${"y ".repeat(50_000)}`], ["name", `${"N".repeat(70_000)}: x`]]
    ) {
      await send(server, `${field}\r\n${message(`long-${subject}`)}`);
      assert.match(
        await stored(server, { subject: `long-${subject}` }),
        /^Authentication-Results: opendkim\.test;/m,
      );
    }
  },
);

testWith(["spamd", "spamass-milter"], "SpamAssassin refuses, marks and lets pass, as a milter", async (t) => {
  await using milter = await startSpamAssassin({ rejectFrom: 2000 });
  await using server = await startServeIn({
    checks: { ...CHECKS, filter: `milter:unix:${milter.path}`, filter_failure: "defer" },
  });
  await t.step("an ordinary message passes, with its score", async () => {
    await send(server, message("ordinary"));
    assert.match(await stored(server, { subject: "ordinary" }), /^X-Spam-Status: No, score=/m);
  });
  await t.step("GTUBE is junk below the score that it refuses", async () => {
    await send(server, message("gtube", GTUBE));
    const text = await stored(server, { subject: "gtube", folder: ".Junk" });
    assert.match(text, /^X-Spam-Flag: YES *$/m);
    assert.match(text, /^X-Spam-Status: Yes, score=/m);
  });
  await t.step("and refused above it", async () => {
    await using strict = await startSpamAssassin({ rejectFrom: 100 });
    await using refusing = await startServeIn({
      checks: { ...CHECKS, filter: `milter:unix:${strict.path}` },
    });
    await assert.rejects(send(refusing, message("refused", GTUBE)), /answered 55\d[ -]5\.7\.1 /);
    await assert.rejects(Deno.stat(`${refusing.maildir("alice@example.test")}/.Junk`), Deno.errors.NotFound);
  });
});

testWith([], "serve-in does without a filter that is down, or puts mail off, as it is told", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const filter = `milter:127.0.0.1:${(listener.addr as Deno.NetAddr).port}`;
  listener.close();
  await using accepting = await startServeIn({ checks: { ...CHECKS, filter } });
  await send(accepting, message("accepted"));
  await stored(accepting, { subject: "accepted" });
  await accepting.program.line(/"event":"filter\.failed"/);
  await using deferring = await startServeIn({
    checks: { ...CHECKS, filter: [filter, "rspamd:http://127.0.0.1:1"], filter_failure: "defer" },
  });
  await assert.rejects(send(deferring, message("deferred")), /answered 451 4\.7\.1 A filter does not answer/);
});
