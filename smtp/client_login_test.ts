import assert from "node:assert/strict";
import { fakeUpgrade } from "../tests/support/fake_server.ts";
import { DialogueError } from "./send_result.ts";
import { DeadlineError } from "../net/transport.ts";
import { outcome, ready, setUp, TIMEOUTS } from "../tests/support/smtp_client.ts";

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
    chunking: false,
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
    chunking: false,
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

Deno.test("SmtpClient.startTls() forgets what comes after the 220 in plaintext", async () => {
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
