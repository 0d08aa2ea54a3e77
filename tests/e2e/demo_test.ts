// `deno task demo`, from nothing.
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";

async function storedAt(workspace: Workspace, output: string, at: RegExp): Promise<string> {
  const [, path = ""] = at.exec(output) ?? [];
  return await Deno.readTextFile(workspace.file(path));
}

Deno.test("the demo relays over MX and STARTTLS, shows what waits for a dead server, delivers it and ends", async () => {
  await using workspace = await Workspace.create();
  // Others may have the usual ports; and the second time ./demo-data is there.
  const usual = [2525, 2587];
  for (const args of [["demo", "--", "--once"], ["demo", "--once"]]) {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: args.length === 3 ? usual[0] ?? 0 : 0 });
    const { code, stdout, stderr } = await runMailapp(args, { cwd: workspace.path });
    assert.equal(code, 0, stderr);
    if (args.length === 3) assert.ok(!stdout.includes(`port ${taken.addr.port}`));
    const steps = [
      "program    C: RCPT TO:<alice@demo.test>",
      "DNS        demo.test MX? 10 mx.demo.test",
      "serve-out  C: STARTTLS",
      "serve-in   (over TLSv1.3",
      "serve-in   (stored for alice@demo.test)",
      "DNS        later.test MX? 10 mx.later.test",
      "serve-out  (bob@later.test is deferred: mx.later.test: connection refused)",
      "$ mailapp queue list",
      "bob@later.test: next try in",
      "1 message, 1 recipient pending",
      "7. That server comes up",
      "later      (stored for bob@later.test)",
      "nothing is queued",
    ];
    let at = 0;
    for (const step of steps) {
      const found = stdout.indexOf(step, at);
      assert.notEqual(found, -1, `${step} does not come in its turn in:\n${stdout}`);
      at = found;
    }
    const first = await storedAt(workspace, stdout, /^5\. Stored as \.\/(\S+):$/m);
    assert.match(first, /^Return-Path: <you@home\.test>\nDelivered-To: alice@demo\.test\n/);
    assert.match(first, /with ESMTPS \(TLSv1\.3/);
    assert.match(first, /Received: from program\.home\.test/);
    const second = await storedAt(workspace, stdout, /^ +Stored as \.\/(\S+)$/m);
    assert.match(second, /^Return-Path: <you@home\.test>\nDelivered-To: bob@later\.test\n/);
    assert.match(second, /\n\.This line begins with a dot, and still does\.\n$/);
  }
});

Deno.test("the demo serves until Ctrl-C, and takes messages sent by hand to both servers", async () => {
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
  const [, serveOut, serveIn] = await readUntil(
    /nc -C 127\.0\.0\.1 (\d+)\n[^]*nc -C 127\.0\.0\.1 (\d+)\n[^]*Serving until Ctrl-C/,
  );
  for (const [port, name] of [[serveIn, "alice"], [serveOut, "bob"]]) {
    using dialogue = await Dialogue.connect(Number(port));
    await dialogue.hear();
    await dialogue.say("EHLO me.test");
    await dialogue.say("MAIL FROM:<me@me.test>");
    await dialogue.say(`RCPT TO:<${name}@demo.test>`);
    await dialogue.say("DATA");
    assert.match(await dialogue.say("Subject: By hand\r\n\r\nHello.\r\n."), /^250 /);
    await readUntil(new RegExp(`serve-in .*INFO +message\\.delivered .*${name}@demo\\.test`));
  }
  // What the demo says of other domains: the notice gets back.
  using dialogue = await Dialogue.connect(Number(serveOut));
  await dialogue.hear();
  await dialogue.say("EHLO me.test");
  await dialogue.say("MAIL FROM:<you@home.test>");
  await dialogue.say("RCPT TO:<bob@elsewhere.test>");
  await dialogue.say("DATA");
  assert.match(await dialogue.say("Subject: By hand\r\n\r\nHello.\r\n."), /^250 /);
  await readUntil(/serve-in .*INFO +message\.delivered .*you@home\.test/);
  const [, inbox = ""] = /cat \.\/(\S*home\.test\S*)\/new\/\*/.exec(output) ?? [];
  const [notice] = [...Deno.readDirSync(workspace.file(`${inbox}/new`))];
  assert.match(
    await Deno.readTextFile(workspace.file(`${inbox}/new/${notice?.name}`)),
    /<bob@elsewhere\.test>/,
  );
  assert.doesNotMatch(output, / (?:ERROR|WARN) /);
  child.kill("SIGINT");
  for (;;) if ((await reader.read()).done) break;
  assert.equal((await child.status).code, 0, output);
});

Deno.test("the demo ends in good order when it is interrupted between two steps", async () => {
  await using workspace = await Workspace.create();
  const main = new URL("../../main.ts", import.meta.url).href;
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--frozen", main, "demo"],
    cwd: workspace.path,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let output = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    if (!output.includes("\n3.") && (output + text).includes("\n3.")) child.kill("SIGINT");
    output += text;
  }
  const stderr = await new Response(child.stderr).text();
  assert.deepEqual([(await child.status).code, stderr], [0, ""], output);
});

Deno.test("the demo says what is wrong with its directory", async () => {
  await using workspace = await Workspace.create();
  const directory = workspace.file("demo-data");
  await Deno.writeTextFile(directory, "");
  const inTheWay = await runMailapp(["demo", "--once"], { cwd: workspace.path });
  assert.equal(inTheWay.code, 69);
  assert.match(inTheWay.stderr, /^mailapp: the demo needs a directory .*demo-data to write in: [^\n]+\n$/);

  await Deno.remove(directory);
  await Deno.mkdir(directory);
  using lock = await Deno.open(workspace.file("demo-data"));
  await lock.lock(true);
  const second = await runMailapp(["demo", "--once"], { cwd: workspace.path });
  assert.equal(second.code, 69);
  assert.match(second.stderr, /^mailapp: another demo runs in .*demo-data/);
});
