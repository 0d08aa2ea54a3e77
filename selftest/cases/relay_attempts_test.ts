import assert from "node:assert/strict";
import { Dialogue } from "../../tests/support/server_dialogue.ts";
import { RELAY_REPLIES, relayAttempts } from "./relay_attempts.ts";

for (const { path, expected } of relayAttempts("alice@here.example")) {
  Deno.test(`case 21: mail to <${path}> is ${expected === "local" ? "taken" : "not taken"}: ${expected}`, async () => {
    await using dialogue = new Dialogue();
    await dialogue.say("EHLO client.test\r\nMAIL FROM:<a@client.test>\r\n");
    assert.match(await dialogue.say(`RCPT TO:<${path}>\r\n`), RELAY_REPLIES[expected]);
  });
}
