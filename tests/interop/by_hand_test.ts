// SMTP as its learners type it: over nc, with and without -C, and over openssl s_client.
import assert from "node:assert/strict";
import { arrival } from "../support/peers/arrivals.ts";
import { startServeIn } from "../support/peers/mailapp.ts";
import { run, until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

function dialogue(subject: string): string {
  return [
    "MAIL FROM:<joe@client.test>",
    "RCPT TO:<alice@example.test>",
    "DATA",
    `Subject: ${subject}`,
    "",
    "Hello",
    ".",
    "QUIT",
    "",
  ].join("\n");
}

testWith(
  ["nc"],
  "typed over nc -C, wrong lines get a hint, stand in the log, and the message lands",
  async () => {
    const logFile = await Deno.makeTempFile();
    await using cleanup = new AsyncDisposableStack();
    cleanup.defer(() => Deno.remove(logFile));
    await using server = await startServeIn({ logFile });
    const wrong = ["MAIL TO: a@b", "RCPT FROM: c@d", "VRFY root"];
    const typed = ["HELO x", ...wrong, ""].join("\n") + dialogue("typed over nc -C");
    const { stdout } = await run("nc", { args: ["-C", "127.0.0.1", String(server.port)], stdin: typed });
    assert.deepEqual(stdout.split("\r\n").map((line) => line.slice(0, 36)), [
      "220 mx.example.test ESMTP mailapp",
      "250 mx.example.test greets x [127.0.",
      "501 5.5.4 Syntax: MAIL FROM:<address",
      "501 5.5.4 Syntax: RCPT TO:<address> ",
      "502 5.5.1 Command not implemented; H",
      "250 2.1.0 Sender OK",
      "250 2.1.5 Recipient OK",
      "354 Send the message; end with a lin",
      stdout.split("\r\n")[8]?.slice(0, 36),
      "221 2.0.0 mx.example.test says goodb",
      "",
    ]);
    assert.match(stdout, /^250 2\.0\.0 \w+ accepted\r$/m);
    await arrival(server.maildir("alice@example.test"), "Subject: typed over nc -C\n");
    for (const line of wrong) {
      await until(
        async () => (await Deno.readTextFile(logFile)).includes(JSON.stringify(line)) || undefined,
        {
          what: `${line} in the log`,
          within: 10_000,
        },
      );
    }
  },
);

testWith(["nc"], "typed over plain nc, the first line is answered with what to do", async () => {
  await using server = await startServeIn();
  const { stdout } = await run("nc", { args: ["-N", "::1", String(server.port)], stdin: "HELO x\n" });
  assert.match(stdout, /^220 .*\r\n500 5\.5\.2 Lines must end with CRLF \(nc -C\)\r\n$/);
});

for (const tls of ["starttls", "implicit"] as const) {
  for (const host of ["127.0.0.1", "[::1]"]) {
    testWith(["openssl"], `openssl s_client delivers over ${tls} to ${host}`, async () => {
      await using server = await startServeIn();
      const port = tls === "starttls" ? server.port : server.tlsPort;
      const args = ["s_client", "-quiet", "-crlf", "-connect", `${host}:${port}`];
      if (tls === "starttls") args.push("-starttls", "smtp");
      const subject = `s_client ${tls} ${host}`;
      const { stdout } = await run("openssl", { args, stdin: `EHLO x.test\n${dialogue(subject)}` });
      assert.match(stdout, /^250 2\.0\.0 \w+ accepted\r$/m);
      const { text } = await arrival(server.maildir("alice@example.test"), `Subject: ${subject}\n`);
      assert.match(text, / with ESMTPS \(TLSv1\.3 /);
    });
  }
}
