import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import type { TlsaRecord } from "../dns/resolver.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { fakeUpgrade, type Script } from "../tests/support/fake_server.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { SELF_SIGNED, type World, world } from "../tests/support/host_connection.ts";

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
  ["prefer: plaintext after the 220", {
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

Deno.test("HostConnection.open() does without TLS where the connection ends after the handshake again and again", async () => {
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
