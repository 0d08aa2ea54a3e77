import assert from "node:assert/strict";
import { join } from "@std/path";
import { SmtpError } from "../smtp/reply.ts";
import { StagingArea } from "../storage/staging.ts";
import { settle } from "../tests/support/fake_clock.ts";
import { FaultyFileSystem, type FileCall } from "../tests/support/faulty_file_system.ts";
import {
  context,
  deliver,
  envelope,
  inSetting,
  MESSAGE,
  prepend,
  recipient,
} from "../tests/support/maildir_setting.ts";
import { Mailboxes } from "./mailboxes.ts";
import { until } from "../tests/support/until.ts";

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

for (const [code, enhanced] of [["EDQUOT", "4.2.2"], ["ENOSPC", "4.3.1"]] as const) {
  Deno.test(`MaildirDelivery.checkRecipient() answers 452 ${enhanced} to ${code} until there is room`, async () => {
    const fileSystem = new FaultyFileSystem();
    await inSetting({ fileSystem }, async ({ delivery, files }) => {
      await deliver(delivery, { to: ["alice@example.com"] });
      fileSystem.fault = (call, path) => call === "write" && path.includes("alice") ? code : undefined;
      await assert.rejects(deliver(delivery, { to: ["alice@example.com"] }), refusal(452, "4.3.1"));
      const decision = await delivery.checkRecipient(recipient("alice@example.com"), context);
      assert.ok(!decision.accepted);
      assert.deepEqual([decision.reply.code, decision.reply.enhanced], [452, enhanced]);
      assert.ok((await delivery.checkRecipient(recipient("bob@example.com"), context)).accepted);
      fileSystem.fault = () => undefined;
      assert.ok((await delivery.checkRecipient(recipient("alice@example.com"), context)).accepted);
      await deliver(delivery, { to: ["alice@example.com"] });
      assert.equal(files("alice").length, 2);
    });
  });
}

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

Deno.test("MaildirDelivery stores 100 recipients and a message on disk with few files open", async () => {
  const users = Array.from({ length: 100 }, (_, i) => `user${i}`);
  const fileSystem = new FaultyFileSystem();
  let open = 0;
  let most = 0;
  let noted = 0;
  fileSystem.before = () => {
    for (; noted < fileSystem.calls.length; noted++) {
      const call = fileSystem.calls[noted] ?? "";
      if (call.startsWith("open")) most = Math.max(most, ++open);
      if (call.startsWith("close")) open--;
    }
  };
  const mailboxes = { users, aliases: { postmaster: "user0" } };
  await inSetting({ mailboxes, fileSystem }, async ({ delivery, files }) => {
    const message = new Uint8Array(600_000).fill(120);
    await deliver(delivery, { to: users.map((user) => `${user}@example.com`), message, cut: 50_000 });
    for (const user of users) {
      const [path = ""] = files(user);
      const stored = await Deno.readFile(path);
      assert.deepEqual(stored.subarray(stored.length - message.length), message);
    }
  });
  assert.ok(most > 1 && most <= 20, `${most} files were open at once`);
});

Deno.test("MaildirDelivery keeps every byte of a large message, however it is cut", async () => {
  const line = Uint8Array.from({ length: 254 }, (_, i) => i < 10 ? i : i < 12 ? i + 1 : i + 2);
  const message = new Uint8Array(256 * 3000);
  const stored = new Uint8Array(255 * 3000);
  for (let i = 0; i < 3000; i++) {
    message.set(line, i * 256);
    message.set([13, 10], i * 256 + 254);
    stored.set(line, i * 255);
    stored[i * 255 + 254] = 10;
  }
  await inSetting({}, async ({ delivery, files }) => {
    await deliver(delivery, { to: ["both@example.com"], message, cut: 4093 });
    for (const user of ["alice", "bob"]) {
      const [path = ""] = files(user);
      const bytes = await Deno.readFile(path);
      assert.deepEqual(bytes.subarray(bytes.length - stored.length), stored);
      const [, size, wire] = /,S=(\d+),W=(\d+)$/.exec(path) ?? [];
      const lines = bytes.filter((byte) => byte === 10).length;
      assert.deepEqual([Number(size), Number(wire)], [bytes.length, bytes.length + lines]);
    }
  });
});

/** Lines of different lengths, with CRLF. */
function largeMessage(octets: number): string {
  const lines = Array.from(
    { length: Math.ceil(octets / 40) },
    (_, at) => `${at}: ${"x".repeat(at % 71)}\r\n`,
  );
  return `Subject: large\r\n\r\n${lines.join("")}`;
}

