import assert from "node:assert/strict";
import { bytesOf } from "../tests/support/bytes.ts";
import type { Header, TopForecast } from "./delivery.ts";
import { Dialogue } from "../tests/support/server_dialogue.ts";

for (const step of ["write", "commit"] as const) {
  Deno.test(`a ${step} that takes an hour loses neither the message nor its 250`, async () => {
    const slow = Promise.withResolvers<void>();
    await using dialogue = new Dialogue({
      wrap: (pending) => ({
        id: pending.id,
        async write(chunk) {
          const copy = chunk.slice();
          if (step === "write") await slow.promise;
          await pending.write(copy);
        },
        async commit(headers) {
          if (step === "commit") await slow.promise;
          await pending.commit(headers);
        },
        [Symbol.asyncDispose]: () => pending[Symbol.asyncDispose](),
      }),
    });
    await dialogue.toData();
    dialogue.transport.send(bytesOf("x\r\n.\r\n"));
    await dialogue.clock.advance(3_600_000);
    assert.equal(dialogue.heard(), "");
    slow.resolve();
    await dialogue.transport.waiting();
    assert.match(dialogue.heard(), /^250 2.0.0 M1 accepted\r\n/);
    assert.equal(dialogue.delivery.stored.length, 1);
  });
}

const ENVELOPE = "MAIL FROM:<a@c.test>\r\nRCPT TO:<alice@here.example>\r\n";

for (
  const [what, before, last] of [
    ["BDAT in one piece with its envelope", "", `${ENVELOPE}BDAT 6 LAST\r\nx: y\r\n`],
    ["BDAT in one piece with its chunk", ENVELOPE, "BDAT 6 LAST\r\nx: y\r\n"],
    ["DATA in one piece with its mail data", ENVELOPE, "DATA\r\nx: y\r\n.\r\n"],
  ] as const
) {
  Deno.test(`a commit that takes an hour loses neither the message nor its 250: ${what}`, async () => {
    const slow = Promise.withResolvers<void>();
    await using dialogue = new Dialogue({
      wrap: (pending) => ({
        id: pending.id,
        write: (chunk) => pending.write(chunk),
        async commit(headers) {
          await slow.promise;
          await pending.commit(headers);
        },
        [Symbol.asyncDispose]: () => pending[Symbol.asyncDispose](),
      }),
    });
    await dialogue.say(`EHLO c.test\r\n${before}`);
    dialogue.transport.send(bytesOf(last));
    await dialogue.clock.advance(3_600_000);
    slow.resolve();
    await dialogue.transport.waiting();
    assert.match(dialogue.heard(), /250 2.0.0 M1 accepted\r\n/);
    assert.equal(dialogue.delivery.stored.length, 1);
  });
}

Deno.test("a delivery can have what is put on top before the message is there", async () => {
  let early: readonly Header[] | undefined;
  let late: readonly Header[] | undefined;
  let top: TopForecast | undefined;
  await using dialogue = new Dialogue({
    wrap: (pending, given) => {
      top = given;
      return {
        id: pending.id,
        write(chunk) {
          early ??= top?.fields();
          assert.equal(top?.reserve(), 0);
          return pending.write(chunk);
        },
        commit(headers) {
          late = headers;
          return pending.commit(headers);
        },
        [Symbol.asyncDispose]: () => pending[Symbol.asyncDispose](),
      };
    },
  });
  await dialogue.toData();
  dialogue.transport.send(bytesOf("x\r\n.\r\n"));
  await dialogue.transport.waiting();
  assert.match(dialogue.heard(), /^250 2.0.0 M1 accepted\r\n/);
  assert.deepEqual(early, late);
  assert.match(
    late?.map(({ name, value }) => `${name}: ${value}`).join("\n") ?? "",
    /^Received: [^]*\tid M1/m,
  );
});

