import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { TlsaRecord } from "../dns/resolver.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { systemClock } from "../base/clock.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { FakeServer, fakeUpgrade, type Script } from "../tests/support/fake_server.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { queueEntry, RecordingQueue } from "../tests/support/recording_queue.ts";
import { clientUpgrade } from "../tls/client_upgrade.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { createDial } from "../net/dial.ts";
import { findTargets, type Target } from "./mx.ts";
import type { QueueEntry } from "./queue_entry.ts";
import { PeerMemory } from "./peer_memory.ts";
import type { SessionOptions } from "./ready_session.ts";
import { HostConnection, type RecipientOutcome } from "./transmit.ts";

const TARGET: Target = {
  host: "mx.test",
  address: "192.0.2.1",
  family: 4,
  port: 25,
  via: "mx",
  tls: "prefer",
  authenticated: false,
};

const SELF_SIGNED = { authorized: false, authorizationError: "DEPTH_ZERO_SELF_SIGNED_CERT" };

interface World {
  readonly script?: Script;
  readonly capabilities?: readonly string[];
  readonly target?: Partial<Target>;
  readonly certificate?: Parameters<typeof fakeUpgrade>[0];
  readonly options?: Partial<SessionOptions>;
}

function world({ script, capabilities, target, certificate = SELF_SIGNED, options }: World = {}) {
  const clock = new FakeClock();
  const server = new FakeServer({ clock, ...(script && { script }), ...(capabilities && { capabilities }) });
  const queue = new RecordingQueue();
  const log = new RecordingLog();
  const session: SessionOptions = {
    hostname: "client.test",
    clock,
    timeouts: { command: 300_000, data: 180_000, dataEnd: 600_000 },
    dial: () => Promise.resolve(server.connect()),
    upgrade: fakeUpgrade(certificate),
    peers: new PeerMemory(clock),
    logger: log,
    ...options,
  };
  const open = () => HostConnection.open({ ...TARGET, ...target }, session);
  return { clock, server, queue, log, open };
}

/** `open` and the level, or what kept it from opening. */
async function opening(given: World): Promise<string> {
  const { open, server } = world(given);
  const opened = await open();
  const connections = server.connections === 1 ? "" : `, ${server.connections} connections`;
  if (opened.kind === "unavailable") {
    return `${opened.attempt.status} ${opened.attempt.reply ?? opened.attempt.error}${connections}`;
  }
  await opened.connection.close();
  return `open ${opened.connection.tls}${connections}`;
}

const GOOD = { authorized: true };

const LADDER: readonly (readonly [name: string, given: World, expected: string])[] = [
  ["prefer: no TLS offered", { capabilities: [] }, "open none"],
  ["prefer: self-signed", {}, "open unverified"],
  ["prefer: a good certificate", { certificate: GOOD }, "open verified"],
  ["prefer: STARTTLS refused for good", { script: { STARTTLS: "502 5.5.1 no" } }, "open none, 2 connections"],
  ["prefer: STARTTLS refused for now", { script: { STARTTLS: "454 4.7.0 later" } }, "4.7.0 454 4.7.0 later"],
  ["prefer: 421 to STARTTLS", { script: { STARTTLS: "421 4.7.0 later" } }, "4.7.0 421 4.7.0 later"],
  ["prefer: the handshake fails", { script: { tls: "garbage" } }, "open none, 2 connections"],
  ["prefer: the connection drops in the handshake", { script: { tls: "drop" } }, "open none, 2 connections"],
  ["prefer: plaintext behind the 220", {
    script: { STARTTLS: { raw: "220 go\r\n250 injected\r\n" } },
  }, "open unverified"],
  ["prefer: EHLO refused after the handshake", {
    script: { EHLO: ["250-x\r\n250 STARTTLS", "554 5.7.1 no"], HELO: "554 5.7.1 no" },
  }, "4.7.1 554 5.7.1 no"],
  [
    "require: no TLS offered",
    { capabilities: [], target: { tls: "require" } },
    "4.7.4 TLS is required, and the server does not offer it",
  ],
  [
    "require: EHLO not known",
    { script: { EHLO: "500 what?" }, target: { tls: "require" } },
    "4.7.4 TLS is required, and the server does not offer it",
  ],
  [
    "require: STARTTLS refused for good",
    { script: { STARTTLS: "502 5.5.1 no" }, target: { tls: "require" } },
    "4.5.1 502 5.5.1 no",
  ],
  [
    "require: the handshake fails",
    { script: { tls: "garbage" }, target: { tls: "require" } },
    "4.7.5 TLS handshake failed: garbage",
  ],
  ["require: self-signed", { target: { tls: "require" } }, "open unverified"],
  [
    "verify: self-signed",
    { target: { tls: "verify" } },
    "4.7.5 certificate not accepted: DEPTH_ZERO_SELF_SIGNED_CERT",
  ],
  ["verify: a good certificate", { certificate: GOOD, target: { tls: "verify" } }, "open verified"],
  [
    "verify: no TLS offered",
    { capabilities: [], target: { tls: "verify" } },
    "4.7.4 TLS is required, and the server does not offer it",
  ],
  [
    "dane: servers do not validate",
    { certificate: GOOD, target: { tls: "dane" } },
    "4.7.5 DANE is required: the DNS servers are not trusted to validate (dnssec is off), 0 connections",
  ],
];

