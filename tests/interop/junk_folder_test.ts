// The folder that junk is filed in, as Dovecot sees it: one that we made, and one that a mail program made before us.
import assert from "node:assert/strict";
import { Mailboxes } from "../../maildir/mailboxes.ts";
import { MaildirDelivery } from "../../maildir/delivery.ts";
import { silentLogger } from "../../base/log.ts";
import { StagingArea } from "../../storage/staging.ts";
import { deliver } from "../support/maildir_setting.ts";
import { imapReader, startDovecot } from "../support/peers/dovecot.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { PYTHON } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

// Numbers suffice; neither has an entry in /etc/passwd.
const READER_UID = 42_021;
const READERS_GID = 42_020;

testWith(
  ["dovecot", PYTHON],
  "Dovecot shows the folder for junk, whoever made it, and gives out what is in it",
  async () => {
    await using folder = await makeFolder("junk");
    const mail = await folder.mkdir("mail", { mode: 0o2775, gid: READERS_GID });
    const deliveryInto = (junkFolder: string) =>
      new MaildirDelivery({
        mailboxes: new Mailboxes({
          domains: ["example.com"],
          path: `${mail}/{user}`,
          users: ["alice"],
          aliases: { postmaster: "alice" },
          subaddressSeparator: "",
        }),
        hostname: "mx.example.com",
        staging: new StagingArea({ directory: folder.at("staging") }),
        junkFolder,
        minFreeSpace: 0,
        logger: silentLogger,
      });
    const send = (junkFolder: string, subject: string, junk = true) =>
      deliver(deliveryInto(junkFolder), {
        to: ["alice@example.com"],
        message: `Subject: ${subject}\r\n\r\nx\r\n`,
        filing: { junk },
      });
    await send("Junk", "wanted", false);
    await using dovecot = await startDovecot({
      mailboxes: [{ user: "alice", maildir: `${mail}/alice`, uid: READER_UID, gid: READERS_GID }],
    });
    const reader = imapReader(dovecot.port, "alice");
    const [wanted] = await reader.list();
    assert.match(wanted?.text ?? "", /^Subject: wanted\r$/m);

    await send("Junk", "ours");
    assert.deepEqual(await reader.subscribed(), ["Junk"]);
    const subjects = async (name: string) =>
      (await reader.list(name)).map(({ text }) => /^Subject: (\S+)/m.exec(text)?.[1]);
    assert.deepEqual(await subjects("Junk"), ["ours"]);
    assert.deepEqual(await subjects("INBOX"), ["wanted"]);

    // Made and owned by the reader's account, as a mail program has it made.
    await reader.move(wanted?.uid ?? 0, "Spam");
    assert.equal(Deno.lstatSync(`${mail}/alice/.Spam`).uid, READER_UID);
    await send("Spam", "theirs");
    assert.deepEqual((await subjects("Spam")).sort(), ["theirs", "wanted"]);
    await send("Lists.Junk mail", "nested");
    assert.deepEqual(await subjects('"Lists.Junk mail"'), ["nested"]);
    assert.deepEqual((await reader.subscribed()).sort(), ["Junk", "Lists.Junk mail"]);
  },
);
