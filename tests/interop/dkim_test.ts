// What serve-out signs, with keys of mailapp dkim, as OpenDKIM sees it where the mail arrived.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { runMailapp } from "../support/mailapp.ts";
import { arrival, type StoredMessage } from "../support/peers/arrivals.ts";
import { type ServeIn, type ServeOut, startServeIn, startServeOut } from "../support/peers/mailapp.ts";
import { type DkimVerdict, verifyWithOpenDkim } from "../support/peers/opendkim.ts";
import { Dialogue, sendRaw } from "../support/peers/raw_smtp.ts";
import { runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const BOTH: readonly DkimVerdict[] = [
  { result: "pass", domain: "example.test", selector: "s1", algorithm: "rsa-sha256" },
  { result: "pass", domain: "example.test", selector: "e1", algorithm: "ed25519-sha256" },
];

/** Makes a key, and lets the running server have the lines that are printed for the configuration. */
async function addKey(server: ServeOut, ...args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await runMailapp([
    "dkim",
    "new",
    "example.test",
    ...args,
    "--config",
    server.config,
  ]);
  assert.equal(code, 0, stderr);
  const [lines] = /^\[dkim\]\n[^]*?\n\n/m.exec(stdout) ?? [];
  const [before] = (await Deno.readTextFile(server.config)).split("\n[dkim]\n");
  await Deno.writeTextFile(server.config, `${before}\n${lines}`);
}

async function publishedRecords(server: ServeOut): Promise<Record<string, string>> {
  const { stdout } = await runMailapp(["dkim", "show", "--json", "--config", server.config]);
  const keys = JSON.parse(stdout) as { name: string; value: string }[];
  return Object.fromEntries(keys.map(({ name, value }) => [name, value]));
}

const HEADER = "From: Joe <joe@example.test>\r\nTo: alice@example.test\r\n";

/** One character a byte; the marker is in each body. */
const MESSAGES: Readonly<Record<string, (marker: string) => string>> = {
  "plain": (marker) => `${HEADER}Subject: Hello\r\n\r\n${marker}\r\n\r\n..\r\n. x \t\r\n\r\n\r\n`,
  "8-bit": (marker) =>
    `From: J\xf6 <joe@example.test>\r\nSubject: \xe4\xa0 \xff\t x \r\n\r\n${marker}\xa0 \xe9\t\xff \r\n`,
  "folded": (marker) =>
    `${HEADER}Subject:\r\n a\r\n\tb   c \r\n d\r\nReferences:${
      " <x@y.test>\r\n\t".repeat(300)
    } <z@y.test>\r\n` +
    `Content-Type: text/plain;\r\n\tcharset=utf-8\r\n\r\n${marker}\r\n`,
  "bare": (marker) => `from:joe\r\nTo: alice\r\n\r\n${marker}\r\n`,
  "empty": (marker) => `${HEADER}Subject: ${marker}\r\n\r\n`,
  "long lines": (marker) => `${HEADER}\r\n${marker}${"x".repeat(5000)}\r\n${" y ".repeat(3000)}\r\n`,
  "large (10 MB)": (marker) =>
    `${HEADER}Subject: x\r\n\r\n${marker}\r\n` + "The quick brown  fox.\t \r\n\r\n".repeat(370_000),
};

testWith(
  ["opendkim", "opendkim-testmsg", "opendkim-genkey"],
  "OpenDKIM verifies what serve-out signs",
  async (t) => {
    await using receiver = await startServeIn();
    await using server = await startServeOut({
      routes: { "example.test": `127.0.0.1:${receiver.port}` },
      settings: { qualify_domain: "example.test" },
    });

    const pass = async (marker: string, message: string): Promise<StoredMessage> => {
      await sendRaw({
        port: server.port,
        from: "joe@example.test",
        to: ["alice@example.test"],
        data: Buffer.from(message, "latin1"),
        mailParameters: "BODY=8BITMIME",
      });
      return await arrival(receiver.maildir("alice@example.test"), marker);
    };

    await t.step("without a key nothing is signed", async () => {
      const { bytes, text } = await pass("unsigned", `${HEADER}\r\nunsigned\r\n`);
      assert.doesNotMatch(text, /DKIM-Signature/);
      await assert.rejects(verifyWithOpenDkim(bytes, {}), /message not signed/);
    });

    await addKey(server, "--selector", "s1");
    await addKey(server, "--selector", "e1", "--ed25519");
    Deno.kill(server.program.pid, "SIGHUP");
    await server.event("config.reloaded");
    const records = await publishedRecords(server);
    assert.deepEqual(Object.keys(records), ["s1._domainkey.example.test", "e1._domainkey.example.test"]);

    let count = 0;
    for (const [name, compose] of Object.entries(MESSAGES)) {
      await t.step(`a ${name} message, with both keys`, async () => {
        const marker = `marker${++count}.`;
        const { bytes } = await pass(marker, compose(marker));
        assert.deepEqual(await verifyWithOpenDkim(bytes, records), BOTH);
      });
    }

    await t.step("a message that ends without a line end, by BDAT", async () => {
      const data = Buffer.from(`${HEADER}\r\nbdat.`);
      using connection = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
      const dialogue = new Dialogue(connection);
      await dialogue.expect(220);
      await dialogue.say("EHLO client.test", 250);
      await dialogue.say("MAIL FROM:<joe@example.test>", 250);
      await dialogue.say("RCPT TO:<alice@example.test>", 250);
      await dialogue.send(Buffer.from(`BDAT ${data.length} LAST\r\n${data}`));
      await dialogue.expect(250);
      const { bytes } = await arrival(receiver.maildir("alice@example.test"), "bdat.");
      assert.deepEqual(await verifyWithOpenDkim(bytes, records), BOTH);
    });

    await t.step("a message that somebody else has signed keeps that signature", async () => {
      const { message, record } = await signedElsewhere(
        server,
        `${HEADER}Date: Tue, 24 Nov 2026 06:00:00 +0000\r\n\r\nmulti  \r\n`,
      );
      const { bytes } = await pass("multi", message);
      const verdicts = await verifyWithOpenDkim(bytes, { ...records, ...record });
      assert.deepEqual(verdicts, [
        ...BOTH,
        { result: "pass", domain: "elsewhere.test", selector: "x", algorithm: "rsa-sha1" },
      ]);
    });

    await t.step("a notice of ours", async () => {
      const notice = await failureNotice(server, receiver);
      assert.match(notice.text, /^From: .*<MAILER-DAEMON@out\.example\.test>$/m);
      assert.deepEqual(await verifyWithOpenDkim(notice.bytes, records), BOTH);
    });

    await t.step("one more From or Subject, or one more byte, spoils the signatures", async () => {
      const { text } = await pass("spoilt", `${HEADER}Subject: x\r\n\r\nspoilt\r\n`);
      for (
        const changed of [
          `From: eve@example.test\n${text}`,
          `Subject: y\n${text}`,
          `Reply-To: eve@example.test\n${text}`,
          text.replace("spoilt\n", "spoilt!\n"),
          `${text}more\n`,
        ]
      ) {
        const verdicts = await verifyWithOpenDkim(Buffer.from(changed, "latin1"), records);
        assert.ok(verdicts.every(({ result }) => result !== "pass"), changed);
      }
      assert.deepEqual(await verifyWithOpenDkim(Buffer.from(`X-More: x\n${text}`, "latin1"), records), BOTH);
    });
  },
);

/** The message with a signature of OpenDKIM's for another domain. */
async function signedElsewhere(
  { folder }: ServeOut,
  text: string,
): Promise<{ message: string; record: Record<string, string> }> {
  const keys = await folder.mkdir("elsewhere");
  await runOk("opendkim-genkey", { args: ["-b", "2048", "-s", "x", "-d", "elsewhere.test", "-D", keys] });
  const message = await runOk("opendkim-testmsg", {
    args: ["-C", "-d", "elsewhere.test", "-k", `${keys}/x.private`, "-s", "x"],
    stdin: text,
  });
  const zone = await Deno.readTextFile(`${keys}/x.txt`);
  // That tool signs with SHA-1 alone (and c=relaxed/simple), which its own record would not allow.
  const value = [...zone.matchAll(/"([^"]*)"/g)].map(([, part]) => part).join("").replace("h=sha256; ", "");
  return { message, record: { "x._domainkey.elsewhere.test": value } };
}

async function failureNotice(server: ServeOut, receiver: ServeIn): Promise<StoredMessage> {
  await sendRaw({
    port: server.port,
    from: "bob@example.test",
    to: ["nobody@example.test"],
    data: Buffer.from(`${HEADER}\r\nnowhere\r\n`),
  });
  return await arrival(receiver.maildir("bob@example.test"), "multipart/report");
}
