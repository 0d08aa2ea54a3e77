import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import type { Origin } from "../smtp/delivery.ts";
import type { Envelope } from "../smtp/envelope.ts";
import { SmtpError } from "../smtp/reply.ts";
import { bytesOf, textOf } from "../tests/support/bytes.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { FakeServer, type Script } from "../tests/support/fake_server.ts";
import { until } from "../tests/support/until.ts";
import { SubmissionDelivery } from "./delivery.ts";
import { LoginLimits } from "./login_limits.ts";
import { Upstream } from "./upstream.ts";

const UNLIMITED = {
  messagesAnHour: Infinity,
  messagesADay: Infinity,
  recipientsAnHour: Infinity,
  recipientsADay: Infinity,
  newRecipientsADay: Infinity,
};

const address = (text: string) => {
  const [localPart = "", domain = ""] = text.split("@");
  return { localPart, domain, text };
};

const ENVELOPE = {
  reversePath: address("alice@here.example"),
  body: "7BIT",
  smtputf8: false,
} satisfies Omit<Envelope, "recipients">;

const RECIPIENT = { forwardPath: address("bob@there.example") };

/** What serve-out announces, and what a server without CHUNKING does. */
const WITHOUT_CHUNKING = ["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"];
const CAPABILITIES = [...WITHOUT_CHUNKING, "CHUNKING"];

interface WorldOptions {
  readonly maxConnections?: number;
  readonly capabilities?: readonly string[];
}

function world(script: Script = {}, options: WorldOptions = {}) {
  const clock = new FakeClock();
  const server = new FakeServer({ clock, script, capabilities: options.capabilities ?? CAPABILITIES });
  let reachable = true;
  const upstream = new Upstream({
    connect: () =>
      reachable ? Promise.resolve(server.connect()) : Promise.reject(new Error("connection refused")),
    hostname: "mx.here.example",
    clock,
    timeouts: { command: 30_000, data: 60_000, dataEnd: 240_000 },
    maxConnections: options.maxConnections ?? 10,
    keep: 30_000,
    maxKept: 2,
  });
  const limits = new LoginLimits({ limits: UNLIMITED, clock, logger: silentLogger });
  const senders = {
    maySend: (_login: string, { localPart }: { readonly localPart: string }) => localPart === "alice",
  };
  const delivery = new SubmissionDelivery({ upstream, senders, limits });
  return {
    clock,
    server,
    upstream,
    delivery,
    cutOff: () => reachable = false,
    origin: (): Origin => ({ id: "s1", login: "alice@here.example" }),
  };
}

const forecast = {
  fields: () => [{ name: "Received", value: "by mx.here.example" }],
  reserve: () => 0,
};

/** From MAIL to the 250. */
async function send(delivery: SubmissionDelivery, origin: Origin) {
  await using _held = await delivery.checkSender(ENVELOPE, { origin });
  const decision = await delivery.checkRecipient(RECIPIENT, { origin });
  assert.deepEqual(decision, { accepted: true });
  await using pending = await delivery.begin({ ...ENVELOPE, recipients: [RECIPIENT] }, { origin, forecast });
  for (const piece of ["Subject: x\r\n", "\r\n.hello\r", "\n"]) await pending.write(bytesOf(piece));
  return await pending.commit([]);
}

const replied = (code: number, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof SmtpError, String(error));
  assert.equal(error.reply.code, code);
  assert.match(`${error.reply.enhanced} ${error.reply.lines.join(" ")}`, text);
  return true;
};

