import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { FakeServer, fakeUpgrade, type Script } from "../tests/support/fake_server.ts";
import { DialogueError, type RecipientResult } from "./send_result.ts";
import type { OutgoingMessage } from "./outgoing_message.ts";
import { SmtpClient, type SmtpClientOptions } from "./client.ts";
import { DeadlineError } from "../net/transport.ts";

const TIMEOUTS = { command: 300_000, data: 180_000, dataEnd: 600_000 };

function setUp(script: Script = {}, capabilities?: readonly string[], more: Partial<SmtpClientOptions> = {}) {
  const clock = new FakeClock();
  const server = new FakeServer({ clock, script, ...(capabilities && { capabilities }) });
  const client = new SmtpClient(server.connect(), {
    hostname: "client.test",
    clock,
    timeouts: TIMEOUTS,
    ...more,
  });
  return { clock, server, client };
}

/** Past greeting and EHLO. */
async function ready(script: Script = {}, capabilities?: readonly string[]) {
  const all = setUp(script, capabilities);
  await all.client.greeting();
  await all.client.hello();
  return all;
}

async function* chunks(...parts: string[]): AsyncIterable<Uint8Array> {
  for (const part of parts) yield await Promise.resolve(new TextEncoder().encode(part));
}

function message(more: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    reversePath: "a@client.test",
    recipients: [{ address: "x@fake.test" }],
    size: 13,
    eightBit: false,
    smtputf8: false,
    chunks: () => chunks("Subject: x\r\n", "\r\n", ".hid", "den\r\n"),
    ...more,
  };
}

/** `relayed 250`, `refused rcpt 550`, `lost dot timeout after the dot`. */
function brief(result: RecipientResult): string {
  if (result.kind === "relayed") return `relayed ${result.reply.code}`;
  if (result.kind === "refused") return `refused ${result.stage} ${result.reply.code}`;
  return `lost ${result.stage} ${result.fault}${result.afterDot ? " after the dot" : ""}`;
}

async function outcome(client: SmtpClient, more: Partial<OutgoingMessage> = {}): Promise<string[]> {
  const { recipients, usable } = await client.send(message(more));
  return [...recipients.map(brief), usable ? "usable" : "closed"];
}

const PLAIN: readonly string[] = [];
const PIPELINING = ["PIPELINING"];

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

