// mailapp in the place of /usr/sbin/sendmail, as other programs call it.
import assert from "node:assert/strict";
import { builtMailapp } from "../support/built.ts";
import { type Folder, makeFolder } from "../support/peers/folder.ts";
import { type ServeOut, startServeOut } from "../support/peers/mailapp.ts";
import { runMailapp } from "../support/mailapp.ts";
import { run } from "../support/peers/process.ts";

const MAIL = "/usr/bin/mail";

/** The built file behind a link of that name, with its own configuration. */
async function linkedSendmail(folder: Folder, { config }: ServeOut): Promise<string> {
  await Deno.symlink(await builtMailapp(), folder.at("sendmail"));
  const script = await folder.write(
    "usr-sbin-sendmail",
    `#!/bin/sh\nexec ${folder.at("sendmail")} -C ${config} "$@"\n`,
  );
  await Deno.chmod(script, 0o755);
  return script;
}

async function hasMailutils(): Promise<boolean> {
  const { code, stdout } = await run(MAIL, { args: ["--version"] }).catch(() => ({ code: 1, stdout: "" }));
  return code === 0 && stdout.includes("Mailutils");
}

Deno.test("mailapp called by the name sendmail is sendmail", async () => {
  await using folder = await makeFolder("sendmail");
  await using serveOut = await startServeOut({ routes: { "*": "127.0.0.1:9" } });
  const sendmail = await linkedSendmail(folder, serveOut);
  const { code, stderr } = await run(sendmail, {
    args: ["-oi", "-t", "-fme@x.test"],
    stdin: "To: you@x.test\nSubject: x\n\n.\nHi\n",
  });
  assert.equal(code, 0, stderr);
  const accepted = await serveOut.event("message.accepted");
  assert.equal(accepted["from"], "me@x.test");
  assert.deepEqual(accepted["to"], ["you@x.test"]);
});

Deno.test("the account that calls sendmail is in the log and in Received, which a setting hides", async () => {
  const uid = Deno.uid();
  for (const shown of [true, false]) {
    await using serveOut = await startServeOut({
      routes: { "*": "127.0.0.1:9" },
      settings: { show_account: shown },
    });
    const { code, stderr } = await runMailapp([
      "sendmail",
      "-C",
      serveOut.config,
      "-fme@x.test",
      "you@x.test",
    ], {
      stdin: "Subject: x\n\nHi\n",
    });
    assert.equal(code, 0, stderr);
    const { id, uid: logged } = await serveOut.event("message.accepted");
    assert.equal(logged, uid);
    const { stdout } = await runMailapp(["queue", "cat", String(id), "--config", serveOut.config]);
    const received = shown
      ? `Received: from uid${uid}.sendmail.localhost ([127.0.0.1])\n\tby `
      : "Received: by ";
    assert.ok(stdout.startsWith(received), stdout);
  }
});

Deno.test("mailapp called by the names mailq and newaliases is these", async () => {
  await using folder = await makeFolder("sendmail");
  await using serveOut = await startServeOut({ routes: { "*": "127.0.0.1:9" } });
  const built = await builtMailapp();
  for (const name of ["mailq", "newaliases"]) await Deno.symlink(built, folder.at(name));
  const sendmail = await linkedSendmail(folder, serveOut);
  await run(sendmail, { args: ["-fme@x.test", "you@x.test"], stdin: "Subject: x\n\nHi\n" });
  await serveOut.event("attempt.deferred");
  const env = { MAILAPP_CONFIG: serveOut.config };
  const queue = await run(folder.at("mailq"), { args: [], env });
  assert.match(queue.stdout, /you@x\.test/, queue.stderr);
  const again = await run(sendmail, { args: ["-q"] });
  assert.equal(again.stdout, "retried: 1 recipient of 1 message\n", again.stderr);
  const aliases = await run(folder.at("newaliases"), { args: [], env });
  assert.deepEqual([aliases.code, aliases.stderr], [0, ""]);
  assert.ok(aliases.stdout.startsWith(`aliases are in [mailboxes.aliases] of ${serveOut.config};`));
});

Deno.test({
  name: "mail of mailutils sends through mailapp as sendmail",
  ignore: !await hasMailutils(),
  fn: async () => {
    await using folder = await makeFolder("sendmail");
    await using serveOut = await startServeOut({ routes: { "*": "127.0.0.1:9" } });
    const sendmail = await linkedSendmail(folder, serveOut);
    const { code, stderr } = await run(MAIL, {
      args: ["-E", `set sendmail="sendmail:${sendmail}"`, "-s", "Grüße", "-r", "me@x.test", "you@x.test"],
      stdin: "Hi\n.\nmore\n",
      env: { HOME: folder.at(".") },
    });
    assert.equal(code, 0, stderr);
    const accepted = await serveOut.event("message.accepted");
    assert.equal(accepted["from"], "me@x.test");
    assert.deepEqual(accepted["to"], ["you@x.test"]);
  },
});

Deno.test("sendmail while serve-out is stopped exits 0, and the message leaves when serve-out runs", async () => {
  await using folder = await makeFolder("sendmail");
  const settings = { qualify_domain: "x.test" };
  const options = { folder, routes: { "*": "127.0.0.1:9" }, settings };
  const serveOut = await startServeOut(options);
  await serveOut[Symbol.asyncDispose]();
  const sendmail = await linkedSendmail(folder, serveOut);
  const { code, stderr } = await run(sendmail, {
    args: ["-fme@x.test", "you@y.test"],
    stdin: "Subject: later\n\nHi\n",
  });
  assert.deepEqual([code, stderr], [0, ""]);
  await using again = await startServeOut(options);
  const accepted = await again.event("message.accepted");
  assert.deepEqual([accepted["from"], accepted["to"]], ["me@x.test", ["you@y.test"]]);
  const taken = await again.event("maildrop.accepted");
  assert.deepEqual([taken["uid"], taken["from"], taken["to"]], [Deno.uid(), "me@x.test", ["you@y.test"]]);
});

Deno.test("who left a message that serve-out does not take gets it back, whatever it was refused for", async () => {
  await using folder = await makeFolder("sendmail");
  const settings = { qualify_domain: "x.test" };
  const options = { folder, routes: { "*": "127.0.0.1:9" }, settings };
  const serveOut = await startServeOut(options);
  await serveOut[Symbol.asyncDispose]();
  const sendmail = await linkedSendmail(folder, serveOut);
  const { code, stderr } = await run(sendmail, {
    args: ["-fme@x.test", "you@y.test"],
    stdin: `Subject: large\n\n${`${"x".repeat(70)}\n`.repeat(5000)}`,
  });
  assert.deepEqual([code, stderr], [0, ""]);
  // What takes the message knows another limit than what left it.
  await using again = await startServeOut({
    ...options,
    settings: { ...settings, max_message_size: 100_000 },
  });
  assert.match(String((await again.event("maildrop.refused"))["reply"]), /^552 /);
  const notice = await again.event("message.accepted");
  assert.deepEqual([notice["from"], notice["to"]], ["", ["me@x.test"]]);
});
