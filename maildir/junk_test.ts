// Messages that are filed as junk, and fields that are known only at the end of a message that is stored as it comes.
import assert from "node:assert/strict";
import { join } from "@std/path";
import type { Header } from "../smtp/delivery.ts";
import { FaultyFileSystem } from "../tests/support/faulty_file_system.ts";
import {
  context,
  deliver,
  envelope,
  inSetting,
  MESSAGE,
  prepend,
  type Setting,
} from "../tests/support/maildir_setting.ts";

const LARGE = `Subject: large\r\n\r\n${`${"x".repeat(70)}\r\n`.repeat(10_000)}`;
const JUNK = { to: ["alice@example.com"], filing: { junk: true } };

function maildir({ directory }: Setting, user = "alice"): string {
  return join(directory, "mail", "example.com", user);
}

const names = (path: string) => Array.from(Deno.readDirSync(path), ({ name }) => name).sort();

/** What stands on the disk, with trailing white space gone. */
function trimmed(text: string): string {
  return text.replaceAll(/ +\n/g, "\n");
}

Deno.test("MaildirDelivery files junk in a Maildir++ folder, made and subscribed to with the first one", async () => {
  const fileSystem = new FaultyFileSystem();
  await inSetting({ junkFolder: "Junk", fileSystem }, async (setting) => {
    const { delivery, files, log } = setting;
    await deliver(delivery, { to: ["alice@example.com"] });
    assert.deepEqual(names(maildir(setting)), ["cur", "new", "tmp"]);
    fileSystem.calls.length = 0;
    await deliver(delivery, JUNK);
    const folder = join(maildir(setting), ".Junk");
    assert.deepEqual(names(folder), ["cur", "maildirfolder", "new", "tmp"]);
    for (const path of ["", "cur", "new", "tmp"]) {
      assert.equal((Deno.lstatSync(join(folder, path)).mode ?? 0) & 0o7777, 0o2770, path);
    }
    assert.equal(await Deno.readTextFile(join(maildir(setting), "subscriptions")), "V\t2\n\nJunk\n");
    const [path = "", ...more] = files("alice", ".Junk/new");
    assert.deepEqual(more, []);
    assert.ok((await Deno.readTextFile(path)).endsWith(MESSAGE.replaceAll("\r\n", "\n")));
    assert.equal(files("alice").length, 1);
    assert.deepEqual([files("alice", "tmp"), files("alice", ".Junk/tmp")], [[], []]);
    assert.equal(log.named("message.delivered").at(-1)?.fields["file"], path);
    // The folder is durable before anything is in it, and the message's name before the 250.
    const order = fileSystem.calls.filter((call) => /^(?:sync|rename) .*alice(?:$|\/\.Junk)/.test(call));
    assert.deepEqual(order, [
      `sync ${maildir(setting)}`,
      `sync ${folder}`,
      `rename ${path}`,
      `sync ${join(folder, "new")}`,
    ]);
    fileSystem.calls.length = 0;
    await deliver(delivery, JUNK);
    assert.equal(files("alice", ".Junk/new").length, 2);
    assert.equal(fileSystem.calls.filter((call) => call.startsWith("sync")).length, 2);
  });
});

Deno.test("MaildirDelivery files junk of several mailboxes in the folder of each, at once too", async () => {
  await inSetting({ junkFolder: "Lists.Spam" }, async (setting) => {
    const { delivery, files } = setting;
    await Promise.all(
      Array.from(
        { length: 20 },
        () => deliver(delivery, { ...JUNK, to: ["both@example.com", "carol@example.com"] }),
      ),
    );
    for (const user of ["alice", "bob", "carol"]) {
      assert.equal(files(user, ".Lists.Spam/new").length, 20);
      assert.deepEqual(files(user), []);
      assert.equal(
        await Deno.readTextFile(join(maildir(setting, user), "subscriptions")),
        "V\t2\n\nLists\tSpam\n",
      );
    }
  });
});

Deno.test("MaildirDelivery without a folder for junk takes it as any other message", async () => {
  await inSetting({}, async (setting) => {
    await deliver(setting.delivery, JUNK);
    assert.equal(setting.files("alice").length, 1);
    assert.deepEqual(names(maildir(setting)), ["cur", "new", "tmp"]);
  });
});