for (const [name, given, expected] of LADDER) {
  Deno.test(`HostConnection.open() under ${name}`, async () => assert.equal(await opening(given), expected));
}

Deno.test("HostConnection keeps the words of a reply that cannot be used", async () => {
  const { open } = world({ script: { greeting: { raw: "220-hello\r\n521 go away\r\n" } } });
  const opened = await open();
  assert.ok(opened.kind === "unavailable");
  const { error, reply, status } = opened.attempt;
  assert.deepEqual({ error, reply, status }, {
    error: "different codes in one reply (waiting for the greeting)",
    reply: "220-hello\n521 go away",
    status: "4.5.0",
  });
});

Deno.test("HostConnection.open() does without TLS where STARTTLS is refused with 4xx again and again", async () => {
  const { open, server, clock, log } = world({ script: { STARTTLS: "454 4.7.0 later" } });
  const level = async () => {
    const opened = await open();
    if (opened.kind === "unavailable") return "unavailable";
    await opened.connection.close();
    return opened.connection.tls;
  };
  assert.equal(await level(), "unavailable");
  assert.equal(await level(), "unavailable");
  await clock.advance(60_000);
  assert.equal(await level(), "none");
  assert.deepEqual(log.events.map(({ event, fields }) => `${event} ${fields.reason}`), [
    "host.plaintext 454 4.7.0 later",
  ]);
  server.script = {};
  assert.equal(await level(), "unverified");
  server.script = { STARTTLS: "454 4.7.0 later" };
  assert.equal(await level(), "unavailable");
});

Deno.test("HostConnection.open() does without TLS where the connection ends behind the handshake again and again", async () => {
  const [good, over] = ["250-fake.test\r\n250 STARTTLS", ["250-fake.test\r\n250 STARTTLS", "drop"]] as const;
  const script: Script = { EHLO: [...over, ...over, good] };
  const { open, server, clock } = world({ script });
  const end = async () => {
    const opened = await open();
    if (opened.kind === "unavailable") return opened.attempt.error;
    await opened.connection.close();
    return opened.connection.tls;
  };
  assert.equal(await end(), "connection closed by the server (after EHLO)");
  await clock.advance(60_000);
  assert.equal(await end(), "none");
  assert.equal(server.connections, 3);
  const required = world({ script, target: { tls: "require" } });
  for (const wait of [0, 60_000]) {
    await required.clock.advance(wait);
    assert.equal((await required.open()).kind, "unavailable");
  }
  assert.equal(required.server.connections, 2);
});

Deno.test("HostConnection.open() asks for the certificate that DNSSEC names", async () => {
  const authority = await createTestAuthority();
  const certificate = new X509Certificate((await authority.issue({ names: ["other.test"] })).cert);
  const key = certificate.publicKey.export({ type: "spki", format: "der" });
  const record = (more: Partial<TlsaRecord> = {}) => ({
    usage: 3,
    selector: 1,
    matchingType: 1,
    data: createHash("sha256").update(key).digest(),
    ...more,
  });
  const shown = { ...SELF_SIGNED, peerCertificate: new Uint8Array(certificate.raw) };
  const given = async (tlsa: readonly TlsaRecord[] | "fails", more: World = {}) => {
    const name = tlsa === "fails" ? { fails: ["tlsa" as const] } : { tlsa, authenticated: true };
    const daneResolver = new StaticResolver({ "_25._tcp.mx.test": name });
    return await opening({
      certificate: shown,
      ...more,
      target: { authenticated: true, ...more.target },
      options: { daneResolver },
    });
  };
  const wrong = record({ data: new Uint8Array(32) });
  for (const tls of ["prefer", "require", "verify", "dane"] as const) {
    const target = { tls };
    assert.equal(await given([record(), wrong], { target }), "open dane");
    assert.equal(
      await given([wrong], { target }),
      "4.7.5 the certificate is not the one that DNSSEC names (TLSA)",
    );
    assert.equal(
      await given([record()], { target, capabilities: [] }),
      "4.7.4 TLS is required, and the server does not offer it",
    );
    assert.equal(
      await given([record()], { target, script: { tls: "garbage" } }),
      "4.7.5 TLS handshake failed: garbage",
    );
    assert.equal(await given([record()], { target, script: { STARTTLS: "502 no" } }), "4.0.0 502 no");
    assert.equal(await given("fails", { target }), "4.4.3 TLSA of mx.test: SERVFAIL, 0 connections");
  }
  const target = { tls: "dane" as const, auth: { user: "u", password: "p" } };
  assert.equal(await given([record()], { target, capabilities: ["STARTTLS", "AUTH PLAIN"] }), "open dane");
  assert.equal(await given([record({ usage: 1 })]), "open unverified");
  assert.equal(
    await given([record({ usage: 1 })], { capabilities: [] }),
    "4.7.4 TLS is required, and the server does not offer it",
  );
  assert.match(
    await given([record({ usage: 1 })], { target: { tls: "dane" } }),
    /^4\.7\.5 DANE is required: none of the TLSA records/,
  );
  assert.match(await given([], { target: { tls: "dane" } }), /^4\.7\.5 DANE is required: .*no signed TLSA/);
  assert.equal(await given([]), "open unverified");
  assert.equal(await given([wrong], { target: { authenticated: false } }), "open unverified");
});

