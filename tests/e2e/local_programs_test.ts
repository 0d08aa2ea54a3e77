// What local programs hand in, and what leaves: through the port of a running serve-out, and through sendmail.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import { type ServeOut, startServeOut } from "../support/peers/mailapp.ts";
import { startOldServer } from "../support/peers/old_server.ts";
import { run } from "../support/peers/process.ts";
import { Dialogue } from "../support/peers/raw_smtp.ts";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));
const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const utf8 = (text: string) => Buffer.from(text).toString("latin1");

interface Way {
  readonly name: string;
  /** Hands in a message, one character an octet. */
  readonly send: (server: ServeOut, message: string) => Promise<void>;
}

const byPort: Way = {
  name: "the port",
  async send({ port }, message) {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    const dialogue = new Dialogue(connection);
    await dialogue.expect(220);
    await dialogue.say("EHLO raw.test", 250);
    await dialogue.say("MAIL FROM:<me@home.test> BODY=8BITMIME", 250);
    await dialogue.say("RCPT TO:<you@away.test>", 250);
    await dialogue.say("DATA", 354);
    // Lines end in bare LF, after which no dot is stuffed.
    await dialogue.send(bytes(message));
    await dialogue.say("\r\n.", 250);
    await dialogue.say("QUIT", 221);
  },
};

const bySendmail: Way = {
  name: "sendmail",
  async send({ config }, message) {
    const { code, stderr } = await run(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-prompt",
        MAIN,
        "sendmail",
        "-C",
        config,
        "-i",
        "-f",
        "me@home.test",
        "you@away.test",
      ],
      stdin: bytes(message),
    });
    assert.equal(code, 0, stderr);
  },
};

const HEAD = "Date: Tue, 24 Nov 2026 06:00:00 +0000\nMessage-ID: <a@b>\nFrom: me@home.test\n";

/** What is handed in, and what must leave below our own Received; lines end in LF here. */
const CASES: readonly (readonly [what: string, came: string, left: string | RegExp])[] = [
  ["a whole message", `${HEAD}Subject: x\n\n.\nHi\n`, `${HEAD}Subject: x\n\n.\nHi\n`],
  ["Bcc", `${HEAD}Bcc: secret@x.test,\n\tother@x.test\nSubject: x\n\nHi\n`, `${HEAD}Subject: x\n\nHi\n`],
  [
    "CR CR LF",
    `${HEAD}Subject: x\n\nHi\n\nHo\n`.replaceAll("\n", "\r\r\n"),
    `${HEAD}Subject: x\n\nHi\n\nHo\n`,
  ],
  ["a line of an mbox file", `From root Tue Nov 24 06:00:00 2026\n${HEAD}\nHi\n`, `${HEAD}\nHi\n`],
  ["a byte order mark", `\xef\xbb\xbf${HEAD}\nHi\n`, `${HEAD}\nHi\n`],
  [
    "an empty Message-ID and Date, no From",
    "Message-ID:\nDate: \nSubject: x\n\nHi\n",
    /^Date: .+ \+0000\nMessage-ID: <\w+@out\.example\.test>\nFrom: me@home\.test\nSubject: x\n\nHi\n$/,
  ],
  [
    "text alone, with a Bcc in its first paragraph",
    "Hi\nBcc: x\n\nBcc: y\n",
    /^Date: .+\nMessage-ID: .+\nFrom: me@home\.test\n\nHi\n\nBcc: y\n$/,
  ],
  [
    "a raw subject",
    `${HEAD}Subject: ${utf8("Grüße")}\n\nHi\n`,
    `${HEAD}Subject: =?utf-8?B?R3LDvMOfZQ==?=\n\nHi\n`,
  ],
  [
    "a long line",
    `${HEAD}\n${"word ".repeat(300)}\n`,
    /^Date[^]*\nMIME-Version: 1\.0\nContent-Transfer-Encoding: quoted-printable\n\n(?:(?:word ){15}=\n)+[^]*=20\n$/,
  ],
  [
    "a long field",
    `${HEAD}To: ${"a@b.test, ".repeat(150)}c@d.test\n\nHi\n`,
    /^Date[^]*\nTo: a@b\.test, .{0,70}\n a@b/,
  ],
];

Deno.test("what local programs write is repaired before it leaves, by the port and by sendmail alike", async (t) => {
  await using peer = startOldServer();
  await using serveOut = await startServeOut({ routes: { "*": `127.0.0.1:${peer.port}` } });
  for (const { name, send } of [byPort, bySendmail]) {
    for (const [what, came, left] of CASES) {
      await t.step(`${what}, through ${name}`, async () => {
        await send(serveOut, came);
        const message = (await peer.message()).replaceAll("\r\n", "\n");
        assert.match(message, /^[\t\n -~]*$/);
        for (const line of message.split("\n")) assert.ok(line.length <= 998);
        const text = message.replace(/^Received: .*\n(?:[ \t].*\n)*/, "");
        // The port's own end of the data is a separate line.
        const sent = name === "the port" ? text.replace(/\n$/, "") : text;
        if (typeof left === "string") assert.equal(sent, left);
        else assert.match(sent, left);
      });
    }
  }
});

Deno.test("a notice with all of a message of eight bits gets back to a sender whose server has seven", async () => {
  await using peer = startOldServer();
  await using serveOut = await startServeOut({
    routes: { "home.test": `127.0.0.1:${peer.port}` },
    settings: { expire_after: "1d" },
  });
  using connection = await Deno.connect({ hostname: "127.0.0.1", port: serveOut.port });
  const dialogue = new Dialogue(connection);
  await dialogue.expect(220);
  await dialogue.say("EHLO raw.test", 250);
  await dialogue.say("MAIL FROM:<me@home.test> BODY=8BITMIME RET=FULL", 250);
  // The old server takes no 8-bit content, which is why it comes back; and where it goes back to is that server.
  await dialogue.say("RCPT TO:<you@home.test>", 250);
  await dialogue.say("DATA", 354);
  await dialogue.send(bytes(`From: me@home.test\r\nSubject: x\r\n\r\n${utf8("Grüße")}\r\n.\r\n`));
  await dialogue.expect(250);
  const notice = await peer.message();
  assert.match(notice, /^[\t\r\n -~]*$/);
  assert.match(notice, /Status: 5\.6\.3\r\n/);
  assert.match(
    notice,
    /Content-Type: message\/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n[^]*Gr=C3=BC=C3=9Fe\r\n/,
  );
  await serveOut.event("queue.done");
});