Deno.test("a write that takes an hour does not count against the client's rate", async () => {
  let slow: PromiseWithResolvers<void> | undefined = Promise.withResolvers<void>();
  await using dialogue = new Dialogue({
    wrap: (pending) => ({
      id: pending.id,
      async write(chunk) {
        const copy = chunk.slice();
        await slow?.promise;
        await pending.write(copy);
      },
      commit: (headers) => pending.commit(headers),
      [Symbol.asyncDispose]: () => pending[Symbol.asyncDispose](),
    }),
  });
  await dialogue.toData();
  dialogue.transport.send(bytesOf("x\r\n\r\n"));
  await dialogue.clock.advance(3_600_000);
  slow.resolve();
  slow = undefined;
  await dialogue.transport.waiting();
  await dialogue.clock.advance(299_000);
  assert.match(await dialogue.say("y\r\n.\r\n"), /^250 2.0.0 M1 accepted\r\n/);
});

Deno.test("a failure to clean up after a commit does not lose the 250", async () => {
  await using dialogue = new Dialogue({
    wrap: (pending) => ({
      id: pending.id,
      write: (chunk) => pending.write(chunk),
      commit: (headers) => pending.commit(headers),
      [Symbol.asyncDispose]: () => Promise.reject(new Error("unlink")),
    }),
  });
  await dialogue.toData();
  assert.match(await dialogue.say(".\r\nNOOP\r\n"), /^250 2.0.0 M1 accepted\r\n250 2.0.0 OK\r\n$/);
  assert.equal(dialogue.log.named("message.cleanup_failed").length, 1);
});

Deno.test("replies to chunks that are buffered go out together", async () => {
  await using dialogue = new Dialogue();
  await dialogue.say("EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<alice@here.example>\r\n");
  const { transport } = dialogue;
  let writes = 0;
  const write = transport.write.bind(transport);
  transport.write = (data) => {
    writes++;
    return write(data);
  };
  const heard = await dialogue.say(`${"BDAT 1\r\nx".repeat(400)}BDAT 2 LAST\r\n\r\n`);
  assert.equal(heard, `${"250 2.0.0 1 octets received\r\n".repeat(400)}250 2.0.0 M1 accepted\r\n`);
  assert.ok(writes <= 2, `${writes} writes`);
});

Deno.test("lines of any length are stored as they were sent, by DATA and by BDAT", async () => {
  for (const length of [998, 999, 1000, 1001, 10_000_000]) {
    await using dialogue = new Dialogue();
    const message = `Subject: x\r\n\r\n.${"y".repeat(length - 1)}\r\nend\r\n`;
    await dialogue.toData();
    assert.match(
      await dialogue.say(`${message.replaceAll("\r\n.", "\r\n..")}.\r\n`, [65_536]),
      /^250 2\.0\.0 /,
    );
    await dialogue.say("MAIL FROM:<a@client.test>\r\nRCPT TO:<alice@here.example>\r\n");
    assert.match(await dialogue.say(`BDAT ${message.length} LAST\r\n${message}`, [65_536]), /^250 2\.0\.0 /);
    assert.equal(dialogue.delivery.stored.length, 2);
    for (const { content } of dialogue.delivery.stored) assert.ok(content === message, `${length}`);
  }
});

Deno.test("a handshake that fails ends the session, and says why in the log", async () => {
  await using dialogue = new Dialogue({
    upgradeToTls: () => Promise.reject(new Error("wrong version number")),
  });
  await dialogue.say("EHLO client.test\r\n");
  dialogue.transport.send(bytesOf("STARTTLS\r\n"));
  await dialogue.done;
  assert.equal(dialogue.heard(), "220 2.0.0 Begin TLS\r\n");
  assert.equal(dialogue.reason, "TLS handshake failed");
});

Deno.test("the handshake has its own deadline", async () => {
  let deadline = 0;
  await using dialogue = new Dialogue({
    implicitTls: true,
    limits: { handshakeTimeout: 7000 },
    upgradeToTls: (transport) => {
      ({ deadline } = transport);
      return Promise.reject(new Error("silent"));
    },
  });
  await dialogue.done;
  assert.equal(deadline, 7000);
  assert.equal(dialogue.heard(), "");
});
