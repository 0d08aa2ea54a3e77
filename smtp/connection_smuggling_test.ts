import assert from "node:assert/strict";
import { FALSE_ENDS } from "../tests/support/bytes.ts";
import { Dialogue } from "../tests/support/server_dialogue.ts";

const BEHIND = "MAIL FROM:<smuggled@client.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\nsmuggled\r\n";

for (const sequence of FALSE_ENDS) {
  const lawful = !/\r(?!\n)|(?<!\r)\n/.test(sequence);
  const data = `Subject: x\r\n\r\nhello${sequence}${BEHIND}`;
  const name = JSON.stringify(sequence);

  for (const [how, sizes] of [["", []], [", cut into single bytes", [1]]] as const) {
    Deno.test(`a second message never appears after ${name}${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.toData();
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), lawful ? /^250 2.0.0 M1 / : /^550 5.5.2 /);
      assert.equal(await dialogue.say("NOOP\r\n"), "250 2.0.0 OK\r\n", "replies are in step");
      assert.deepEqual(dialogue.delivery.stored.map(({ id }) => id), lawful ? ["M1"] : []);
    });

    Deno.test(`a second message never appears after ${name} in an oversize message${how}`, async () => {
      await using dialogue = new Dialogue({ limits: { maxMessageSize: 20 } });
      await dialogue.toData();
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), /^55[02] 5/);
      assert.equal(await dialogue.say("NOOP\r\n"), "250 2.0.0 OK\r\n", "replies are in step");
      assert.deepEqual(dialogue.delivery.stored, []);
    });

    Deno.test(`a second message never appears after ${name} in a message that could not be kept${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.toData("no-write");
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), /^452 4.3.1 |^550 5.5.2 /);
      assert.equal(await dialogue.say("NOOP\r\n"), "250 2.0.0 OK\r\n", "replies are in step");
      assert.deepEqual(dialogue.delivery.stored, []);
    });

    Deno.test(`a second message never appears after ${name} by BDAT${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<bob@here.example>\r\n");
      const replies = await dialogue.say(`BDAT ${data.length}\r\n${data}BDAT 3 LAST\r\n.\r\nNOOP\r\n`, sizes);
      assert.match(
        replies,
        lawful
          ? /^250 2.0.0 \d+ octets received\r\n250 2.0.0 M1 accepted\r\n250 2.0.0 OK\r\n$/
          : /^550 5.5.2 .*\r\n503 5.5.1 .*\r\n250 2.0.0 OK\r\n$/,
      );
      assert.deepEqual(
        dialogue.delivery.stored.map(({ content }) => content),
        lawful ? [`${data}.\r\n`] : [],
      );
    });

    Deno.test(`a second message never appears after ${name} after refused recipients${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<nobody@here.example>\r\n");
      const replies = await dialogue.say(`DATA\r\n${data}.\r\n`, sizes);
      assert.match(replies, /^503 5.5.1 .*\r\n421 4.7.0 .*\r\n$/);
      assert.deepEqual(dialogue.delivery.stored, []);
    });

    Deno.test(`a second message never appears after ${name} after one refused recipient of two${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.say(
        "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<nobody@here.example>\r\n" +
          "RCPT TO:<bob@here.example>\r\nDATA\r\n",
      );
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), lawful ? /^250 2.0.0 M1 / : /^550 5.5.2 /);
      assert.deepEqual(dialogue.delivery.stored.map(({ id }) => id), lawful ? ["M1"] : []);
    });

    Deno.test(`a second message never appears after ${name} where line ends are repaired${how}`, async () => {
      await using dialogue = new Dialogue({ policy: { bareLineEndings: "repair" } });
      await dialogue.toData();
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), /^250 2.0.0 M1 /);
      assert.equal(dialogue.delivery.stored.length, 1);
      assert.doesNotMatch(dialogue.delivery.stored[0]?.content ?? "", /\r(?!\n)|(?<!\r)\n/);
    });
  }

  Deno.test(`a message that begins with ${name} after a refused DATA is not run, whenever it comes`, async () => {
    await using dialogue = new Dialogue();
    await dialogue.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<nobody@here.example>\r\n");
    assert.match(await dialogue.say("DATA\r\n"), /^503 5.5.1 /);
    await dialogue.say(`hello${sequence}${BEHIND}.\r\n`);
    dialogue.transport.end();
    await dialogue.done;
    assert.deepEqual(dialogue.delivery.stored, []);
    assert.equal(dialogue.reason, "mail data after a refused DATA");
  });
}
