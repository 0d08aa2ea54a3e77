// What a delivery holds for a transaction is let go of with it, however it ends.
import assert from "node:assert/strict";
import { bytesOf, textOf } from "../tests/support/bytes.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { MemoryTransport } from "../tests/support/memory_transport.ts";
import { RecordingDelivery } from "../tests/support/recording_delivery.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import type { PendingMessage } from "./delivery.ts";
import { reply } from "./reply.ts";
import { SmtpServer } from "./server.ts";

const MAIL = "MAIL FROM:<a@client.test>\r\n";
const DATA = `${MAIL}RCPT TO:<alice@here.example>\r\nDATA\r\n`;

/** What happened to messages and to what is held, in its order, and what the server said. */
async function play(said: string, { failing = false } = {}) {
  const clock = new FakeClock();
  const transport = new MemoryTransport({ clock });
  const recording = new RecordingDelivery();
  const events: string[] = [];
  const log = new RecordingLog();
  const server = new SmtpServer({
    hostname: "mx.here.example",
    logger: log,
    clock,
    delivery: {
      checkSender: () => {
        events.push("held");
        return {
          [Symbol.asyncDispose]() {
            events.push("let go");
            return Promise.resolve();
          },
        };
      },
      checkRecipient: (recipient) => recording.checkRecipient(recipient),
      begin(envelope): PendingMessage {
        const pending = recording.begin(envelope);
        return {
          id: pending.id,
          write: (chunk) => pending.write(chunk),
          async commit(prepend) {
            await pending.commit(prepend);
            return { reply: reply(250, "2.0.0", "Q1 accepted"), log: { queue_id: "Q1" } };
          },
          async [Symbol.asyncDispose]() {
            await pending[Symbol.asyncDispose]();
            events.push("message over");
            if (failing) throw new Error("disk");
          },
        };
      },
    },
  });
  const done = server.handle(transport);
  transport.send(bytesOf(`EHLO client.test\r\n${said}`));
  await transport.waiting();
  const before = [...events];
  transport.end();
  await done;
  return { before, events, heard: textOf(transport.take()), log };
}

Deno.test("what MAIL holds is let go of at RSET, EHLO, another end of the transaction, and once", async () => {
  for (const end of ["RSET\r\n", "EHLO again.test\r\n", "HELO again.test\r\n", "QUIT\r\n"]) {
    const { before, events } = await play(MAIL + end);
    assert.deepEqual(before, ["held", "let go"], end);
    assert.deepEqual(events, ["held", "let go"], end);
  }
});

Deno.test("it is let go of after its message, and the reply is the other server's", async () => {
  const { before, heard, log } = await play(`${DATA}x\r\n.\r\n`);
  assert.deepEqual(before, ["held", "message over", "let go"]);
  assert.match(heard, /\r\n250 2\.0\.0 Q1 accepted\r\n$/);
  assert.equal(log.named("message.accepted")[0]?.fields["queue_id"], "Q1");
});

Deno.test("it is let go of where the client goes in mid-data, even if the message cannot be dropped", async () => {
  const { before, events } = await play(`${DATA}half`);
  assert.deepEqual(before, ["held"]);
  assert.deepEqual(events, ["held", "message over", "let go"]);
  assert.deepEqual((await play(`${DATA}half`, { failing: true })).events, ["held", "message over", "let go"]);
});
