import assert from "node:assert/strict";
import type { Script } from "../tests/support/fake_server.ts";
import { DialogueError } from "./send_result.ts";
import type { OutgoingMessage } from "./outgoing_message.ts";
import {
  brief,
  chunks,
  message,
  outcome,
  PIPELINING,
  PLAIN,
  ready,
  setUp,
  TIMEOUTS,
} from "../tests/support/smtp_client.ts";

for (const capabilities of [PLAIN, PIPELINING]) {
  const how = capabilities === PLAIN ? "one command at a time" : "pipelined";

  Deno.test(`SmtpClient.send() sends messages ${how}, dot-stuffed, several over one connection`, async () => {
    const { client, server } = await ready({}, capabilities);
    assert.deepEqual(await outcome(client), ["relayed 250", "usable"]);
    assert.deepEqual(
      await outcome(client, {
        reversePath: "",
        recipients: [{ address: "y@fake.test" }, { address: "z@fake.test" }],
      }),
      ["relayed 250", "relayed 250", "usable"],
    );
    await client.quit();
    const data = "Subject: x\r\n\r\n.hidden\r\n";
    assert.deepEqual(server.messages, [
      { from: "a@client.test", to: ["x@fake.test"], data, tls: false },
      { from: "", to: ["y@fake.test", "z@fake.test"], data, tls: false },
    ]);
    assert.deepEqual(server.commands, [
      "(connected)",
      "EHLO client.test",
      "MAIL FROM:<a@client.test>",
      "RCPT TO:<x@fake.test>",
      "DATA",
      "MAIL FROM:<>",
      "RCPT TO:<y@fake.test>",
      "RCPT TO:<z@fake.test>",
      "DATA",
      "QUIT",
    ]);
  });

  Deno.test(`SmtpClient.send() gives each recipient its own answer, ${how}`, async () => {
    const RCPT = (line: string) =>
      line.includes("no@") ? "550 5.1.1 no" : line.includes("later@") ? "451 4.2.1 later" : undefined;
    const { client, server } = await ready({ RCPT }, capabilities);
    const recipients = ["no@t", "yes@t", "later@t", "also@t"].map((address) => ({ address }));
    const taken: number[][] = [];
    const beforeDot = (accepted: readonly number[]) => Promise.resolve(void taken.push([...accepted]));
    assert.deepEqual(
      await outcome(client, { recipients, beforeDot }),
      ["refused rcpt 550", "relayed 250", "refused rcpt 451", "relayed 250", "usable"],
    );
    assert.deepEqual(server.messages[0]?.to, ["yes@t", "also@t"]);
    assert.deepEqual(taken, [[1, 3]]);
    await client.quit();
  });

  Deno.test(`SmtpClient.send() with every recipient refused sends nothing and stays in step, ${how}`, async () => {
    for (const DATA of ["503 5.5.1 no recipients", "554 5.5.1 no recipients", "354 oh well"]) {
      const { client, server } = await ready({
        RCPT: ["550 5.1.1 no", "550 5.1.1 no", "250 ok"],
        DATA: [DATA, "354 go"],
      }, capabilities);
      const recipients = [{ address: "x@t" }, { address: "y@t" }];
      assert.deepEqual(await outcome(client, { recipients }), [
        "refused rcpt 550",
        "refused rcpt 550",
        "usable",
      ]);
      assert.deepEqual(server.messages.map(({ data }) => data).filter((data) => data !== ""), []);
      if (capabilities === PLAIN) server.script = { ...server.script, DATA: "354 go" };
      assert.deepEqual(await outcome(client), ["relayed 250", "usable"]);
      assert.equal(server.messages.at(-1)?.data, "Subject: x\r\n\r\n.hidden\r\n");
      await client.quit();
    }
  });

  const REFUSALS: readonly (readonly [Script, string[]])[] = [
    [{ MAIL: "550 5.7.1 no" }, ["refused mail 550", "refused mail 550", "usable"]],
    [{ MAIL: "450 4.7.1 later" }, ["refused mail 450", "refused mail 450", "usable"]],
    [{ MAIL: "421 4.7.0 bye" }, ["refused mail 421", "refused mail 421", "closed"]],
    [{ RCPT: ["250 ok", "421 bye"] }, ["refused rcpt 421", "refused rcpt 421", "closed"]],
    [{ DATA: "451 4.3.0 later" }, ["refused data 451", "refused data 451", "usable"]],
    [{ DATA: "250 what?" }, ["lost data malformed", "lost data malformed", "closed"]],
    [{ dot: "554 5.6.0 no" }, ["refused dot 554", "refused dot 554", "usable"]],
    [{ dot: "421 4.3.2 bye" }, ["refused dot 421", "refused dot 421", "closed"]],
    [{ dot: "354 what?" }, [
      "lost dot malformed after the dot",
      "lost dot malformed after the dot",
      "closed",
    ]],
    // The 354 shows that one of the two is out of step, so the 550 may have been another's.
    [{ RCPT: ["550 5.1.1 no", "250 ok"], dot: "354 what?" }, [
      "lost dot malformed after the dot",
      "lost dot malformed after the dot",
      "closed",
    ]],
    [{ MAIL: "drop" }, ["lost mail closed", "lost mail closed", "closed"]],
    [{ RCPT: ["550 5.1.1 no", "drop"] }, ["refused rcpt 550", "lost rcpt closed", "closed"]],
    [{ DATA: "drop" }, ["lost data closed", "lost data closed", "closed"]],
    [{ dot: "drop" }, ["lost dot closed after the dot", "lost dot closed after the dot", "closed"]],
    [{ MAIL: "550 5.7.1 no", RCPT: "drop" }, [
      "refused mail 550",
      "refused mail 550",
      capabilities === PLAIN ? "usable" : "closed",
    ]],
  ];
  for (const [script, expected] of REFUSALS) {
    Deno.test(`SmtpClient.send() ${how} given ${JSON.stringify(script)}`, async () => {
      const { client } = await ready(script, capabilities);
      assert.deepEqual(
        await outcome(client, { recipients: [{ address: "x@t" }, { address: "y@t" }] }),
        expected,
      );
      client.close();
    });
  }
}