Deno.test("HostConnection.open() names to the server what TLSA records were found at", async () => {
  for (const [at, kind] of [["end.test", 3], ["mx.test", 3], ["end.test", 1]] as const) {
    const tlsa = [{ usage: kind, selector: 0, matchingType: 1, data: new Uint8Array(32) }];
    const names: string[] = [];
    const upgrade = fakeUpgrade(SELF_SIGNED);
    await opening({
      target: { authenticated: true, expanded: "end.test" },
      options: {
        daneResolver: new StaticResolver({ [`_25._tcp.${at}`]: { tlsa, authenticated: true } }),
        upgrade: (transport, options) => {
          names.push(options.servername);
          return upgrade(transport, options);
        },
      },
    });
    // A certificate may still have to be valid for the host's own name where no record can be used.
    assert.deepEqual(names, [kind === 3 ? at : "mx.test"]);
  }
});

Deno.test("HostConnection.open() logs in only over verified TLS", async () => {
  const auth = { user: "u", password: "p" };
  const capabilities = ["STARTTLS", "AUTH PLAIN"];
  const target = { auth, tls: "verify" as const };
  assert.equal(await opening({ capabilities, target, certificate: GOOD }), "open verified");
  assert.match(await opening({ capabilities, target }), /^4\.7\.5 certificate not accepted/);
  assert.equal(
    await opening({ capabilities, target: { auth }, certificate: SELF_SIGNED }),
    "4.7.5 no login without verified TLS",
  );
  assert.equal(
    await opening({ capabilities: ["AUTH PLAIN"], target: { auth } }),
    "4.7.5 no login without verified TLS",
  );
  assert.equal(
    await opening({ capabilities: ["STARTTLS", "AUTH GSSAPI"], target, certificate: GOOD }),
    "4.7.8 the server offers neither AUTH PLAIN nor AUTH LOGIN",
  );
  assert.equal(
    await opening({ capabilities, target, certificate: GOOD, script: { AUTH: "535 5.7.8 wrong" } }),
    "4.7.8 535 5.7.8 wrong",
  );
});

Deno.test("HostConnection.open() tells a host that cannot be reached from one that answers", async () => {
  const refused = world({ options: { dial: () => Promise.reject(new Error("connection refused")) } });
  const opened = await refused.open();
  assert.ok(opened.kind === "unavailable");
  assert.equal(opened.reached, false);
  assert.deepEqual(opened.attempt, {
    at: Date.UTC(2026, 0, 1),
    host: "mx.test",
    address: "192.0.2.1",
    status: "4.4.1",
    error: "connection refused",
  });
  const answering = await world({ script: { greeting: "554-5.7.1 go\r\n554 5.7.1 away" } }).open();
  assert.ok(answering.kind === "unavailable");
  assert.equal(answering.reached, true);
  assert.equal(answering.attempt.reply, "554-5.7.1 go\n554 5.7.1 away");
});

Deno.test("HostConnection.open() says where a server fell silent", async () => {
  for (
    const [moment, error] of [
      ["greeting", "no answer in time (waiting for the greeting)"],
      ["EHLO", "no answer in time (after EHLO)"],
      ["tls", "TLS handshake failed: no answer in time"],
    ] as const
  ) {
    const { open, clock } = world({ script: { [moment]: "stall" }, target: { tls: "require" } });
    const opening = open();
    await clock.advance(300_000);
    const opened = await opening;
    assert.equal(opened.kind === "unavailable" && opened.attempt.error, error);
  }
});

Deno.test("HostConnection.open() gives up by signal", async () => {
  const controller = new AbortController();
  const { open, clock } = world({ script: { EHLO: "stall" }, options: { signal: controller.signal } });
  const opening = open();
  await clock.advance(1000);
  controller.abort();
  assert.equal((await opening).kind, "unavailable");
  assert.equal(clock.pending, 0);
});

