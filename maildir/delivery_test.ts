import assert from "node:assert/strict";
import { join } from "@std/path";
import {
  context,
  deliver,
  envelope,
  inSetting,
  MESSAGE,
  prepend,
  recipient,
  refusal,
} from "../tests/support/maildir_setting.ts";
import { Mailboxes } from "./mailboxes.ts";

const encoder = new TextEncoder();

Deno.test("MaildirDelivery stores a message with LF lines, trace fields on top and its sizes in the name", async () => {
  await inSetting({}, async ({ delivery, files, log }) => {
    await deliver(delivery, { to: ["alice@example.com"] });
    const [path = "", ...others] = files("alice");
    assert.deepEqual(others, []);
    const text = await Deno.readTextFile(path);
    assert.equal(
      text,
      "Return-Path: <sender@client.test>\nDelivered-To: alice@example.com\n" +
        "Received: from client.test ([192.0.2.1])\n\tby mx.example.com\nSubject: hello\n\nA line\n.\n",
    );
    const wire = text.length + text.split("\n").length - 1;
    assert.match(path, new RegExp(`\\.mx\\.example\\.com,S=${text.length},W=${wire}$`));
    assert.deepEqual(files("alice", "tmp"), []);
    assert.deepEqual(files("alice", "cur"), []);
    const [delivered] = log.named("message.delivered");
    const { id, ...fields } = delivered?.fields ?? {};
    assert.match(String(id), /^\w+$/);
    assert.deepEqual(fields, {
      session: "s1",
      mailbox: "alice@example.com",
      file: path,
      bytes: text.length,
    });
  });
});

const REFUSED: Record<string, [code: number, enhanced: string]> = {
  "nobody@example.com": [550, "5.1.1"],
  "../../etc@example.com": [550, "5.1.1"],
  "alice@example.org": [550, "5.7.1"],
  "u%x@example.com": [550, "5.7.1"],
  "alice@[127.0.0.1]": [550, "5.7.1"],
  "alice@[192.0.2.2]": [550, "5.7.1"],
  "postmaster@[192.0.2.1]": [550, "5.7.1"],
  "postmaster@[IPv6:2001:db8::1]": [550, "5.7.1"],
};

for (const [address, [code, enhanced]] of Object.entries(REFUSED)) {
  Deno.test(`MaildirDelivery.checkRecipient() refuses ${address} with ${code} ${enhanced}`, async () => {
    await inSetting({}, async ({ directory, delivery }) => {
      const decision = await delivery.checkRecipient(recipient(address), context);
      assert.ok(!decision.accepted);
      assert.deepEqual([decision.reply.code, decision.reply.enhanced], [code, enhanced]);
      assert.deepEqual([...Deno.readDirSync(directory)], []);
    });
  });
}

Deno.test("MaildirDelivery.checkRecipient() accepts local mailboxes, and makes none yet", async () => {
  await inSetting({}, async ({ directory, delivery }) => {
    for (const address of ["alice@example.com", "both@example.com", "Postmaster@"]) {
      assert.deepEqual(await delivery.checkRecipient(recipient(address), context), { accepted: true });
    }
    assert.deepEqual([...Deno.readDirSync(directory)], []);
  });
});

Deno.test("MaildirDelivery.makeMaildirs() makes those that are not there, for the group, and tells of what is wrong", async () => {
  await inSetting({}, async ({ directory, delivery, log }) => {
    const home = join(directory, "mail", "example.com");
    await Deno.mkdir(home, { recursive: true });
    await Deno.symlink("/etc", join(home, "bob"));
    await delivery.makeMaildirs();
    for (const part of ["", "tmp", "new", "cur"]) {
      const { mode, isDirectory } = await Deno.lstat(join(home, "alice", part));
      assert.deepEqual([isDirectory, (mode ?? 0) & 0o7777], [true, 0o2770]);
    }
    assert.deepEqual(log.named("maildir.made").map(({ fields }) => fields["mailbox"]), [
      "alice@example.com",
      "carol@example.com",
    ]);
    assert.match(String(log.named("maildir.not_made")[0]?.fields["error"]), /symbolic link/);
    await delivery.makeMaildirs();
    assert.equal(log.named("maildir.made").length, 2);
  });
});

Deno.test("MaildirDelivery has a postmaster at the address that the client has connected to (RFC 1123 section 5.2.17)", async () => {
  await inSetting({}, async ({ delivery, files }) => {
    for (
      const [address, literal] of [
        ["192.0.2.2", "[192.0.2.2]"],
        ["2001:db8::2", "[IPv6:2001:db8::2]"],
        ["2001:db8::2", "[IPv6:2001:db8:0:0:0:0:0:2]"],
      ] as const
    ) {
      const asked = { origin: { id: "s1", local: { address, port: 25 } } };
      for (const name of ["postmaster", "PostMaster"]) {
        const { forwardPath } = recipient(`${name}@${literal}`);
        assert.deepEqual(await delivery.checkRecipient({ forwardPath }, asked), { accepted: true });
      }
      await using pending = await delivery.begin(envelope(`postmaster@${literal}`), asked);
      await pending.write(encoder.encode(MESSAGE));
      await pending.commit(prepend);
    }
    assert.equal(files("alice").length, 3);
  });
});

