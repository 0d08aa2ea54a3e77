import assert from "node:assert/strict";
import { join } from "@std/path";
import { SmtpError } from "../smtp/reply.ts";
import { StagingArea } from "../storage/staging.ts";
import { FaultyFileSystem } from "../tests/support/faulty_file_system.ts";
import { context, deliver, envelope, inSetting, prepend, refusal } from "../tests/support/maildir_setting.ts";

const encoder = new TextEncoder();

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
    // After one that is done there is room for another.
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