/** Opens and sends once. */
async function send(
  given: World,
  entry: QueueEntry = queueEntry(["x@d.test"]),
  recipients?: readonly number[],
) {
  const all = world(given);
  const opened = await all.open();
  assert.ok(opened.kind === "open");
  const { connection } = opened;
  const result = await connection.send({
    entry,
    recipients: recipients ?? entry.recipients.map((_, i) => i),
    queue: all.queue,
  });
  return { ...all, ...result, connection };
}

function brief({ recipient, result, attempt }: RecipientOutcome): string {
  return `${recipient} ${result} ${attempt.status}`;
}

Deno.test("HostConnection.send() records host, address, TLS level and reply", async () => {
  const { outcomes, connection } = await send({ script: { dot: "250-2.0.0 thanks\r\n250 2.0.0 as 1234" } });
  assert.deepEqual(outcomes, [{
    recipient: 0,
    result: "relayed",
    attempt: {
      at: Date.UTC(2026, 0, 1),
      host: "mx.test",
      address: "192.0.2.1",
      tls: "unverified",
      status: "2.0.0",
      reply: "250-2.0.0 thanks\n250 2.0.0 as 1234",
    },
    nextHost: false,
    dsnHandedOn: true,
  }]);
  await connection.close();
});

Deno.test("HostConnection.send() gives each recipient its own outcome and writes down whom the dot is for", async () => {
  const RCPT = (line: string) =>
    line.includes("no@") ? "550 5.1.1 no" : line.includes("later@") ? "450 4.2.1 later" : undefined;
  const entry = queueEntry(["done@t", "no@t", "yes@t", "later@t", "also@t"]);
  const { outcomes, queue, server, connection } = await send({ script: { RCPT } }, entry, [1, 2, 3, 4]);
  assert.deepEqual(outcomes.map(brief), [
    "1 failed 5.1.1",
    "2 relayed 2.0.0",
    "3 deferred 4.2.1",
    "4 relayed 2.0.0",
  ]);
  assert.deepEqual(queue.notes, ["dot 2,4 at mx.test", "relayed 2,4"]);
  assert.deepEqual(server.messages[0]?.to, ["yes@t", "also@t"]);
  await connection.close();
});

Deno.test("HostConnection.send() splits many recipients over transactions as the server wants", async () => {
  const entry = queueEntry(Array.from({ length: 250 }, (_, i) => `u${i}@t`));
  const plain = await send({}, entry);
  assert.deepEqual(plain.server.messages.map(({ to }) => to.length), [100, 100, 50]);
  assert.ok(plain.outcomes.every(({ result }) => result === "relayed"));
  assert.equal(plain.queue.notes.length, 6);
  await plain.connection.close();

  const limited = await send(
    { capabilities: ["LIMITS RCPTMAX=10", "PIPELINING"] },
    queueEntry(Array.from({ length: 25 }, (_, i) => `u${i}@t`)),
  );
  assert.deepEqual(limited.server.messages.map(({ to }) => to.length), [10, 10, 5]);
  await limited.connection.close();
});

Deno.test("HostConnection.send() sends at once to the recipients that were too many", async () => {
  for (const tooMany of ["452 4.5.3 too many", "452 too many", "552 too many"]) {
    let count = 0;
    const script: Script = {
      MAIL: () => {
        count = 0;
        return undefined;
      },
      RCPT: () => ++count > 2 ? tooMany : undefined,
    };
    const { outcomes, server, connection } = await send(
      { script },
      queueEntry(["a@t", "b@t", "c@t", "d@t", "e@t"]),
    );
    assert.deepEqual(server.messages.map(({ to }) => to), [["a@t", "b@t"], ["c@t", "d@t"], ["e@t"]]);
    assert.ok(outcomes.every(({ result }) => result === "relayed"));
    await connection.close();
  }
  for (const [tooMany, status] of [["552 5.5.3 too many", "4.5.3"], ["552 too many", "4.0.0"]] as const) {
    const script: Script = { RCPT: ["250 ok", tooMany], dot: "451 4.3.0 later" };
    const later = await send({ script }, queueEntry(["a@t", "b@t"]));
    assert.deepEqual(later.outcomes.map(brief), ["0 deferred 4.3.0", `1 deferred ${status}`]);
    await later.connection.close();
  }
  const alone = await send({ script: { RCPT: "552 too much" } });
  assert.deepEqual(alone.outcomes.map(brief), ["0 failed 5.0.0"]);
  await alone.connection.close();
  const none = await send({ script: { RCPT: "452 4.5.3 too many" } });
  assert.deepEqual(none.outcomes.map(brief), ["0 deferred 4.5.3"]);
  await none.connection.close();
  const full = await send(
    { script: { RCPT: ["250 ok", "552 5.2.2 mailbox full"] } },
    queueEntry(["a@t", "b@t"]),
  );
  assert.deepEqual(full.outcomes.map(brief), ["0 relayed 2.0.0", "1 failed 5.2.2"]);
  await full.connection.close();
});