Deno.test("MaildirDelivery renames a large message that turns out to be junk, and copies nothing", async () => {
  const fileSystem = new FaultyFileSystem();
  await inSetting({ junkFolder: "Junk", fileSystem }, async ({ delivery, files }) => {
    const forecast = { fields: () => prepend, reserve: () => 0 };
    await deliver(delivery, { ...JUNK, message: LARGE, cut: 60_000, forecast });
    assert.equal(files("alice", ".Junk/new").length, 1);
    assert.deepEqual([files("alice"), files("alice", "tmp")], [[], []]);
    const inTmp = fileSystem.calls.filter((call) => /^open .*alice\/tmp\//.test(call));
    // One of them is the list of subscriptions.
    assert.equal(inTmp.length, 2);
  });
});

Deno.test("MaildirDelivery leaves a folder and a list as its readers made them", async () => {
  const lists: readonly (readonly [before: string, after: string])[] = [
    ["V\t2\n\nSent\n", "V\t2\n\nSent\nJunk\n"],
    ["Sent", "Sent\nJunk\n"],
    ["", "Junk\n"],
    ["Sent\nJunk\n", "Sent\nJunk\n"],
  ];
  for (const [before, after] of lists) {
    await inSetting({ junkFolder: "Junk" }, async (setting) => {
      await deliver(setting.delivery, { to: ["alice@example.com"] });
      const list = join(maildir(setting), "subscriptions");
      await Deno.writeTextFile(list, before);
      await deliver(setting.delivery, JUNK);
      assert.equal(await Deno.readTextFile(list), after);
      // Whoever unsubscribes later is not overruled.
      await Deno.writeTextFile(list, before);
      await deliver(setting.delivery, JUNK);
      assert.equal(await Deno.readTextFile(list), before);
    });
  }
  await inSetting({ junkFolder: "Junk" }, async (setting) => {
    await deliver(setting.delivery, { to: ["alice@example.com"] });
    for (const name of ["", "new", "cur", "tmp"]) await Deno.mkdir(join(maildir(setting), ".Junk", name));
    await Deno.chown(join(maildir(setting), ".Junk"), 12_345, null).catch(() => {});
    await deliver(setting.delivery, JUNK);
    assert.equal(setting.files("alice", ".Junk/new").length, 1);
    assert.ok(!names(maildir(setting)).includes("subscriptions"));
  });
});

Deno.test("MaildirDelivery follows no link to a list or a folder, and files junk in the inbox rather", async () => {
  await inSetting({ junkFolder: "Junk" }, async (setting) => {
    const { directory, delivery } = setting;
    await deliver(delivery, { to: ["alice@example.com"] });
    const secret = join(directory, "secret");
    await Deno.writeTextFile(secret, "secret\n");
    await Deno.symlink(secret, join(maildir(setting), "subscriptions"));
    await deliver(delivery, JUNK);
    assert.equal(await Deno.readTextFile(secret), "secret\n");
    assert.ok(Deno.lstatSync(join(maildir(setting), "subscriptions")).isSymlink);
    assert.equal(setting.files("alice", ".Junk/new").length, 1);
  });
  for (const swapped of [".Junk", ".Junk/new"]) {
    await inSetting({ junkFolder: "Junk" }, async (setting) => {
      const { directory, delivery, files, log } = setting;
      await deliver(delivery, JUNK);
      await Deno.rename(join(maildir(setting), swapped), join(directory, "elsewhere"));
      await Deno.symlink(join(directory, "elsewhere"), join(maildir(setting), swapped));
      await deliver(delivery, JUNK);
      assert.equal(files("alice").length, 1);
      const [warning, ...more] = log.named("junk.not_filed");
      assert.deepEqual(more, []);
      assert.match(String(warning?.fields["error"]), /it is a symbolic link/);
    });
  }
});

Deno.test("MaildirDelivery puts junk off that cannot be filed for want of room", async () => {
  const fileSystem = new FaultyFileSystem();
  await inSetting({ junkFolder: "Junk", fileSystem }, async ({ delivery, files }) => {
    fileSystem.fault = (call, path) => call === "open" && path.includes(".Junk") ? "ENOSPC" : undefined;
    await assert.rejects(deliver(delivery, JUNK), /^SmtpError: 452 4\.3\.1 /);
    fileSystem.fault = (call, path) => call === "rename" && path.includes(".Junk") ? "EIO" : undefined;
    await assert.rejects(deliver(delivery, JUNK), /^SmtpError: 451 /);
    fileSystem.fault = () => undefined;
    assert.deepEqual([files("alice"), files("alice", "tmp"), files("alice", ".Junk/new")], [[], [], []]);
    await deliver(delivery, JUNK);
    assert.equal(files("alice", ".Junk/new").length, 1);
  });
});

const RESULTS: Header = {
  name: "Authentication-Results",
  value: "mx.example.com;\r\n\tspf=pass smtp.mailfrom=client.test;\r\n\tdmarc=pass header.from=client.test",
};
const TOP = [prepend[0], RESULTS, prepend[1]].filter((field) => field !== undefined);
const HEAD = "Return-Path: <sender@client.test>\nDelivered-To: alice@example.com\n" +
  "Authentication-Results: mx.example.com;\n\tspf=pass smtp.mailfrom=client.test;\n\tdmarc=pass header.from=client.test\n" +
  "Received: from client.test ([192.0.2.1])\n\tby mx.example.com\n";

Deno.test("MaildirDelivery sets fields in place that are known at the end, where room was kept for them", async () => {
  for (const reserve of [150, 1000, 4000]) {
    const fileSystem = new FaultyFileSystem();
    await inSetting({ fileSystem }, async ({ delivery, files }) => {
      const forecast = { fields: () => prepend, reserve: () => reserve };
      await deliver(delivery, { to: ["alice@example.com"], message: LARGE, cut: 60_000, forecast, top: TOP });
      const [path = "", ...more] = files("alice");
      assert.deepEqual([more, files("alice", "tmp")], [[], []]);
      const text = await Deno.readTextFile(path);
      const body = LARGE.replaceAll("\r\n", "\n");
      assert.equal(trimmed(text.slice(0, -body.length)), HEAD);
      assert.ok(text.endsWith(body));
      for (const line of text.split("\n")) assert.ok(line.length <= 998);
      const known = HEAD.length - `Authentication-Results: ${RESULTS.value}\n`.replaceAll("\r", "").length;
      assert.equal(text.length, known + reserve + body.length);
      assert.ok(path.endsWith(`,S=${text.length},W=${text.length + text.split("\n").length - 1}`));
      assert.equal(
        fileSystem.calls.filter((call) => call.startsWith("open") && call.includes("alice/tmp/")).length,
        1,
      );
      const last = fileSystem.calls.filter((call) => /^(?:write|sync) .*alice\/tmp\//.test(call)).slice(-2);
      assert.deepEqual(last.map((call) => call.split(" ")[0]), ["write", "sync"]);
    });
  }
});

Deno.test("MaildirDelivery copies a message anew where the room that was kept does not do", async () => {
  for (const reserve of [0, 10, 100_000]) {
    await inSetting({ junkFolder: "Junk" }, async ({ delivery, files }) => {
      const forecast = { fields: () => prepend, reserve: () => reserve };
      await deliver(delivery, { ...JUNK, message: LARGE, cut: 60_000, forecast, top: TOP });
      const [path = "", ...more] = files("alice", ".Junk/new");
      assert.deepEqual([more, files("alice"), files("alice", "tmp")], [[], [], []]);
      const text = await Deno.readTextFile(path);
      assert.equal(text, HEAD + LARGE.replaceAll("\r\n", "\n"));
      assert.ok(path.endsWith(`,S=${text.length},W=${text.length + text.split("\n").length - 1}`));
    });
  }
});

Deno.test("MaildirDelivery stores a message with another header section than came", async () => {
  const header = {
    octets: "Subject: large\r\n".length,
    bytes: new TextEncoder().encode("Subject: [x]\r\n\tlarge\r\nY: z\r\n"),
  };
  const small = "Subject: large\r\n\r\nA line\r\n";
  for (const message of [small, LARGE]) {
    for (const to of [["alice@example.com"], ["alice@example.com", "bob@example.com"]]) {
      await inSetting({ junkFolder: "Junk" }, async ({ delivery, files }) => {
        const forecast = { fields: () => prepend, reserve: () => 1000 };
        await deliver(delivery, {
          to,
          message,
          cut: 60_000,
          forecast,
          top: TOP,
          filing: { junk: true, header },
        });
        for (const user of to.map((address) => address.split("@")[0] ?? "")) {
          const [path = "", ...more] = files(user, ".Junk/new");
          assert.deepEqual([more, files(user, "tmp"), files(user)], [[], [], []]);
          const text = await Deno.readTextFile(path);
          const expected = message.replaceAll("\r\n", "\n").replace(
            "Subject: large\n",
            "Subject: [x]\n\tlarge\nY: z\n",
          );
          assert.equal(text, HEAD.replace("alice", user) + expected);
          assert.ok(path.endsWith(`,S=${text.length},W=${text.length + text.split("\n").length - 1}`), path);
        }
      });
    }
  }
});

Deno.test("MaildirDelivery keeps a large message elsewhere while it cannot be told how much room it needs", async () => {
  await inSetting({}, async ({ delivery, files }) => {
    const forecast = { fields: () => prepend, reserve: () => undefined };
    await deliver(delivery, { to: ["alice@example.com"], message: LARGE, cut: 60_000, forecast, top: TOP });
    const [path = ""] = files("alice");
    assert.equal(await Deno.readTextFile(path), HEAD + LARGE.replaceAll("\r\n", "\n"));
  });
});

Deno.test("MaildirDelivery leaves nothing of a large message whose fields cannot be set in place", async () => {
  const faults = [[1000, "write"], [1000, "sync"], [0, "read"], [0, "open"], [0, "write"], [
    0,
    "sync",
  ]] as const;
  for (const [reserve, fault] of faults) {
    const fileSystem = new FaultyFileSystem();
    await inSetting({ fileSystem }, async ({ delivery, files }) => {
      const forecast = { fields: () => prepend, reserve: () => reserve };
      await using pending = await delivery.begin(envelope("alice@example.com"), { ...context, forecast });
      await pending.write(new TextEncoder().encode(LARGE));
      fileSystem.fault = (call, path) => call === fault && path.includes("alice/tmp/") ? "EIO" : undefined;
      await assert.rejects(pending.commit(TOP), /^SmtpError: 451 /, `${fault}, ${reserve}`);
      fileSystem.fault = () => undefined;
      assert.deepEqual([files("alice"), files("alice", "tmp")], [[], []]);
    });
  }
});