Deno.test("SmtpClient.send() hears a farewell that came with the reply before it", async () => {
  const { client } = await ready({ dot: { raw: "250 taken\r\n421 bye\r\n" } }, PLAIN);
  assert.deepEqual(await outcome(client), ["relayed 250", "usable"]);
  assert.deepEqual(await outcome(client), ["refused mail 421", "closed"]);
});

Deno.test("SmtpClient.send() sends no empty message to a server that takes recipients after refusing the sender", async () => {
  const { client, server } = await ready({ MAIL: "550 5.7.1 no", RCPT: "250 ok" }, PIPELINING);
  assert.deepEqual(await outcome(client), ["refused mail 550", "closed"]);
  assert.deepEqual(server.messages, []);
});

Deno.test("SmtpClient.send() resets a transaction that was left open, and only that", async () => {
  const { client, server } = await ready({ RCPT: ["550 no", "250 ok"] }, PLAIN);
  await outcome(client);
  await outcome(client);
  await outcome(client);
  await client.quit();
  assert.deepEqual(server.commands.filter((line) => line === "RSET" || line.startsWith("MAIL")), [
    "MAIL FROM:<a@client.test>",
    "RSET",
    "MAIL FROM:<a@client.test>",
    "MAIL FROM:<a@client.test>",
  ]);
});

Deno.test("SmtpClient.send() puts nothing on top of a transaction that cannot be ended", async () => {
  for (const RSET of ["502 5.5.1 what?", "451 4.3.0 later"]) {
    const { client, server } = await ready({ DATA: "451 4.3.0 later", RSET }, PLAIN);
    await outcome(client);
    assert.deepEqual(await outcome(client), ["lost rset closed", "closed"]);
    assert.equal(server.commands.filter((line) => line.startsWith("MAIL")).length, 1);
  }
});