Deno.test("HostConnection.send() keeps what was relayed when the connection ends before the rest", async () => {
  const entry = queueEntry(Array.from({ length: 150 }, (_, i) => `u${i}@t`));
  const { outcomes, usable } = await send({ script: { MAIL: ["250 ok", "421 4.3.2 enough"] } }, entry);
  assert.equal(outcomes.filter(({ result }) => result === "relayed").length, 100);
  assert.equal(
    outcomes.filter(({ result, attempt }) => result === "deferred" && attempt.reply === "421 4.3.2 enough")
      .length,
    50,
  );
  assert.equal(usable, false);
});

const UTF8 = queueEntry(["ö@d.test", "x@d.test"]);
const CONTENT:
  readonly (readonly [name: string, capabilities: string[], entry: QueueEntry, expected: string[]])[] = [
    [
      "8-bit body, 8BITMIME",
      ["8BITMIME"],
      queueEntry(["x@d.test"], { content: { eightBitHeader: false, eightBitBody: true } }),
      ["0 relayed 2.0.0", "MAIL FROM:<a@client.test> BODY=8BITMIME"],
    ],
    [
      "8-bit body, none",
      [],
      queueEntry(["x@d.test"], { content: { eightBitHeader: false, eightBitBody: true } }),
      ["0 failed 5.6.3"],
    ],
    [
      "8-bit body declared 7BIT, none",
      [],
      queueEntry(["x@d.test"], { body: "7BIT", content: { eightBitHeader: false, eightBitBody: true } }),
      ["0 failed 5.6.3"],
    ],
    ["7-bit body declared 8BITMIME, none", [], queueEntry(["x@d.test"], { body: "8BITMIME" }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@client.test>",
    ]],
    [
      "UTF-8 header, SMTPUTF8",
      ["8BITMIME", "SMTPUTF8"],
      queueEntry(["x@d.test"], { content: { eightBitHeader: true, eightBitBody: false } }),
      ["0 relayed 2.0.0", "MAIL FROM:<a@client.test> BODY=8BITMIME SMTPUTF8"],
    ],
    [
      "UTF-8 header, 8BITMIME only",
      ["8BITMIME"],
      queueEntry(["x@d.test"], { content: { eightBitHeader: true, eightBitBody: false } }),
      ["0 failed 5.6.9"],
    ],
    ["SMTPUTF8 declared and not needed, none", [], queueEntry(["x@d.test"], { smtputf8: true }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@client.test>",
    ]],
    ["UTF-8 recipient beside an ASCII one, none", [], UTF8, [
      "0 failed 5.6.7",
      "1 relayed 2.0.0",
      "MAIL FROM:<a@client.test>",
      "RCPT TO:<x@d.test>",
    ]],
    ["UTF-8 sender, none", [], queueEntry(["x@d.test"], { reversePath: "ä@client.test" }), [
      "0 failed 5.6.7",
    ]],
    ["UTF-8 domains only, none", [], queueEntry(["x@bücher.test"], { reversePath: "a@bücher.test" }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@xn--bcher-kva.test>",
      "RCPT TO:<x@xn--bcher-kva.test>",
    ]],
    ["too large", ["SIZE 1000"], queueEntry(["x@d.test"], { size: 1001 }), ["0 failed 5.3.4"]],
    ["just not too large", ["SIZE 1000"], queueEntry(["x@d.test"], { size: 1000 }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@client.test> SIZE=1000",
    ]],
    ["any size", ["SIZE 0"], queueEntry(["x@d.test"], { size: 1001 }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@client.test> SIZE=1001",
    ]],
    ["an address that is an attack", [], queueEntry(["x@d.test>\r\nRSET\r\n", "y@d.test"]), [
      "0 failed 5.1.3",
      "1 relayed 2.0.0",
    ]],
  ];

for (const [name, capabilities, entry, expected] of CONTENT) {
  Deno.test(`HostConnection.send() decides by content: ${name}`, async () => {
    const { outcomes, server, connection } = await send({ capabilities }, entry);
    const seen = [...outcomes.map(brief), ...server.commands.filter((line) => /^(MAIL|RCPT)/.test(line))];
    assert.deepEqual(seen.slice(0, expected.length), expected);
    if (expected.every((line) => line.includes("failed"))) assert.equal(server.messages.length, 0);
    assert.ok(
      outcomes.every(({ result, attempt, nextHost }) =>
        result !== "failed" || (attempt.error !== undefined && !nextHost)
      ),
    );
    await connection.close();
  });
}

Deno.test("HostConnection.send() says whether the server took over the notices", async () => {
  const entry = queueEntry(["x@d.test"], { dsn: { ret: "FULL", envelopeId: "e1" } });
  const announced = await send({ capabilities: ["DSN"] }, entry);
  assert.equal(announced.outcomes[0]?.dsnHandedOn, true);
  assert.ok(announced.server.commands.includes("MAIL FROM:<a@client.test> RET=FULL ENVID=e1"));
  await announced.connection.close();
  const other = await send({ capabilities: [] }, entry);
  assert.equal(other.outcomes[0]?.dsnHandedOn, false);
  await other.connection.close();
});