for (
  const [script, expected] of [
    // The second reply to MAIL would be taken for the one to RCPT, that one's for DATA's, and so on to the dot's.
    [
      { MAIL: { raw: "250 ok\r\n250 ok\r\n" }, RCPT: "354 go on", DATA: "250 ok", dot: "450 later" },
      "lost rcpt",
    ],
    [{ RCPT: { raw: "250 ok\r\n354 go on\r\n" }, DATA: "250 ok", dot: "450 later" }, "lost data"],
    [{ DATA: { raw: "354 go on\r\n250 ok\r\n" }, dot: "450 later" }, "lost data"],
  ] as const
) {
  Deno.test(`SmtpClient.send() does not believe replies that nothing asked for: ${JSON.stringify(script)}`, async () => {
    const { client, server } = await ready(script, PLAIN);
    assert.deepEqual(await outcome(client), [`${expected} malformed`, "closed"]);
    assert.deepEqual(server.messages, []);
  });
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

Deno.test("SmtpClient.send() pipelines MAIL, RCPT and DATA in one write, and many recipients in bounded batches", async () => {
  const { client, server } = await ready({}, PIPELINING);
  await outcome(client, { recipients: [{ address: "x@t" }, { address: "y@t" }] });
  assert.equal(server.writes[1], "MAIL FROM:<a@client.test>\r\nRCPT TO:<x@t>\r\nRCPT TO:<y@t>\r\nDATA\r\n");
  const recipients = Array.from({ length: 250 }, (_, i) => ({ address: `u${i}@t` }));
  assert.equal(
    (await client.send(message({ recipients }))).recipients.every(({ kind }) => kind === "relayed"),
    true,
  );
  const batches = server.writes.slice(3, 6).map((write) => write.split("\r\n").length - 1);
  assert.deepEqual(batches, [101, 100, 51]);
  assert.equal(server.messages[1]?.to.length, 250);
  await client.quit();
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
  for (const [script, patience, expected] of steps) {
    const { client, clock } = await ready(script);
    const sending = outcome(client);
    await clock.advance(patience - 1);
    assert.equal(client.closed, false);
    await clock.advance(1);
    assert.deepEqual(await sending, [expected, "closed"]);
    assert.equal(clock.pending, 0);
  }
});

Deno.test("SmtpClient.hello() learns what the server can do", async () => {
  const { client } = await ready({}, [
    "PIPELINING",
    "size 1000",
    "8BITMIME",
    "Auth PLAIN LOGIN",
    "AUTH=CRAM-MD5",
    "LIMITS MAILMAX=5 RCPTMAX=20",
    "DSN",
    "XCLIENT",
  ]);
  assert.deepEqual(client.capabilities, {
    esmtp: true,
    pipelining: true,
    size: 1000,
    eightBitMime: true,
    smtputf8: false,
    dsn: true,
    startTls: false,
    requireTls: false,
    auth: ["PLAIN", "LOGIN", "CRAM-MD5"],
    recipientsMax: 20,
    transactionsMax: 5,
  });
  client.close();
});

Deno.test("SmtpClient.hello() says HELO where EHLO is refused with 5xx", async () => {
  for (const EHLO of ["500 5.5.1 what?", "502 no", "550 go away"]) {
    const { client, server } = setUp({ EHLO });
    await client.greeting();
    assert.equal((await client.hello()).code, 250);
    assert.equal(client.capabilities.esmtp, false);
    assert.deepEqual(server.commands, ["(connected)", "EHLO client.test", "HELO client.test"]);
    assert.deepEqual(await outcome(client), ["relayed 250", "usable"]);
    client.close();
  }
});

Deno.test("SmtpClient.hello() does not say HELO after 4xx", async () => {
  const { client, server } = setUp({ EHLO: "451 4.3.0 later" });
  await client.greeting();
  assert.equal((await client.hello()).code, 451);
  assert.deepEqual(server.commands, ["(connected)", "EHLO client.test"]);
  client.close();
});

const SECURE = fakeUpgrade({ authorized: true });
const secure = (plain: Parameters<typeof SECURE>[0]) => SECURE(plain, { verify: true });

Deno.test("SmtpClient.startTls() forgets what was announced before", async () => {
  const { client, server } = await ready();
  assert.equal(client.capabilities.startTls, true);
  const { reply, tls } = await client.startTls(secure);
  assert.equal(reply.code, 220);
  assert.equal(tls?.protocol, "TLSv1.3");
  assert.deepEqual({ ...client.capabilities }, {
    esmtp: false,
    pipelining: false,
    eightBitMime: false,
    smtputf8: false,
    dsn: false,
    startTls: false,
    requireTls: false,
    auth: [],
  });
  await client.hello();
  assert.equal(client.capabilities.startTls, false);
  assert.equal(client.capabilities.pipelining, true);
  await client.quit();
  assert.deepEqual(server.commands, [
    "(connected)",
    "EHLO client.test",
    "STARTTLS",
    "EHLO client.test",
    "QUIT",
  ]);
});

Deno.test("SmtpClient.startTls() forgets what comes behind the 220 in plaintext", async () => {
  for (const injected of ["250-fake.test\r\n250 AUTH PLAIN\r\n", "2", "\0"]) {
    const { client, server } = await ready({ STARTTLS: { raw: `220 go\r\n${injected}` } });
    assert.equal((await client.startTls(secure)).tls?.protocol, "TLSv1.3");
    await client.hello();
    assert.deepEqual(client.capabilities.auth, []);
    assert.deepEqual(await outcome(client), ["relayed 250", "usable"]);
    assert.equal(server.messages[0]?.tls, true);
    await client.quit();
  }
});

Deno.test("SmtpClient.startTls() closes where the handshake fails", async () => {
  const { client } = await ready({ tls: "garbage" });
  await assert.rejects(client.startTls(secure), /handshake failed/);
  assert.equal(client.closed, true);
});

Deno.test("SmtpClient.secure() waits for the handshake as long as for a command, and closes", async () => {
  const { client, clock } = setUp({ greeting: "stall" });
  let end = "none";
  client.secure(secure).then(() => end = "secured", (error) => {
    end = error instanceof DeadlineError ? "too late" : String(error);
  });
  await clock.advance(TIMEOUTS.command - 1);
  assert.equal(end, "none");
  await clock.advance(1);
  assert.match(end, /^too late$/);
  assert.equal(client.closed, true);
});

Deno.test("SmtpClient.startTls() gives a refusal and stays usable", async () => {
  const { client } = await ready({ STARTTLS: "454 4.7.0 not now" });
  assert.equal((await client.startTls(secure)).reply.code, 454);
  assert.deepEqual(await outcome(client), ["relayed 250", "usable"]);
  client.close();
});

Deno.test("SmtpClient.authenticate() logs in by PLAIN or LOGIN and shows no secret", async () => {
  const shown: string[] = [];
  const onLine = (side: string, line: string) => void shown.push(`${side}: ${line}`);
  const plain = setUp({}, ["AUTH LOGIN PLAIN"], { onLine });
  await plain.client.greeting();
  await plain.client.hello();
  assert.equal((await plain.client.authenticate({ user: "u", password: "pässword" }))?.code, 235);
  assert.equal(plain.server.commands.at(-1), `AUTH PLAIN ${btoa("\0u\0p\xc3\xa4ssword")}`);
  plain.client.close();
  assert.deepEqual(shown.slice(-2), ["C: AUTH PLAIN ***", "S: 235 2.7.0 welcome"]);

  const login = setUp({ AUTH: "334 VXNlcm5hbWU6", other: ["334 UGFzc3dvcmQ6", "235 in"] }, ["AUTH LOGIN"], {
    onLine,
  });
  await login.client.greeting();
  await login.client.hello();
  assert.equal((await login.client.authenticate({ user: "user", password: "secret" }))?.code, 235);
  assert.deepEqual(login.server.commands.slice(-3), ["AUTH LOGIN", btoa("user"), btoa("secret")]);
  login.client.close();
  assert.ok(!shown.join("\n").includes(btoa("secret")));

  const none = await ready({}, ["AUTH CRAM-MD5"]);
  assert.equal(await none.client.authenticate({ user: "u", password: "p" }), undefined);
  none.client.close();

  const secret = btoa("\0u\0hunter2");
  const repeating = setUp(
    { AUTH: `535-5.7.8 not understood: AUTH PLAIN ${secret}\r\n535 5.7.8 no user has hunter2` },
    ["AUTH PLAIN"],
    { onLine },
  );
  await repeating.client.greeting();
  await repeating.client.hello();
  assert.deepEqual((await repeating.client.authenticate({ user: "u", password: "hunter2" }))?.lines, [
    "5.7.8 not understood: AUTH PLAIN ***",
    "5.7.8 no user has ***",
  ]);
  repeating.client.close();
  assert.doesNotMatch(shown.join("\n"), new RegExp(`hunter2|${secret}`));

  const wrong = await ready({ AUTH: "535 5.7.8 no" }, ["AUTH PLAIN"]);
  assert.equal((await wrong.client.authenticate({ user: "u", password: "p" }))?.code, 535);
  wrong.client.close();
});

Deno.test("SmtpClient.greeting() tells a bad server from none", async () => {
  const { client } = setUp({ greeting: "554 5.7.1 go away" });
  assert.equal((await client.greeting()).code, 554);
  client.close();
  for (
    const greeting of ["drop", "25", "999 what", "354 what", { raw: "220 hi\n" }, {
      raw: `220 ${"x".repeat(100_000)}\r\n`,
    }]
  ) {
    const { client } = setUp({ greeting });
    await assert.rejects(client.greeting(), DialogueError, JSON.stringify(greeting).slice(0, 40));
    assert.equal(client.closed, true);
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

Deno.test("SmtpClient.startTls() and authenticate() go by the first digit as well", async () => {
  const { client } = setUp(
    { STARTTLS: "250 go ahead", AUTH: "300 more", other: ["350 more", "250 welcome"] },
    [
      "STARTTLS",
      "AUTH LOGIN",
    ],
  );
  await client.greeting();
  await client.hello();
  assert.ok(
    (await client.startTls((plain) => fakeUpgrade({ authorized: true })(plain, { verify: true }))).tls,
  );
  await client.hello();
  assert.equal((await client.authenticate({ user: "u", password: "p" }))?.code, 250);
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

Deno.test("SmtpClient reads the limits that a server announces, and no others (RFC 9422)", async () => {
  const cases: Record<string, Record<string, number>> = {
    "LIMITS RCPTMAX=5 MAILMAX=7 RCPTDOMAINMAX=1": {
      recipientsMax: 5,
      transactionsMax: 7,
      recipientDomainsMax: 1,
    },
    "limits mailmax=3 X=1": { transactionsMax: 3 },
    "LIMITS MAILMAX=0 RCPTMAX=01 RCPTDOMAINMAX=-1": {},
    "LIMITS RCPTMAX=1000000 MAILMAX=": {},
    "LIMITS RCPTMAX=20 RCPTMAX=10": { recipientsMax: 10 },
    "LIMITS": {},
    "LIMITSX MAILMAX=1": {},
  };
  for (const [line, expected] of Object.entries(cases)) {
    const { client } = await ready({}, [line]);
    const { recipientsMax, transactionsMax, recipientDomainsMax } = client.capabilities;
    const found = { recipientsMax, transactionsMax, recipientDomainsMax };
    assert.deepEqual(JSON.parse(JSON.stringify(found)), expected, line);
  }
});

Deno.test("SmtpClient sends one command at a time, and HELO at once, where that is wanted", async () => {
  const { client, server } = setUp({}, PIPELINING, { pipelining: false });
  await client.greeting();
  await client.hello();
  assert.deepEqual(await outcome(client), ["relayed 250", "usable"]);
  assert.deepEqual(server.writes.slice(0, 4), [
    "EHLO client.test\r\n",
    "MAIL FROM:<a@client.test>\r\n",
    "RCPT TO:<x@fake.test>\r\n",
    "DATA\r\n",
  ]);
  const plain = setUp({}, PIPELINING, { ehlo: false });
  await plain.client.greeting();
  assert.equal((await plain.client.hello()).code, 250);
  assert.deepEqual(plain.server.commands, ["(connected)", "HELO client.test"]);
  assert.equal(plain.client.capabilities.esmtp, false);
});

Deno.test("SmtpClient.send() says where the replies to a group of commands were lost", async () => {
  const cases: readonly (readonly [Script, boolean])[] = [
    [{ MAIL: "drop" }, true],
    [{ RCPT: "drop" }, true],
    [{ DATA: "drop" }, true],
    [{ RCPT: { raw: "what?\r\n" } }, true],
    [{ dot: "drop" }, false],
    [{ MAIL: "421 4.3.2 no" }, false],
    [{ RCPT: "550 5.1.1 no" }, false],
    [{}, false],
  ];
  for (const [script, lost] of cases) {
    const { client } = await ready(script, PIPELINING);
    assert.equal((await client.send(message())).groupLost, lost, JSON.stringify(script));
    const single = await ready(script, PLAIN);
    assert.equal((await single.client.send(message())).groupLost, false);
  }
});

Deno.test("SmtpClient.send() takes no refusal of DATA for one of a recipient where RCPT was lost", async () => {
  for (const lost of ["503 5.5.1 RCPT first", "500 5.5.2 what?"]) {
    const { client, clock } = await ready({ RCPT: lost, DATA: "stall" }, PIPELINING);
    const sent = client.send(message());
    await clock.advance(TIMEOUTS.data);
    const { recipients, groupLost } = await sent;
    assert.deepEqual([...recipients.map(brief), groupLost], ["lost data timeout", true]);
  }
  const { client } = await ready({ RCPT: "550 5.1.1 nobody", DATA: "drop" }, PIPELINING);
  const { recipients, groupLost } = await client.send(message());
  assert.deepEqual([...recipients.map(brief), groupLost], ["refused rcpt 550", true]);
});

Deno.test("SmtpClient.send() takes a server that refuses a group and hangs up as one that lost the group", async () => {
  for (const MAIL of ["503 5.5.1 improper pipelining", "500 5.5.2 one at a time", "502 what?"]) {
    const { client } = await ready({ MAIL, RCPT: "drop" }, PIPELINING);
    const { recipients, groupLost } = await client.send(message());
    assert.deepEqual([...recipients.map(brief), groupLost], ["lost rcpt closed", true], MAIL);
    const single = await ready({ MAIL, RCPT: "drop" }, PLAIN);
    assert.deepEqual((await single.client.send(message())).recipients.map(brief), [
      `refused mail ${MAIL.slice(0, 3)}`,
    ]);
  }
  for (const [MAIL, RCPT] of [["550 5.7.1 not you", "drop"], ["503 5.5.1 no", "503 5.5.1 no"]] as const) {
    const { client } = await ready({ MAIL, RCPT, DATA: RCPT }, PIPELINING);
    const { recipients, groupLost } = await client.send(message());
    assert.deepEqual(recipients.map(brief), [`refused mail ${MAIL.slice(0, 3)}`]);
    assert.equal(groupLost, false);
  }
});

Deno.test("SmtpClient.send() tells a 421 at once from one after a silence in a group", async () => {
  for (const [wait, lost] of [[0, false], [60_000, true]] as const) {
    const { client, clock, server } = await ready({ RCPT: "stall" }, PIPELINING);
    const sent = client.send(message());
    await clock.advance(wait);
    server.say("421 4.4.2 idle for too long");
    const { recipients, groupLost } = await sent;
    assert.deepEqual([...recipients.map(brief), groupLost], ["refused rcpt 421", lost]);
  }
});