Deno.test("SmtpClient.send() says what the server announced, and nothing else", async () => {
  const full = message({
    reversePath: "ä@client.test",
    recipients: [
      {
        address: "ö@fake.test",
        notify: ["SUCCESS", "FAILURE"],
        originalRecipient: { type: "rfc822", address: "a b+c=d@t" },
      },
      { address: "p@fake.test", notify: ["NEVER"], originalRecipient: { type: "utf-8", address: "ö\\+@t" } },
    ],
    dsn: { ret: "HDRS", envelopeId: "id 1" },
    eightBit: true,
    smtputf8: true,
  });
  const cases: readonly (readonly [string[], string[]])[] = [
    [["SIZE", "8BITMIME", "SMTPUTF8", "DSN"], [
      "MAIL FROM:<ä@client.test> SIZE=13 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+201",
      "RCPT TO:<ö@fake.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+20b+2Bc+3Dd@t",
      "RCPT TO:<p@fake.test> NOTIFY=NEVER ORCPT=utf-8;\\x{F6}\\x{5C}\\x{2B}@t",
    ]],
    [[], ["MAIL FROM:<ä@client.test>", "RCPT TO:<ö@fake.test>", "RCPT TO:<p@fake.test>"]],
  ];
  for (const [capabilities, expected] of cases) {
    const { client, server } = await ready({}, capabilities);
    await client.send(full);
    await client.quit();
    const seen = server.commands.filter((line) => /^(MAIL|RCPT)/.test(line));
    assert.deepEqual(
      seen.map((line) => new TextDecoder().decode(Uint8Array.from(line, (c) => c.charCodeAt(0)))),
      expected,
    );
  }
});

Deno.test("SmtpClient.send() never lets an address add a command", async () => {
  const { client, server } = await ready();
  const bad = "x@t>\r\nRCPT TO:<victim@t";
  await assert.rejects(client.send(message({ recipients: [{ address: bad }] })), RangeError);
  await assert.rejects(client.send(message({ reversePath: bad })), RangeError);
  assert.deepEqual(server.commands, ["(connected)", "EHLO client.test"]);
  client.close();
});

Deno.test("SmtpClient.send() holds the dot back until beforeDot is done, while the data goes out", async () => {
  const { client, server } = await ready();
  const { promise, resolve } = Promise.withResolvers<void>();
  const big = "x".repeat(998) + "\r\n";
  const sending = outcome(client, {
    chunks: () => chunks(...Array.from({ length: 200 }, () => big)),
    beforeDot: () => promise,
  });
  for (let i = 0; i < 10; i++) await new Promise((done) => setTimeout(done, 0));
  assert.ok(server.writes.join("").length > 100_000);
  assert.equal(server.messages.length, 0);
  resolve();
  assert.deepEqual(await sending, ["relayed 250", "usable"]);
  client.close();
});

Deno.test("SmtpClient.send() sends no dot when beforeDot fails or the message cannot be read", async () => {
  const failures: Partial<OutgoingMessage>[] = [
    { beforeDot: () => Promise.reject(new Error("disk full")) },
    {
      chunks: async function* () {
        yield* chunks("Subject: x\r\n");
        throw new Error("disk full");
      },
    },
  ];
  for (const failure of failures) {
    const { client, server } = await ready();
    const { recipients: [result], usable } = await client.send(message(failure));
    assert.ok(result?.kind === "lost");
    assert.equal(brief(result), "lost data local");
    assert.equal(result.error, "disk full");
    assert.equal(usable, false);
    assert.equal(server.messages.length, 0);
    assert.doesNotMatch(server.writes.join(""), /^\.\r\n/m);
  }
});