Deno.test("HostConnection.send() calls a kept connection stale that had ended meanwhile", async () => {
  const endings: Script[] = [{ MAIL: ["250 ok", "drop"] }, { MAIL: ["250 ok", "421 4.4.2 idle"] }, {
    RSET: "drop",
    RCPT: "550 5.1.1 no",
  }, {
    RSET: "502 5.5.1 what?",
    RCPT: "550 5.1.1 no",
  }];
  for (const script of endings) {
    const { connection, queue } = await send({ script, capabilities: [] });
    const again = await connection.send({ entry: queueEntry(["y@d.test"]), recipients: [0], queue });
    assert.equal(again.stale, true, JSON.stringify(script));
    assert.equal(again.usable, false);
  }
  const fresh = await send({ script: { MAIL: "421 4.3.2 no" } });
  assert.equal(fresh.stale, false);
  const later = await send({ script: { RCPT: ["250 ok", "drop"] }, capabilities: [] });
  const again = await later.connection.send({
    entry: queueEntry(["y@d.test"]),
    recipients: [0],
    queue: later.queue,
  });
  assert.equal(again.stale, false);
});

Deno.test("HostConnection.send() sends nothing where the dot cannot be written down, and defers without another host", async () => {
  for (const failing of ["open", "dotSent"] as const) {
    const all = world();
    all.queue.failing = failing;
    const opened = await all.open();
    assert.ok(opened.kind === "open");
    const { outcomes } = await opened.connection.send({
      entry: queueEntry(["x@d.test"]),
      recipients: [0],
      queue: all.queue,
    });
    assert.deepEqual(outcomes.map(brief), ["0 deferred 4.3.0"]);
    assert.equal(outcomes[0]?.nextHost, false);
    assert.equal(all.server.messages.length, 0);
    assert.equal(all.queue.openCount, 0);
  }
});

Deno.test("HostConnection.send() stays with what the server said when the answer cannot be written down", async () => {
  const all = world();
  all.queue.failing = "dotAnswered";
  const opened = await all.open();
  assert.ok(opened.kind === "open");
  const { outcomes } = await opened.connection.send({
    entry: queueEntry(["x@d.test"]),
    recipients: [0],
    queue: all.queue,
  });
  assert.deepEqual(outcomes.map(brief), ["0 relayed 2.0.0"]);
  assert.deepEqual(all.log.events.map(({ level, event }) => `${level} ${event}`), [
    "error queue.journal_failed",
  ]);
  await opened.connection.close();
});

Deno.test("HostConnection.send() waits where our own serve-in has not heard of a domain yet, and only there", async () => {
  const script = { RCPT: ["550 5.7.1 relaying denied", "550 5.1.1 no such mailbox"] };
  const entry = queueEntry(["x@d.test", "y@d.test"]);
  const local = await send({ script, target: { via: "local" } }, entry);
  assert.deepEqual(local.outcomes.map(brief), ["0 deferred 4.7.1", "1 failed 5.1.1"]);
  const elsewhere = await send({ script }, entry);
  assert.deepEqual(elsewhere.outcomes.map(brief), ["0 failed 5.7.1", "1 failed 5.1.1"]);
  const late = await send({ script: { dot: "550 5.7.1 policy" }, target: { via: "local" } });
  assert.deepEqual(late.outcomes.map(brief), ["0 failed 5.7.1"]);
});

Deno.test("HostConnection.abort() ends what is being sent", async () => {
  const all = world({ script: { dot: "stall" } });
  const opened = await all.open();
  assert.ok(opened.kind === "open");
  const sending = opened.connection.send({
    entry: queueEntry(["x@d.test"]),
    recipients: [0],
    queue: all.queue,
  });
  await all.clock.advance(1000);
  opened.connection.abort();
  const { outcomes } = await sending;
  assert.equal(outcomes[0]?.attempt.dotSentNoReply, true);
  assert.deepEqual(all.queue.notes, ["dot 0 at mx.test"]);
});

Deno.test("HostConnection.abort() can spare a message whose final dot has been sent, and no other", async () => {
  for (const moment of ["DATA", "dot"] as const) {
    const all = world({ script: { [moment]: "stall" } });
    const opened = await all.open();
    assert.ok(opened.kind === "open");
    const sending = opened.connection.send({
      entry: queueEntry(["x@d.test"]),
      recipients: [0],
      queue: all.queue,
    });
    await all.clock.advance(1000);
    let over = false;
    sending.then(() => over = true);
    opened.connection.abort({ unlessDotSent: true });
    await all.clock.advance(1000);
    assert.equal(over, moment === "DATA");
    opened.connection.abort();
    await sending;
  }
});