Deno.test("MaildirDelivery stores a large message for one mailbox there as it comes", async () => {
  const fileSystem = new FaultyFileSystem();
  await inSetting({ fileSystem }, async ({ delivery, directory, files, log }) => {
    const early = [{ name: "Return-Path", value: "<early@client.test>" }, {
      name: "Received",
      value: "a\r\n\tb",
    }];
    let asked = 0;
    const message = largeMessage(2_000_000);
    const bytes = encoder.encode(message);
    await using pending = await delivery.begin(envelope("alice@example.com"), {
      ...context,
      forecast: {
        fields: () => {
          asked++;
          return early;
        },
        reserve: () => 0,
      },
    });
    const give = async (from: number, to: number) => {
      // Cut at odd places, from memory that is used again.
      for (let at = from; at < to; at += 60_001) {
        const chunk = bytes.slice(at, Math.min(at + 60_001, to));
        await pending.write(chunk);
        chunk.fill(0);
      }
    };
    await give(0, 200_000);
    assert.equal(asked, 0);
    assert.deepEqual(files("alice", "tmp"), []);
    await give(200_000, 900_000);
    const [growing = ""] = files("alice", "tmp");
    assert.ok((await Deno.stat(growing)).size > 256 * 1024);
    await give(900_000, bytes.length);
    assert.deepEqual(files("alice"), []);
    await pending.commit(early);
    assert.equal(asked, 1);
    assert.deepEqual(files("alice", "tmp"), []);
    const [path = ""] = files("alice");
    const text = await Deno.readTextFile(path);
    const head = "Return-Path: <early@client.test>\nDelivered-To: alice@example.com\nReceived: a\n\tb\n";
    assert.ok(text === head + message.replaceAll("\r\n", "\n"));
    const wire = text.length + text.split("\n").length - 1;
    assert.match(path, new RegExp(`,S=${text.length},W=${wire}$`));
    assert.equal(log.named("message.delivered")[0]?.fields["bytes"], text.length);
    await assert.rejects(Deno.stat(join(directory, "staging")), Deno.errors.NotFound);
    // Synced before it has its name, and the name before all is said.
    const calls = fileSystem.calls.filter((call) => /^(sync|rename) .*alice\/(tmp|new)/.test(call));
    assert.deepEqual(calls.slice(-3).map((call) => call.replace(/ .*alice\/(tmp|new).*/, " $1")), [
      "sync tmp",
      "rename new",
      "sync new",
    ]);
    await pending[Symbol.asyncDispose]();
    assert.deepEqual(files("alice"), [path]);
  });
});

Deno.test("MaildirDelivery lets 64 large messages grow at once, keeps what comes beyond, and drops them all clean", async () => {
  await inSetting({}, async ({ delivery, directory, files }) => {
    const message = encoder.encode(largeMessage(300_000));
    const begin = async (...to: string[]) => {
      const pending = await delivery.begin(envelope(...to), {
        ...context,
        forecast: {
          fields: () => prepend,
          reserve: () => 0,
        },
      });
      await pending.write(message);
      return pending;
    };
    const several = await begin("alice@example.com", "bob@example.com");
    assert.deepEqual(files("alice", "tmp"), []);
    const all = [several];
    for (let count = 0; count < 70; count++) all.push(await begin("alice@example.com"));
    assert.equal(files("alice", "tmp").length, 64);
    // Behind one that is done there is room for another.
    await all.at(-1)?.commit(prepend);
    await all[1]?.commit(prepend);
    all.push(await begin("alice@example.com"));
    assert.equal(files("alice", "tmp").length, 64);
    assert.equal(files("alice").length, 2);
    const contents = await Promise.all(files("alice").map((path) => Deno.readTextFile(path)));
    assert.equal(contents[0] === contents[1], true);
    for (const pending of all) await pending[Symbol.asyncDispose]();
    assert.deepEqual(files("alice", "tmp"), []);
    assert.equal(files("alice").length, 2);
    assert.deepEqual([...Deno.readDirSync(join(directory, "staging"))], []);
  });
});