Deno.test("SubmissionDelivery hands a message on in one transaction, and passes on the reply with the queue's id", async () => {
  const { server, delivery, origin } = world({ dot: "250 2.0.0 Q7 accepted" });
  const handedOn = await send(delivery, origin());
  assert.deepEqual(handedOn, {
    reply: { code: 250, enhanced: "2.0.0", lines: ["Q7 accepted"] },
    log: { queue_id: "Q7" },
  });
  assert.deepEqual(server.commands, [
    "(connected)",
    "EHLO mx.here.example",
    "MAIL FROM:<alice@here.example>",
    "RCPT TO:<bob@there.example>",
    "BDAT 52 LAST",
  ]);
  const data = "Received: by mx.here.example\r\nSubject: x\r\n\r\n.hello\r\n";
  assert.equal(server.messages[0]?.data, data);
  assert.equal(server.writes.at(-1), `BDAT 52 LAST\r\n${data}`);
});

Deno.test("SubmissionDelivery says DATA to a server without CHUNKING, and stuffs dots", async () => {
  const { server, delivery, origin } = world({}, { capabilities: WITHOUT_CHUNKING });
  await send(delivery, origin());
  assert.equal(server.commands.at(-1), "DATA");
  const data = "Received: by mx.here.example\r\nSubject: x\r\n\r\n.hello\r\n";
  assert.equal(server.messages[0]?.data, data);
});

Deno.test("SubmissionDelivery hands a large message on in chunks, each while the reply to the one before is on its way", async () => {
  const { server, delivery, origin } = world();
  for (const pieces of [[100_000], [32 * 1024 - 30, 1], [32 * 1024 - 30], [1, 2, 70_000], [0]]) {
    const data = pieces.map((octets, i) => String(i).repeat(octets));
    const client = origin();
    await using _held = await delivery.checkSender(ENVELOPE, { origin: client });
    await delivery.checkRecipient(RECIPIENT, { origin: client });
    const before = server.commands.length;
    await using pending = await delivery.begin({ ...ENVELOPE, recipients: [RECIPIENT] }, {
      origin: client,
      forecast,
    });
    for (const piece of data) await pending.write(bytesOf(piece));
    await pending.commit([]);
    const whole = `Received: by mx.here.example\r\n${data.join("")}`;
    assert.equal(server.messages.at(-1)?.data, whole);
    const full = Math.ceil(whole.length / (32 * 1024)) - 1;
    assert.deepEqual(server.commands.slice(before), [
      ...Array.from({ length: full }, () => `BDAT ${32 * 1024}`),
      `BDAT ${whole.length - full * 32 * 1024} LAST`,
    ]);
  }
  assert.equal(server.connections, 1);
});

Deno.test("SubmissionDelivery passes on what refuses a chunk, and says 451 where the server goes in the midst of them", async () => {
  for (
    const [reaction, code, text] of [
      ["552 5.3.4 Too big", 552, /^5\.3\.4 Too big$/],
      ["452 4.3.1 No room", 452, /^4\.3\.1 No room$/],
      ["421 4.3.2 going down", 451, /^4\.3\.2 /],
      ["drop", 451, /^4\.3\.2 /],
      ["stall", 451, /^4\.3\.2 /],
    ] as const
  ) {
    const { server, delivery, origin, clock, upstream } = world({ BDAT: reaction });
    const client = origin();
    const sent = (async () => {
      await using _held = await delivery.checkSender(ENVELOPE, { origin: client });
      await delivery.checkRecipient(RECIPIENT, { origin: client });
      await using pending = await delivery.begin({ ...ENVELOPE, recipients: [RECIPIENT] }, {
        origin: client,
        forecast,
      });
      for (let i = 0; i < 4; i++) await pending.write(new Uint8Array(30_000));
      await pending.commit([]);
    })();
    const refused = assert.rejects(sent, replied(code, text), reaction);
    if (reaction === "stall") { for (let i = 0; i < 10; i++) await clock.advance(60_000); }
    await refused;
    assert.equal(server.messages.length, 0);
    assert.equal(upstream.open, 0);
  }
});

