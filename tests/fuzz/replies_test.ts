// What a server answers, whatever it is, never makes a message lost, doubled or mixed up with another unnoticed.
import assert from "node:assert/strict";
import { fc } from "../support/property.ts";
import type { RecipientResult } from "../../smtp/send_result.ts";
import { SmtpClient } from "../../smtp/client.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { FakeServer, type Reaction, type Script } from "../support/fake_server.ts";

const TWICE: Reaction = { raw: "250 twice\r\n250 twice\r\n" };

// Half of the time it does as a good server would, or says yes where a good one would not.
const reaction: fc.Arbitrary<Reaction | undefined> = fc.oneof(
  { weight: 6, arbitrary: fc.constant(undefined) },
  { weight: 4, arbitrary: fc.constant("250 2.0.0 yes") },
  {
    weight: 8,
    arbitrary: fc.constantFrom<Reaction>(
      "354 go on",
      "450 4.2.1 later",
      "421 4.3.2 bye",
      "550 5.1.1 no",
      "552 5.5.3 too many",
      "drop",
      "25",
      "999 what",
      { raw: "250-one\r\n251 two\r\n" },
      { raw: "250 bare\n" },
      { raw: "250 nul\0\r\n" },
      TWICE,
    ),
  },
  { weight: 1, arbitrary: fc.string({ unit: "binary-ascii", maxLength: 30 }).map((raw) => ({ raw })) },
);

const MOMENTS = ["MAIL", "RCPT", "DATA", "dot", "RSET"] as const;

/** Reactions for each moment. */
function behaviour(reaction: fc.Arbitrary<Reaction | undefined>) {
  const reactions = fc.array(reaction, { minLength: 1, maxLength: 8 });
  return fc.record(Object.fromEntries(MOMENTS.map((moment) => [moment, reactions])));
}

/**
 * Whether it is pipelined, and what the server does. Where commands are pipelined, a reply too many here and one
 * too few there look just like good ones in another order, so no server does both.
 */
const situation = fc.oneof(
  fc.tuple(fc.constant(false), behaviour(reaction)),
  fc.tuple(fc.constant(true), behaviour(reaction.filter((one) => one !== TWICE))),
);

/** Each reaction once, then as a good server would. */
function scriptOf(given: Readonly<Record<string, readonly (Reaction | undefined)[]>>): Script {
  return Object.fromEntries(
    Object.entries(given).map(([moment, list]) => {
      const waiting = [...list];
      return [moment, () => waiting.shift()];
    }),
  );
}

/** Whether the client says that the server may have the message for this recipient. */
function mayBeThere(result: RecipientResult | undefined): boolean {
  return result?.kind === "relayed" || (result?.kind === "lost" && result.afterDot);
}

async function* chunks(text: string): AsyncIterable<Uint8Array> {
  yield await Promise.resolve(new TextEncoder().encode(text));
}

Deno.test("SmtpClient knows what has become of each recipient, whatever the replies (property)", async () => {
  await fc.assert(
    fc.asyncProperty(
      situation,
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
      async ([pipelining, given], counts) => {
        const clock = new FakeClock();
        const capabilities = pipelining ? ["PIPELINING"] : [];
        const server = new FakeServer({ clock, script: scriptOf(given), capabilities });
        const client = new SmtpClient(server.connect(), {
          hostname: "client.test",
          clock,
          timeouts: { command: 300_000, data: 180_000, dataEnd: 600_000 },
        });
        await client.greeting();
        await client.hello();
        for (const [turn, count] of counts.entries()) {
          const text = `Subject: ${turn}\r\n\r\n.\r\n`;
          const recipients = Array.from({ length: count }, (_, i) => ({ address: `r${i}-${turn}@t.test` }));
          const before = server.messages.length;
          const sending = client.send({
            reversePath: `s${turn}@t.test`,
            recipients,
            size: text.length,
            eightBit: false,
            smtputf8: false,
            chunks: () => chunks(text),
          });
          let settled = false;
          sending.finally(() => settled = true);
          for (await clock.advance(0); !settled;) await clock.advance(600_000);
          const { recipients: results, usable } = await sending;
          assert.equal(results.length, count);
          // Without a recipient: what an empty message went to, to get back in sync.
          const taken = server.messages.slice(before).filter(({ to }) => to.length > 0);
          assert.ok(taken.length <= 1);
          for (const { from, to, data } of taken) {
            assert.deepEqual([from, data], [`s${turn}@t.test`, text]);
            assert.ok(to.every((address) => recipients.some((recipient) => recipient.address === address)));
          }
          for (const [i, { address }] of recipients.entries()) {
            const isThere = taken.some(({ to }) => to.includes(address));
            if (isThere) assert.ok(mayBeThere(results[i]), `${address}: ${JSON.stringify(results[i])}`);
            if (results[i]?.kind === "relayed") assert.ok(isThere, `${address} is not there`);
          }
          assert.equal(usable, !client.closed);
          if (!usable) break;
        }
        client.close();
        assert.equal(clock.pending, 0);
      },
    ),
    { numRuns: 500 },
  );
});