for (
  const [call, code, expected] of [
    ["open", "ENOSPC", "452 4.3.1"],
    ["write", "ENOSPC", "452 4.3.1"],
    ["write", "EIO", "451 4.3.0"],
    ["sync", "EIO", "451 4.3.0"],
  ] as const
) {
  Deno.test(`MaildirDelivery answers ${expected} to ${code} at ${call} of a message that grows`, async () => {
    const fileSystem = new FaultyFileSystem();
    await inSetting({ fileSystem }, async ({ delivery, files }) => {
      await deliver(delivery, { to: ["alice@example.com"] });
      fileSystem.fault = (at, path) => at === call && path.includes("/tmp/") ? code : undefined;
      const message = encoder.encode(largeMessage(2_000_000));
      for (let again = 0; again < 70; again++) {
        await using pending = await delivery.begin(envelope("alice@example.com"), {
          ...context,
          forecast: {
            fields: () => prepend,
            reserve: () => 0,
          },
        });
        await assert.rejects(
          async () => {
            for (let at = 0; at < message.length; at += 65_536) {
              await pending.write(message.slice(at, at + 65_536));
            }
            await pending.commit(prepend);
          },
          (error) => error instanceof SmtpError && `${error.reply.code} ${error.reply.enhanced}` === expected,
        );
      }
      fileSystem.fault = () => undefined;
      assert.deepEqual(files("alice", "tmp"), []);
      assert.equal(files("alice").length, 1);
      // And every place that was taken has been given back.
      const pending = await delivery.begin(envelope("alice@example.com"), {
        ...context,
        forecast: {
          fields: () => prepend,
          reserve: () => 0,
        },
      });
      await pending.write(message.slice(0, 600_000));
      assert.equal(files("alice", "tmp").length, 1);
      await pending[Symbol.asyncDispose]();
      assert.deepEqual(files("alice", "tmp"), []);
    });
  });
}

Deno.test("MaildirDelivery syncs all copies before it renames any, and the directories before it is done", async () => {
  const fileSystem = new FaultyFileSystem();
  await inSetting({ fileSystem }, async ({ delivery }) => {
    await deliver(delivery, { to: ["both@example.com"] });
    const steps = fileSystem.calls.filter((call) => /^(sync|rename) .*\/(alice|bob)\/(tmp|new)\b/.test(call))
      .map((call) => call.replace(/ .*example\.com\/(\w+)\/(tmp|new).*/, " $1/$2"));
    assert.deepEqual(steps.slice(0, 2).sort(), ["sync alice/tmp", "sync bob/tmp"]);
    assert.deepEqual(steps.slice(2, 4).sort(), ["rename alice/new", "rename bob/new"]);
    assert.deepEqual(steps.slice(4).sort(), ["sync alice/new", "sync bob/new"]);
  });
});

Deno.test("MaildirDelivery leaves nothing behind of a message that is not committed", async () => {
  await inSetting({}, async ({ directory, delivery, files }) => {
    for (const size of [100, 1_000_000]) {
      const pending = await delivery.begin(envelope("alice@example.com"), context);
      await pending.write(new Uint8Array(size));
      await pending[Symbol.asyncDispose]();
    }
    assert.deepEqual(files("alice", "tmp"), []);
    assert.deepEqual([...Deno.readDirSync(join(directory, "staging"))], []);
  });
});

/** One fault: the call that fails, of which mailbox's path, with which code, and what the client is told. */
const FAULTS: { call: FileCall; path: RegExp; code: string; reply: [number, string] }[] = [
  { call: "open", path: /bob\/tmp/, code: "ENOSPC", reply: [452, "4.3.1"] },
  { call: "open", path: /bob\/tmp/, code: "EMFILE", reply: [451, "4.3.0"] },
  { call: "write", path: /bob\/tmp/, code: "ENOSPC", reply: [452, "4.3.1"] },
  { call: "write", path: /bob\/tmp/, code: "EDQUOT", reply: [452, "4.3.1"] },
  { call: "sync", path: /bob\/tmp/, code: "ENOSPC", reply: [452, "4.3.1"] },
  { call: "sync", path: /bob\/tmp/, code: "EIO", reply: [451, "4.3.0"] },
  { call: "rename", path: /new/, code: "ENOSPC", reply: [452, "4.3.1"] },
  // After the first rename there is no telling who has seen what.
  { call: "rename", path: /bob\/new/, code: "ENOSPC", reply: [451, "4.3.0"] },
  { call: "sync", path: /bob\/new$/, code: "EIO", reply: [451, "4.3.0"] },
  { call: "open", path: /bob\/new$/, code: "EMFILE", reply: [451, "4.3.0"] },
];