Deno.test("SubmissionDelivery passes the parameters of MAIL and RCPT on", async () => {
  const { server, delivery, origin } = world();
  const client = origin();
  await using _held = await delivery.checkSender({
    reversePath: ENVELOPE.reversePath,
    body: "8BITMIME",
    smtputf8: true,
    size: 1234,
    dsn: { ret: "HDRS", envelopeId: "a b" },
  }, { origin: client });
  await delivery.checkRecipient({
    forwardPath: address("böb@there.example"),
    notify: ["SUCCESS", "DELAY"],
    originalRecipient: { type: "rfc822", address: "bob+x@there.example" },
  }, { origin: client });
  assert.deepEqual(server.commands.slice(2), [
    "MAIL FROM:<alice@here.example> SIZE=1234 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b",
    `RCPT TO:<${
      textOf(new TextEncoder().encode("böb"))
    }@there.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;bob+2Bx@there.example`,
  ]);
});

Deno.test("SubmissionDelivery keeps the connection for the next message, and for no longer than it may", async () => {
  const { server, delivery, origin, clock, upstream } = world();
  await send(delivery, origin());
  await send(delivery, origin());
  assert.equal(server.connections, 1);
  assert.equal(upstream.open, 1);
  await clock.advance(30_000);
  assert.equal(upstream.open, 0);
  await send(delivery, origin());
  assert.equal(server.connections, 2);
});

Deno.test("SubmissionDelivery connects anew where a kept connection has ended", async () => {
  for (const gone of ["drop", "421 4.3.2 shutting down"] as const) {
    const { server, delivery, origin, upstream } = world();
    await send(delivery, origin());
    let first = true;
    server.script = { MAIL: () => first ? (first = false, gone) : undefined };
    await send(delivery, origin());
    assert.equal(server.messages.length, 2);
    assert.equal(server.connections, 2);
    assert.equal(upstream.open, 1);
  }
});

Deno.test("SubmissionDelivery passes on what refuses sender, recipient, data and message", async () => {
  const at = (script: Script) => {
    const parts = world(script);
    return { ...parts, sent: () => send(parts.delivery, parts.origin()) };
  };
  await assert.rejects(
    at({ MAIL: "452 4.3.1 Not enough room" }).sent,
    replied(452, /^4\.3\.1 Not enough room$/),
  );
  const rcpt = at({ RCPT: "550 5.1.1 Nobody\r\n" });
  const origin = rcpt.origin();
  await using _held = await rcpt.delivery.checkSender(ENVELOPE, { origin });
  assert.deepEqual(await rcpt.delivery.checkRecipient(RECIPIENT, { origin }), {
    accepted: false,
    reply: { code: 550, enhanced: "5.1.1", lines: ["Nobody"] },
  });
  const withoutChunking = world({ DATA: "452 4.3.1 No room" }, { capabilities: WITHOUT_CHUNKING });
  await assert.rejects(send(withoutChunking.delivery, withoutChunking.origin()), replied(452, /No room/));
  await assert.rejects(
    at({ dot: "554-5.6.0 Two\r\n554 5.6.0 lines" }).sent,
    replied(554, /^5\.6\.0 Two lines$/),
  );
});

Deno.test("SubmissionDelivery says 451 4.3.2 where the other server is away, ends or falls silent at any step", async () => {
  const away = world();
  away.cutOff();
  await assert.rejects(send(away.delivery, away.origin()), replied(451, /^4\.3\.2 /));
  assert.equal(away.upstream.open, 0);
  for (const moment of ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "dot"] as const) {
    for (const reaction of ["drop", "stall", "421 4.3.2 going down"] as const) {
      const options = moment === "DATA" ? { capabilities: WITHOUT_CHUNKING } : {};
      const { clock, delivery, origin, upstream, server } = world({ [moment]: reaction }, options);
      const sent = send(delivery, origin()).then(() => undefined, (error) => error);
      if (reaction === "stall") { for (let i = 0; i < 10; i++) await clock.advance(60_000); }
      const error = await sent;
      // At RCPT the reply is a decision, which the helper compares.
      if (moment === "RCPT" && reaction.startsWith("421")) {
        assert.match(String(error), /451/);
      } else assert.ok(replied(451, /^4\.3\.2 /)(error), `${moment} ${reaction}`);
      assert.equal(server.messages.length, 0);
      assert.equal(upstream.open, 0, `${moment} ${reaction}`);
    }
  }
});

