/** Case 49: what a server may do to us, at each step, and what happens to the message. */
import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { type Fault, REACTIONS, SENDING_FAULTS } from "../selftest/cases/sending_faults.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { FakeServer, fakeUpgrade } from "../tests/support/fake_server.ts";
import { TARGET } from "../tests/support/host_connection.ts";
import { queueEntry, RecordingQueue } from "../tests/support/recording_queue.ts";
import { PeerMemory } from "./peer_memory.ts";
import type { SessionOptions } from "./ready_session.ts";
import { HostConnection, type RecipientOutcome } from "./transmit.ts";

/** What one attempt at the host comes to; `next host` where another one may be tried at once. */
function describe({ result, attempt, nextHost }: RecipientOutcome): string {
  return [
    result,
    attempt.status,
    ...(nextHost ? ["next host"] : []),
    ...(attempt.dotSentNoReply ? ["dot sent, no reply"] : []),
  ].join(", ");
}

for (const pipelining of [true, false]) {
  for (const [moment, row] of Object.entries(SENDING_FAULTS)) {
    for (const [trouble, expected] of Object.entries(row)) {
      const how = pipelining ? "pipelined" : "not pipelined";
      Deno.test(`case 49: ${trouble} at ${moment}, ${how}: ${expected}`, async () => {
        const clock = new FakeClock();
        const capabilities = ["STARTTLS", "8BITMIME", ...(pipelining ? ["PIPELINING"] : [])];
        const script = { [moment]: REACTIONS[trouble as Fault] };
        const server = new FakeServer({ clock, script, capabilities });
        const queue = new RecordingQueue();
        const options: SessionOptions = {
          hostname: "client.test",
          clock,
          timeouts: { command: 300_000, data: 180_000, dataEnd: 600_000 },
          dial: () => Promise.resolve(server.connect()),
          upgrade: fakeUpgrade({ authorized: false, authorizationError: "SELF_SIGNED" }),
          peers: new PeerMemory(clock),
          logger: silentLogger,
        };
        const work = (async () => {
          const opened = await HostConnection.open(TARGET, options);
          if (opened.kind === "unavailable") return `no host, ${opened.attempt.status}`;
          const entry = queueEntry(["x@d.test", "y@d.test"]);
          const { outcomes } = await opened.connection.send({ entry, recipients: [0, 1], queue });
          await opened.connection.close();
          const [first, second] = outcomes.map(describe);
          assert.equal(first, second);
          return first;
        })();
        let settled = false;
        work.finally(() => settled = true);
        // Nothing but a stall lets time pass, and no stall lasts.
        let waits = 0;
        for (await clock.advance(0); !settled; await clock.advance(600_000)) assert.ok(waits++ < 4);
        assert.equal(waits > 0, trouble === "stall");

        assert.equal(await work, expected);
        assert.equal(queue.openCount, 0);
        assert.equal(clock.pending, 0);
        assert.equal(server.messages.length, expected.startsWith("relayed") ? 1 : 0);
        const dots = queue.notes.filter((note) => note.startsWith("dot "));
        const answers = queue.notes.filter((note) => !note.startsWith("dot "));
        assert.equal(dots.length > answers.length, expected.includes("no reply"));
        if (expected.startsWith("relayed")) {
          assert.deepEqual(queue.notes, ["dot 0,1 at mx.test", "relayed 0,1"]);
        }
        // Never one connection for TLS and then plaintext.
        if (moment === "STARTTLS" && trouble === "5xx") {
          assert.equal(server.connections, 2);
          assert.equal(server.messages[0]?.tls, false);
        } else {
          assert.equal(server.connections, 1);
        }
      });
    }
  }
}