Deno.test("MaildirDelivery.checkRecipient() refuses a mailbox that cannot be written to", async () => {
  await inSetting({}, async ({ directory, delivery, log }) => {
    const path = join(directory, "mail", "example.com", "bob");
    await Deno.mkdir(join(path, ".."), { recursive: true });
    await Deno.symlink("/etc", path);
    const decision = await delivery.checkRecipient(recipient("both@example.com"), context);
    assert.ok(!decision.accepted);
    assert.deepEqual([decision.reply.code, decision.reply.enhanced], [450, "4.2.0"]);
    assert.doesNotMatch(decision.reply.lines.join(), /etc|\//);
    const [event] = log.named("mailbox.unwritable");
    assert.equal(event?.fields.path, path);
    assert.match(String(event?.fields.error), /symbolic link/);
    // Whoever asks for it again and again fills no log.
    for (let i = 0; i < 10; i++) await delivery.checkRecipient(recipient("bob@example.com"), context);
    assert.equal(log.named("mailbox.unwritable").filter(({ level }) => level === "error").length, 1);
  });
});

Deno.test("MaildirDelivery stores one copy per mailbox, each with its own Delivered-To", async () => {
  await inSetting({}, async ({ delivery, files }) => {
    await deliver(delivery, {
      to: ["both@example.com", "alice+x@example.com", "ALICE@example.com", "bob@example.com"],
    });
    for (const user of ["alice", "bob"]) {
      const [path = "", ...others] = files(user);
      assert.deepEqual(others, []);
      const lines = (await Deno.readTextFile(path)).split("\n");
      assert.equal(lines[1], `Delivered-To: ${user}@example.com`);
    }
  });
});

Deno.test("MaildirDelivery.checkSender() refuses below the least free space, and looks once a second", async () => {
  let free = 100_000;
  let looks = 0;
  const room = () => {
    looks++;
    return Promise.resolve({ octets: free });
  };
  await inSetting({ minFreeSpace: 50_000, room }, async ({ delivery, clock, log, directory }) => {
    const { recipients: _, ...sender } = envelope();
    const check = async (size = 0) => await delivery.checkSender({ ...sender, size }, context);
    // A file takes 8 KiB beside its octets.
    await check(50_000 - 8192);
    await assert.rejects(check(50_001 - 8192), refusal(452, "4.3.1"));
    assert.deepEqual(log.named("storage.low_space")[0]?.fields, {
      session: "s1",
      path: join(directory, "mail"),
      free: 100_000,
      size: 50_001 - 8192,
      min_free_space: 50_000,
    });
    free = 49_999;
    await check();
    assert.equal(looks, 2);
    await clock.advance(1000);
    await assert.rejects(check(), refusal(452, "4.3.1"));
    await assert.rejects(deliver(delivery, { to: ["alice@example.com"] }), refusal(452, "4.3.1"));
    assert.equal(looks, 4);
  });
});

Deno.test("MaildirDelivery.mailboxes may be replaced between RCPT and DATA", async () => {
  await inSetting({}, async ({ directory, delivery, files }) => {
    const path = join(directory, "mail", "{domain}", "{user}");
    const aliases = { postmaster: "bob" };
    delivery.mailboxes = new Mailboxes({
      domains: ["example.com"],
      path,
      users: ["bob"],
      aliases,
      subaddressSeparator: "",
    });
    await assert.rejects(deliver(delivery, { to: ["alice@example.com"] }), refusal(451, "4.3.0"));
    await deliver(delivery, { to: ["bob@example.com"] });
    assert.equal(files("bob").length, 1);
  });
});

Deno.test("MaildirDelivery.cleanTmp() cleans the mailboxes that are there", async () => {
  await inSetting({}, async ({ delivery, clock, files, log }) => {
    await deliver(delivery, { to: ["both@example.com"] });
    const [path = ""] = files("bob");
    const left = path.replace("/new/", "/tmp/");
    await Deno.writeTextFile(left, "");
    await Deno.utime(left, new Date(clock.now() - 2 * 86_400_000), new Date(clock.now() - 2 * 86_400_000));
    assert.equal(await delivery.cleanTmp(), 1);
    assert.deepEqual(files("bob", "tmp"), []);
    assert.equal(log.named("maildir.cleaned")[0]?.fields.files, 1);
  });
});
