// Mail readers on the Maildirs that serve-in fills, as an account of their own that is in the Maildirs' group.
import assert from "node:assert/strict";
import { arrival, type StoredMessage, storedMessages, toLatin1 } from "../support/peers/arrivals.ts";
import { imapReader, startDovecot } from "../support/peers/dovecot.ts";
import { type ServeIn, startServeIn } from "../support/peers/mailapp.ts";
import { mutt } from "../support/peers/mutt.ts";
import { PYTHON, runOk } from "../support/peers/process.ts";
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

// In a mount and a network namespace of its own: the paths, accounts and ports are those of the guide.
testWith(
  ["dovecot", "doveadm", "groupadd", "ip", "mount", "openssl", PYTHON, "unshare", "useradd"],
  "Dovecot, set up by docs/guide/dovecot.md, gives out what serve-in stored",
  async () => {
    const guide = await Deno.readTextFile(new URL("../../docs/guide/dovecot.md", import.meta.url));
    const blocks = [...guide.matchAll(/^```(\w+)\n([^]*?)^```$/gm)];
    const [installing, restarting, ...more] = blocks.filter(([, kind]) => kind === "console");
    assert.deepEqual(more, []);
    const [, , configuration = ""] = blocks.find(([, kind]) => kind === "text") ?? [];
    assert.match(configuration, /^mail_location = /);
    const typed = (installing?.[2] ?? "").split("\n").filter((line) => !line.startsWith("apt-get "))
      .map((line) => line.includes("doveadm pw") ? `printf 'secret\nsecret\n' | ( ${line} )` : line);
    assert.match(
      restarting?.[2] ?? "",
      /^systemctl restart dovecot\ndoveadm auth test alice@example\.com\n$/,
    );

    await using server = await startServeIn({ readerGid: READERS_GID, domains: ["example.com"] });
    const stored = await deliver(server, "alice@example.com");
    const script = `
      over() {
        mkdir -p "$at/$1/upper" "$at/$1/work"
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$at/$1/upper,workdir=$at/$1/work" "$1"
      }
      at=$(mktemp -d)
      mount -t tmpfs tmpfs "$at"
      over /etc
      over /var/lib
      mount --bind "$1" /var/mail
      mount -t tmpfs -o mode=755 tmpfs /run
      ip link set lo up
      groupadd --gid ${READERS_GID} mailapp
      # What Debian's package does.
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=mx.example.com \
        -keyout /etc/dovecot/private/dovecot.key -out /etc/dovecot/private/dovecot.pem 2>/dev/null
      ${typed.join("\n")}
      cat >/etc/dovecot/local.conf
      dovecot
      echo secret | doveadm auth test alice@example.com
      exec ${PYTHON} -c "$2"`;
    const reader = `
import imaplib
imap = imaplib.IMAP4_SSL("localhost", 993)
imap.login("alice@example.com", "secret")
imap.select()
for uid in imap.uid("SEARCH", "ALL")[1][0].split():
    imap.uid("STORE", uid, "+FLAGS", "(\\\\Seen)")
    print(imap.uid("FETCH", uid, "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1])
imap.logout()`;
    const output = await runOk("unshare", {
      args: [
        ...["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-euc", script, "sh"],
        ...[server.folder.at("mail"), reader],
      ],
      stdin: configuration,
    });
    assert.match(output, /auth succeeded/);
    for (const subject of SUBJECTS) {
      assert.match(output, new RegExp(String.raw`FLAGS \(\\+Seen.*Subject: ${subject}\b`));
    }
    const maildir = server.maildir("alice@example.com");
    assert.deepEqual(await storedMessages(maildir), [], "all have been seen by the reader");
    assert.equal((await names(`${maildir}/cur`)).length, stored.length);
    await deliver(server, "alice@example.com", ["late"]);
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