Deno.test("a transaction that ends before its data leaves nothing, and the connection for the next", async () => {
  const { server, delivery, origin, upstream } = world();
  const client = origin();
  const held = await delivery.checkSender(ENVELOPE, { origin: client });
  await delivery.checkRecipient(RECIPIENT, { origin: client });
  await held[Symbol.asyncDispose]();
  assert.equal(server.commands.at(-1), "RSET");
  await send(delivery, origin());
  assert.equal(server.connections, 1);
  assert.equal(upstream.open, 1);
});

Deno.test("a message that ends in mid-data comes to nothing, and ends the connection where part of it is on its way", async () => {
  for (
    const { octets, capabilities, open } of [
      { octets: 5000, capabilities: CAPABILITIES, open: 1 },
      { octets: 50_000, capabilities: CAPABILITIES, open: 0 },
      { octets: 5000, capabilities: WITHOUT_CHUNKING, open: 0 },
    ]
  ) {
    const { server, delivery, origin, upstream } = world({}, { capabilities });
    const client = origin();
    {
      await using _held = await delivery.checkSender(ENVELOPE, { origin: client });
      await delivery.checkRecipient(RECIPIENT, { origin: client });
      await using pending = await delivery.begin({ ...ENVELOPE, recipients: [RECIPIENT] }, {
        origin: client,
        forecast,
      });
      await pending.write(new Uint8Array(octets));
    }
    assert.equal(upstream.open, open);
    assert.equal(server.messages.length, 0);
    await send(delivery, origin());
    assert.equal(server.messages.length, 1);
  }
});

Deno.test("no user sends as another, or without a login, and the other server does not hear of it", async () => {
  const { server, delivery, origin } = world();
  await assert.rejects(
    delivery.checkSender({ ...ENVELOPE, reversePath: address("eve@here.example") }, { origin: origin() }),
    replied(550, /^5\.7\.1 <eve@here\.example> is not an address of alice@here\.example$/),
  );
  await assert.rejects(delivery.checkSender(ENVELOPE, { origin: { id: "s" } }), replied(530, /^5\.7\.0 /));
  assert.equal(server.connections, 0);
  await using _receipt = await delivery.checkSender({ ...ENVELOPE, reversePath: null }, { origin: origin() });
  assert.equal(server.commands.at(-1), "MAIL FROM:<>");
});

Deno.test("Upstream.abort() ends what waits for the other server, with 451", async () => {
  const { upstream, delivery, origin, server } = world({ dot: "stall" });
  const sent = send(delivery, origin());
  const refused = assert.rejects(sent, replied(451, /^4\.3\.2 /));
  await until(() => server.commands.some((command) => command.startsWith("BDAT ")), "BDAT", settle);
  await settle();
  upstream.abort();
  await refused;
  assert.equal(upstream.open, 0);
});

Deno.test("Upstream has no more connections than it may; who comes when all are busy waits for one", async () => {
  const { upstream, server, clock } = world({}, { maxConnections: 1 });
  const mail = () => "MAIL FROM:<a@b.example>";
  const first = await upstream.begin(mail);
  const second = upstream.begin(mail);
  await assert.rejects(upstream.begin(mail), replied(451, /^4\.3\.2 Too many messages/));
  await first[Symbol.asyncDispose]();
  await using _second = await second;
  assert.equal(server.connections, 1);
  const third = upstream.begin(mail);
  const refused = assert.rejects(third, replied(451, /^4\.3\.2 Too many messages/));
  await clock.advance(30_000);
  await refused;
  assert.equal(upstream.open, 1);
});