// The first byte of a ClientHello's record (RFC 8446 §5.1); no SMTP command begins so.
const HANDSHAKE_RECORD = 22;

/** A server with real TLS on a loopback port, which speaks just enough, on as many connections as come. */
async function realServer(
  names: readonly string[],
  options: { readonly notAfter?: Date; readonly implicitTls?: boolean; readonly ends?: "greeting" | "EHLO" } =
    {},
) {
  const authority = await createTestAuthority();
  const { cert, key } = await authority.issue({
    names,
    ...(options.notAfter &&
      { notAfter: options.notAfter, notBefore: new Date(options.notAfter.getTime() - 86_400_000) }),
  });
  const upgrade = serverUpgrade({ certificates: { secureContext: createSecureContext({ cert, key }) } });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const received: string[] = [];
  const serve = async (conn: Deno.Conn) => {
    let transport: Parameters<typeof upgrade>[0] = new ConnTransport(conn, { clock: systemClock });
    const say = (text: string) => transport.write(new TextEncoder().encode(`${text}\r\n`));
    try {
      if (options.implicitTls) transport = (await upgrade(transport)).transport;
      if (options.ends === "greeting") throw new Error("enough");
      await say("220 real.test");
      const buffer = new Uint8Array(70_000);
      let data = false;
      for (let size = await transport.read(buffer); size !== null; size = await transport.read(buffer)) {
        const text = new TextDecoder().decode(buffer.subarray(0, size));
        received.push(text);
        if (data) {
          if (!text.endsWith("\r\n.\r\n")) continue;
          data = false;
          await say("250 2.0.0 ok");
        } else if (text === "STARTTLS\r\n") {
          await say("220 go");
          transport = (await upgrade(transport)).transport;
        } else if (text.startsWith("EHLO")) {
          if (options.ends === "EHLO") throw new Error("enough");
          await say("250-real.test\r\n250 STARTTLS");
        } else if (text === "DATA\r\n") {
          data = true;
          await say("354 go");
        } else {
          await say("250 2.0.0 ok");
        }
      }
    } catch {
      // The client has had enough.
    }
    transport.close();
  };
  const work: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const conn of listener) work.push(serve(conn));
  })();
  return {
    ca: authority.cert,
    certificate: new X509Certificate(cert),
    port: listener.addr.port,
    received,
    async stop() {
      listener.close();
      await accepting;
      await Promise.all(work);
    },
  };
}

const REAL: readonly (readonly [
  name: string,
  given: { names?: string[]; notAfter?: Date; trusted?: boolean; tls?: Target["tls"]; implicitTls?: boolean },
  expected: RegExp,
])[] = [
  ["prefer, trusted", { trusted: true }, /^verified$/],
  ["prefer, unknown authority", {}, /^unverified$/],
  ["prefer, another name", { names: ["other.test"], trusted: true }, /^unverified$/],
  ["prefer, expired", { notAfter: new Date(Date.now() - 1000), trusted: true }, /^unverified$/],
  ["verify, trusted", { trusted: true, tls: "verify" }, /^verified$/],
  ["verify, unknown authority", { tls: "verify" }, /^4\.7\.5 certificate not accepted/],
  [
    "verify, another name",
    { names: ["other.test"], trusted: true, tls: "verify" },
    /^4\.7\.5 certificate not accepted/,
  ],
  [
    "verify, expired",
    { notAfter: new Date(Date.now() - 1000), trusted: true, tls: "verify" },
    /^4\.7\.5 certificate not accepted .*CERT_HAS_EXPIRED/,
  ],
  ["TLS first, prefer, unknown authority", { implicitTls: true }, /^unverified$/],
  ["TLS first, verify, trusted", { implicitTls: true, trusted: true, tls: "verify" }, /^verified$/],
  [
    "TLS first, verify, unknown authority",
    { implicitTls: true, tls: "verify" },
    /^4\.7\.5 certificate not accepted/,
  ],
];

for (const [name, given, expected] of REAL) {
  Deno.test(`HostConnection sends over a real socket and real TLS: ${name}`, async () => {
    const { names = ["mx.test"], notAfter, trusted, tls = "prefer", implicitTls = false } = given;
    const server = await realServer(names, { implicitTls, ...(notAfter && { notAfter }) });
    const { open, queue } = world({
      target: { address: "127.0.0.1", port: server.port, tls, implicitTls },
      options: {
        clock: systemClock,
        dial: createDial({ clock: systemClock, timeout: 10_000 }),
        upgrade: clientUpgrade,
        ...(trusted && { ca: server.ca }),
      },
    });
    const opened = await open();
    if (opened.kind === "unavailable") {
      assert.match(`${opened.attempt.status} ${opened.attempt.error}`, expected);
    } else {
      assert.match(opened.connection.tls, expected);
      const { outcomes } = await opened.connection.send({
        entry: queueEntry(["x@d.test"]),
        recipients: [0],
        queue,
      });
      assert.deepEqual(outcomes.map(brief), ["0 relayed 2.0.0"]);
      await opened.connection.close();
    }
    await server.stop();
    assert.equal(
      server.received.filter((text) => text.startsWith("EHLO")).length,
      (opened.kind === "open" ? 1 : 0) + (implicitTls ? 0 : 1),
    );
  });
}

