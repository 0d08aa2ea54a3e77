import assert from "node:assert/strict";
import { join } from "@std/path";
import { settle } from "../tests/support/fake_clock.ts";
import { FaultyFileSystem, type FileCall } from "../tests/support/faulty_file_system.ts";
import {
  context,
  deliver,
  envelope,
  inSetting,
  recipient,
  refusal,
} from "../tests/support/maildir_setting.ts";
import { until } from "../tests/support/until.ts";

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
    let ended = false;
    delivering.catch(() => {}).finally(() => ended = true);
    const synced = (user: string) =>
      fileSystem.calls.filter((call) => call.startsWith("sync") && call.includes(`${user}/tmp`));
    await until(() => synced("bob").length === 2, "the copy that fails");
    await settle();
    assert.equal(ended, false);
    slow.resolve();
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