for (const { call, path, code, reply } of FAULTS) {
  Deno.test(`MaildirDelivery answers ${reply.join(" ")} to ${code} at ${call} of ${path.source}`, async () => {
    const fileSystem = new FaultyFileSystem();
    await inSetting({ fileSystem }, async ({ delivery, files, log }) => {
      await deliver(delivery, { to: ["both@example.com"] });
      const kept = [...files("alice"), ...files("bob")];
      const failing = new Set<string>();
      fileSystem.fault = (noted, where) => {
        if (noted !== call || !path.test(where)) return undefined;
        // Whatever failed once would succeed the second time, which would prove nothing.
        assert.ok(!failing.has(where), `${call} of ${where} was tried again`);
        failing.add(where);
        return code;
      };
      await assert.rejects(deliver(delivery, { to: ["both@example.com"] }), refusal(...reply));
      assert.ok(failing.size > 0);
      assert.deepEqual([...files("alice"), ...files("bob")], kept);
      for (const user of ["alice", "bob"]) assert.deepEqual(files(user, "tmp"), []);
      const withdrawn = log.named("message.withdrawn").length;
      assert.equal(withdrawn, path.source.includes("bob\\/new") ? 1 : 0);
      fileSystem.fault = () => undefined;
      await deliver(delivery, { to: ["both@example.com"] });
      assert.equal(files("bob").length, 2);
    });
  });
}

Deno.test("MaildirDelivery takes back a message of which one copy fails only when all others have ended", async () => {
  const fileSystem = new FaultyFileSystem();
  await inSetting({ fileSystem }, async ({ delivery, files }) => {
    await deliver(delivery, { to: ["both@example.com"] });
    const slow = Promise.withResolvers<void>();
    fileSystem.before = (call, path) => call === "sync" && /alice\/tmp/.test(path) ? slow.promise : undefined;
    fileSystem.fault = (call, path) => call === "sync" && /bob\/tmp/.test(path) ? "EIO" : undefined;
    const delivering = deliver(delivery, { to: ["both@example.com"] });
    setTimeout(() => slow.resolve(), 5);
    await assert.rejects(delivering, refusal(451, "4.3.0"));
    assert.equal(fileSystem.calls.filter((call) => /^sync .*alice\/tmp/.test(call)).length, 2);
    for (const user of ["alice", "bob"]) {
      assert.deepEqual(files(user, "tmp"), []);
      assert.equal(files(user).length, 1);
    }
  });
});

Deno.test("MaildirDelivery has at most 256 files open while it stores, however many messages there are", async () => {
  const fileSystem = new FaultyFileSystem();
  await inSetting({ fileSystem }, async ({ delivery, files }) => {
    const slow = Promise.withResolvers<void>();
    fileSystem.before = (call, path) => call === "sync" && /alice\/tmp/.test(path) ? slow.promise : undefined;
    const all = Array.from({ length: 300 }, () => deliver(delivery, { to: ["alice@example.com"] }));
    await until(() => files("alice", "tmp").length >= 256, "256 open files");
    await settle();
    assert.equal(files("alice", "tmp").length, 256);
    slow.resolve();
    await Promise.all(all);
    assert.equal(files("alice").length, 300);
  });
});

Deno.test("MaildirDelivery counts no memory for a message that grows in its mailbox", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const staging = new StagingArea({ directory });
    await inSetting({ staging }, async ({ delivery }) => {
      await using pending = await delivery.begin(envelope("alice@example.com"), {
        ...context,
        forecast: {
          fields: () => prepend,
          reserve: () => 0,
        },
      });
      await pending.write(new Uint8Array(200_000));
      assert.ok(staging.held > 0);
      await pending.write(new Uint8Array(200_000));
      assert.equal(staging.held, 0);
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("MaildirDelivery answers 452 4.3.1 when a large message cannot be staged", async () => {
  const fileSystem = new FaultyFileSystem();
  const directory = await Deno.makeTempDir();
  try {
    const staging = new StagingArea({ directory, fileSystem });
    fileSystem.fault = (call) => call === "write" ? "ENOSPC" : undefined;
    await inSetting({ staging }, async ({ delivery, files }) => {
      const message = new Uint8Array(1_000_000);
      await assert.rejects(deliver(delivery, { to: ["alice@example.com"], message }), refusal(452, "4.3.1"));
      assert.deepEqual(files("alice"), []);
      fileSystem.fault = () => undefined;
      await deliver(delivery, { to: ["alice@example.com"], message });
      assert.equal(files("alice").length, 1);
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
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

function refusal(code: number, enhanced: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof SmtpError, String(error));
    assert.deepEqual([error.reply.code, error.reply.enhanced], [code, enhanced]);
    return true;
  };
}
