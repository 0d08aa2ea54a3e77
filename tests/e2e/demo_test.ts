// `deno task demo`, from nothing.
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";

Deno.test("the demo delivers a message over STARTTLS, shows the stored file and ends", async () => {
  await using workspace = await Workspace.create();
  for (const args of [["demo", "--", "--once"], ["demo", "--once"]]) {
    const { code, stdout, stderr } = await runMailapp(args, { cwd: workspace.path });
    assert.equal(code, 0, stderr);
    assert.match(stdout, /now over TLSv1\.3/);
    const [, path = ""] = /^4\. Stored as \.\/(\S+):$/m.exec(stdout) ?? [];
    const stored = await Deno.readTextFile(workspace.file(path));
    assert.match(stored, /^Return-Path: <demo@client\.demo\.test>\nDelivered-To: alice@demo\.test\n/);
    assert.match(stored, /with ESMTPS \(TLSv1\.3/);
  }
});

Deno.test("the demo serves until Ctrl-C, and takes a message sent by hand", async () => {
  await using workspace = await Workspace.create();
  const main = new URL("../../main.ts", import.meta.url).href;
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--frozen", main, "demo"],
    cwd: workspace.path,
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let output = "";
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const readUntil = async (pattern: RegExp) => {
    for (;;) {
      const found = pattern.exec(output);
      if (found !== null) return found;
      const { value, done } = await reader.read();
      assert.ok(!done, output);
      output += value;
    }
  };
  const [, port] = await readUntil(/nc -C 127\.0\.0\.1 (\d+)\n[\s\S]*Serving until Ctrl-C/);
  {
    using dialogue = await Dialogue.connect(Number(port));
    await dialogue.hear();
    await dialogue.say("EHLO me.test");
    await dialogue.say("MAIL FROM:<me@me.test>");
    await dialogue.say("RCPT TO:<bob@demo.test>");
    await dialogue.say("DATA");
    assert.match(await dialogue.say("Subject: By hand\r\n\r\nHello Bob.\r\n."), /^250 /);
  }
  await readUntil(/INFO +message\.delivered .*bob@demo\.test/);
  child.kill("SIGINT");
  for (;;) if ((await reader.read()).done) break;
  assert.equal((await child.status).code, 0, output);
});