for (
  const [what, server, expected] of [
    ["where the server speaks first", {}, /^4\.7\.5 .*TLS/],
    ["where the connection ends behind the handshake", { implicitTls: true, ends: "greeting" }, /^4\.4\.2 /],
    ["where the connection ends behind EHLO", { implicitTls: true, ends: "EHLO" }, /^4\.4\.2 .*after EHLO/],
  ] as const
) {
  Deno.test(`HostConnection.open() never does without TLS where that comes first: ${what}`, async () => {
    const { port, stop } = await realServer(["mx.test"], server);
    const beginnings: (number | undefined)[] = [];
    const dial = createDial({ clock: systemClock, timeout: 10_000 });
    const { open, log, clock } = world({
      target: { address: "127.0.0.1", port, implicitTls: true },
      options: {
        clock: systemClock,
        timeouts: { command: 5_000, data: 5_000, dataEnd: 5_000 },
        dial: async (to) => {
          const transport = await dial(to);
          const write = transport.write.bind(transport);
          const connection = beginnings.push(undefined) - 1;
          transport.write = (data) => {
            beginnings[connection] ??= data[0];
            return write(data);
          };
          return transport;
        },
        upgrade: clientUpgrade,
      },
    });
    // Under STARTTLS the last of these waits would be long enough to do without.
    for (const wait of [0, 29_000, 60_000]) {
      await clock.advance(wait);
      const opened = await open();
      assert.ok(opened.kind === "unavailable");
      assert.match(`${opened.attempt.status} ${opened.attempt.error}`, expected);
    }
    await stop();
    assert.deepEqual(beginnings, [HANDSHAKE_RECORD, HANDSHAKE_RECORD, HANDSHAKE_RECORD]);
    assert.deepEqual(log.events.filter(({ event }) => event === "host.plaintext"), []);
  });
}

for (const port of [25, 587, 465]) {
  Deno.test(`HostConnection.open() asks for the certificate that DNSSEC names on port ${port} of a route`, async () => {
    const server = await realServer(["other.test"], { implicitTls: port === 465 });
    const dial = createDial({ clock: systemClock, timeout: 10_000 });
    const right = {
      usage: 3,
      selector: 0,
      matchingType: 1,
      data: createHash("sha256").update(server.certificate.raw).digest(),
    };
    const wrong = { ...right, data: new Uint8Array(32) };
    const open = async (
      tls: Target["tls"] | undefined,
      tlsa: readonly TlsaRecord[],
      authenticated = true,
    ) => {
      const resolver = new StaticResolver({
        "smart.test": { a: ["192.0.2.1"], authenticated },
        [`_${port}._tcp.smart.test`]: { tlsa, authenticated: true },
      });
      const found = await findTargets("d.test", {
        resolver,
        family: "auto",
        port: 25,
        allowPrivateTargets: false,
        hostname: "client.test",
        ownListeners: [],
        routes: new Map([["*", { host: "smart.test", port }]]),
        tlsPolicy: new Map(tls === undefined ? [] : [["d.test", tls]]),
        random: () => 0,
        logger: new RecordingLog(),
      });
      assert.ok(found.kind === "targets");
      const opened = await world({
        target: found.targets[0] ?? {},
        options: {
          clock: systemClock,
          dial: ({ address }) => {
            assert.equal(address, "192.0.2.1");
            return dial({ address: "127.0.0.1", port: server.port });
          },
          upgrade: clientUpgrade,
          daneResolver: resolver,
        },
      }).open();
      if (opened.kind === "unavailable") return `${opened.attempt.status} ${opened.attempt.error}`;
      await opened.connection.close();
      return opened.connection.tls;
    };
    for (const tls of [undefined, "verify", "dane"] as const) {
      assert.equal(await open(tls, [wrong, right]), "dane");
      assert.equal(await open(tls, [wrong]), "4.7.5 the certificate is not the one that DNSSEC names (TLSA)");
    }
    // The configuration goes before DNS: these ask for no certificate.
    for (const tls of ["prefer", "require"] as const) assert.equal(await open(tls, [wrong]), "unverified");
    assert.equal(await open("dane", []), "4.7.5 DANE is required: smart.test has no signed TLSA records");
    assert.equal(
      await open("dane", [right], false),
      "4.7.5 DANE is required: the way to smart.test is not secured by DNSSEC",
    );
    assert.equal(await open(undefined, []), "unverified");
    assert.equal(await open(undefined, [wrong], false), "unverified");
    assert.match(await open("verify", [right], false), /^4\.7\.5 certificate not accepted/);
    await server.stop();
  });
}
