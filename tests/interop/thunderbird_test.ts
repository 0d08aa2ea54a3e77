// Thunderbird, the program itself, without a display: it logs in to serve-submit and sends, by TLS at once and by
// STARTTLS. A wrong password makes it ask, which cannot be answered here.
import assert from "node:assert/strict";
import { Thunderbird } from "../support/peers/thunderbird.ts";
import { testWith } from "../support/requires.ts";
import { PASSWORD, SubmissionMachine } from "../support/submission.ts";

const LOGIN = "alice@example.com";

testWith(
  ["thunderbird"],
  "Thunderbird logs in and sends, by TLS at once and by STARTTLS",
  async () => {
    await using machine = await SubmissionMachine.create();
    await using serveIn = await machine.start("serve-in");
    await using _serveOut = await machine.start("serve-out");
    await using serveSubmit = await machine.start("serve-submit");
    await using thunderbird = await Thunderbird.start(machine.authority.cert);
    for (const [index, implicit] of [true, false].entries()) {
      const subject = implicit ? "by TLS at once" : "by STARTTLS";
      const way = {
        host: "localhost",
        port: implicit ? machine.tlsPort : machine.port,
        implicit,
        login: LOGIN,
      };
      const status = await thunderbird.send({
        ...way,
        password: PASSWORD,
        to: "bob@example.com",
        subject,
        body: "Hello\n.\nfrom Thunderbird\n",
      });
      assert.equal(status, 0, String(status));
      await serveSubmit.event("login.accepted", { after: index, where: { login: LOGIN } });
      const { file } = await serveIn.event("message.delivered", { after: index });
      const text = await Deno.readTextFile(String(file));
      assert.match(text, new RegExp(`^Subject: ${subject}$`, "m"));
      assert.match(text, /^User-Agent: Mozilla Thunderbird$/m);
      assert.match(text, /\n\nHello\n\.\nfrom Thunderbird\n/);
      assert.doesNotMatch(text, /^Received: .*localhost/m);
    }
  },
);