Deno.test("SmtpClient.send() gives up in time at each step", async () => {
  const steps: readonly (readonly [Script, number, string])[] = [
    [{ MAIL: "stall" }, TIMEOUTS.command, "lost mail timeout"],
    [{ RCPT: "stall" }, TIMEOUTS.command, "lost rcpt timeout"],
    [{ DATA: "stall" }, TIMEOUTS.data, "lost data timeout"],
    [{ dot: "stall" }, TIMEOUTS.dataEnd, "lost dot timeout after the dot"],
  ];
  for (const [script, timeout, expected] of steps) {
    const { client, clock } = await ready(script);
    const sending = outcome(client);
    await clock.advance(timeout - 1);
    assert.equal(client.closed, false);
    await clock.advance(1);
    assert.deepEqual(await sending, [expected, "closed"]);
    assert.equal(clock.pending, 0);
  }
});

Deno.test("SmtpClient.quit() never throws and never waits long", async () => {
  for (const QUIT of ["drop", "421 bye", "500 what?", "25"]) {
    const { client, server } = await ready({ QUIT });
    await client.quit();
    await client.quit();
    assert.equal(server.commands.filter((line) => line === "QUIT").length, 1);
  }
  const { client, clock } = await ready({ QUIT: "stall" });
  const quitting = client.quit();
  await clock.advance(5_000);
  await quitting;
  assert.equal(client.closed, true);
});

Deno.test("SmtpClient goes by the first digit of a reply (RFC 5321 §4.3.2)", async () => {
  for (const capabilities of [PLAIN, PIPELINING]) {
    for (const DATA of ["354 go", "350 go", "351 go", "300 go", "345 go", "399"]) {
      for (const good of ["250 ok", "200 ok", "251 ok", "299"]) {
        const { client, server } = await ready({ MAIL: good, RCPT: good, DATA, dot: good }, capabilities);
        const code = good.slice(0, 3);
        assert.deepEqual(await outcome(client), [`relayed ${code}`, "usable"], `${DATA} ${good}`);
        assert.equal(server.messages.length, 1);
      }
    }
    for (const code of ["450", "499", "550", "599"]) {
      const { client } = await ready({ DATA: `${code} no` }, capabilities);
      assert.deepEqual(await outcome(client), [`refused data ${code}`, "usable"]);
    }
  }
});

Deno.test("SmtpClient keeps the words of a reply that makes no sense or breaks off", async () => {
  const greetings = {
    "220-hello\r\n521 go away\r\n": "220-hello\n521 go away",
    "hello\r\n": "hello",
    "150 wait\r\n": "150 wait",
    "350 wait\r\n": "350 wait",
  };
  for (const [raw, said] of Object.entries(greetings)) {
    const lines: string[] = [];
    const { client } = setUp({ greeting: { raw } }, PLAIN, {
      onLine: (side, line) => lines.push(side + line),
    });
    await assert.rejects(client.greeting(), (error: DialogueError) => {
      assert.deepEqual([error.fault, error.said], ["malformed", said]);
      return true;
    });
    assert.deepEqual(lines, said.split("\n").map((line) => `S${line}`));
  }
  const { client } = await ready({ RCPT: { raw: "550-5.7.1 blocked\r\n551 no\r\n" } }, PLAIN);
  const { recipients: [result] } = await client.send(message());
  assert.deepEqual(result?.kind === "lost" && result.said, "550-5.7.1 blocked\n551 no");
});

Deno.test("SmtpClient shows no secret in what came of a reply", async () => {
  const { client } = setUp({ AUTH: { raw: "535-no\r\n550 AHUAcGFzcw== pass\r\n" } }, ["AUTH PLAIN"]);
  await client.greeting();
  await client.hello();
  await assert.rejects(client.authenticate({ user: "u", password: "pass" }), (error: DialogueError) => {
    assert.equal(error.said, "535-no\n550 *** ***");
    return true;
  });
});

Deno.test("SmtpClient.send() takes an unasked refusal on an idle connection as its end", async () => {
  const { client } = await ready({
    dot: { raw: "250 2.0.0 taken\r\n451 4.7.0 Timeout waiting for input\r\n" },
  });
  assert.deepEqual(await outcome(client), ["relayed 250", "usable"]);
  assert.deepEqual(await outcome(client), ["lost mail closed", "closed"]);
});
