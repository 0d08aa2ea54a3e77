// Mail readers on the Maildirs that serve-in fills, as an account of their own that is in the Maildirs' group.
import assert from "node:assert/strict";
import { arrival, type StoredMessage, storedMessages, toLatin1 } from "../support/peers/arrivals.ts";
import { imapReader, startDovecot } from "../support/peers/dovecot.ts";
import { type ServeIn, startServeIn } from "../support/peers/mailapp.ts";
import { mutt } from "../support/peers/mutt.ts";
import { PYTHON } from "../support/peers/process.ts";
import { sendRaw, withCrlf } from "../support/peers/raw_smtp.ts";
import { testWith } from "../support/requires.ts";

// Numbers suffice; neither has an entry in /etc/passwd.
const READER_UID = 42_011;
const READERS_GID = 42_010;

testWith(["dovecot", PYTHON], "Dovecot lists, marks and moves what serve-in stored", async () => {
  await using server = await startServeIn({ readerGid: READERS_GID });
  const stored = await deliver(server, "alice@example.test");
  const maildir = server.maildir("alice@example.test");
  await using dovecot = await startDovecot({
    mailboxes: [{ user: "alice", maildir, uid: READER_UID, gid: READERS_GID }],
  });
  const reader = imapReader(dovecot.port, "alice");

  const listed = await reader.list();
  assert.deepEqual(
    listed.map(({ text }) => text).sort(),
    stored.map(({ bytes }) => toLatin1(withCrlf(bytes))).sort(),
  );
  for (const { size, text } of listed) {
    assert.equal(size, text.length);
    const { name = "" } = stored.find(({ bytes }) => toLatin1(withCrlf(bytes)) === text) ?? {};
    assert.equal(size, Number(name.match(/,W=(\d+)$/)?.[1]), name);
  }

  const [first, second] = listed;
  assert.ok(first && second);
  await reader.markSeen(first.uid);
  await reader.move(second.uid, "Archive");
  const after = await reader.list();
  assert.equal(after.find(({ uid }) => uid === first.uid)?.flags, "\\Seen");
  assert.equal(after.length, listed.length - 1);
  assert.deepEqual((await reader.list("Archive")).map(({ text }) => text), [second.text]);
  assert.deepEqual(await storedMessages(maildir), [], "all have been seen by the reader");

  await deliver(server, "alice@example.test", ["late"]);
  assert.ok((await reader.list()).some(({ text }) => text.includes("Subject: late\r\n")));
});

testWith(
  ["dovecot", PYTHON],
  "somebody who opens the inbox before the first message gets that message",
  async () => {
    await using server = await startServeIn({ readerGid: READERS_GID });
    const maildir = server.maildir("bob@example.test");
    await server.program.line(/"maildir\.made".*"bob@example\.test"/);
    const { uid, gid, mode } = await Deno.stat(maildir);
    assert.deepEqual([uid, gid, (mode ?? 0) & 0o7777], [Deno.uid(), READERS_GID, 0o2770]);
    await using dovecot = await startDovecot({
      mailboxes: [{ user: "bob", maildir, uid: READER_UID, gid: READERS_GID }],
    });
    const reader = imapReader(dovecot.port, "bob");
    assert.deepEqual(await reader.list(), []);
    await deliver(server, "bob@example.test", ["first"]);
    assert.ok((await reader.list()).some(({ text }) => text.includes("Subject: first\r\n")));
  },
);

testWith(["mutt", "script", "setpriv"], "mutt lists, marks and moves what serve-in stored", async () => {
  await using server = await startServeIn({ readerGid: READERS_GID });
  await deliver(server, "bob@example.test");
  const maildir = server.maildir("bob@example.test");

  const screen = await mutt({
    maildir,
    keys: "<first-entry><display-message><exit><last-entry><save-message>=.Saved<enter>",
    uid: READER_UID,
    gid: READERS_GID,
  });
  for (const subject of SUBJECTS) assert.ok(screen.includes(subject), subject);
  const left = [...await names(`${maildir}/cur`), ...await names(`${maildir}/new`)];
  const saved = [...await names(`${maildir}/.Saved/cur`), ...await names(`${maildir}/.Saved/new`)];
  assert.equal(left.length, SUBJECTS.length - 1);
  assert.equal(saved.length, 1);
  assert.ok(left.some((name) => name.endsWith(":2,S")), left.join(" "));
});

const SUBJECTS = ["first", "second", "third"];

async function deliver(
  server: ServeIn,
  address: string,
  subjects: readonly string[] = SUBJECTS,
): Promise<StoredMessage[]> {
  const stored: StoredMessage[] = [];
  for (const subject of subjects) {
    const data =
      `From: joe@client.test\r\nTo: ${address}\r\nSubject: ${subject}\r\n\r\nGrüße\r\n.\r\nend\r\n`;
    await sendRaw({
      port: server.port,
      from: "joe@client.test",
      to: [address],
      data: new TextEncoder().encode(data),
      mailParameters: "BODY=8BITMIME",
    });
    stored.push(await arrival(server.maildir(address), `Subject: ${subject}\n`));
  }
  return stored;
}

async function names(directory: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
}
