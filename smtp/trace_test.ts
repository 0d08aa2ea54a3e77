import assert from "node:assert/strict";
import type { Session, Transaction } from "./session.ts";
import { addressLiteral, received, returnPath, withProtocol } from "./trace.ts";

const ends = { remote: { address: "192.0.2.9", port: 1 }, local: { address: "192.0.2.1", port: 25 } };
const session: Session = {
  id: "s1",
  ...ends,
  hello: { verb: "EHLO", domain: "client.test" },
  errorCount: 0,
  refusedRecipientCount: 0,
  messageCount: 0,
};
const mailbox = (localPart: string) => ({
  localPart,
  domain: "here.example",
  text: `${localPart}@here.example`,
});
const transaction: Transaction = {
  reversePath: mailbox("a"),
  recipients: [{ forwardPath: mailbox("alice") }],
  body: "7BIT",
  smtputf8: false,
};
const options = { hostname: "mx.here.example", id: "M1", now: Date.UTC(2026, 10, 24, 6, 7, 8) };

Deno.test("withProtocol() names the protocol (RFC 3848, RFC 6531 §3.7.3)", () => {
  const tls = { protocol: "TLSv1.3", cipher: "X" };
  const helo: Session = { ...session, hello: { verb: "HELO", domain: "client.test" } };
  assert.equal(withProtocol(helo, false), "SMTP");
  assert.equal(withProtocol(session, false), "ESMTP");
  assert.equal(withProtocol({ ...session, tls }, false), "ESMTPS");
  assert.equal(withProtocol({ ...helo, tls }, false), "ESMTPS");
  assert.equal(withProtocol(session, true), "UTF8SMTP");
  assert.equal(withProtocol({ ...session, tls }, true), "UTF8SMTPS");
});

Deno.test("addressLiteral() writes both families", () => {
  assert.equal(addressLiteral("192.0.2.9"), "[192.0.2.9]");
  assert.equal(addressLiteral("2001:db8::1"), "[IPv6:2001:db8::1]");
});

Deno.test("received() tells whence, by whom, how, when and, with one recipient, for whom", () => {
  assert.deepEqual(received(session, transaction, options), {
    name: "Received",
    value: "from client.test ([192.0.2.9])\r\n" +
      "\tby mx.here.example with ESMTP\r\n" +
      "\tid M1\r\n" +
      "\tfor <alice@here.example>; Tue, 24 Nov 2026 06:07:08 +0000",
  });
});

Deno.test("received() needs no SMTPUTF8 for a domain that is not ASCII", () => {
  const forwardPath = { localPart: "u", domain: "xn--bcher-kva.example", text: "u@bücher.example" };
  const { value } = received(session, { ...transaction, recipients: [{ forwardPath }] }, options);
  assert.match(value, /\tfor <u@xn--bcher-kva\.example>;/);
});

Deno.test("received() tells TLS version and cipher, and no recipient where there are several", () => {
  const tls = { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" };
  const several = {
    ...transaction,
    recipients: [...transaction.recipients, { forwardPath: mailbox("bob") }],
  };
  assert.equal(
    received({ ...session, remote: { address: "2001:db8::1", port: 1 }, tls }, several, options).value,
    "from client.test ([IPv6:2001:db8::1])\r\n" +
      "\tby mx.here.example with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n" +
      "\tid M1; Tue, 24 Nov 2026 06:07:08 +0000",
  );
});

Deno.test("received() keeps its lines within RFC 5322's 998 octets, whatever the names", () => {
  const long = "x".repeat(255);
  const { value } = received(
    { ...session, hello: { verb: "EHLO", domain: long } },
    { ...transaction, recipients: [{ forwardPath: { localPart: "", domain: "here.example", text: long } }] },
    { ...options, hostname: long },
  );
  for (const line of value.split("\r\n")) assert.ok(line.length < 998);
});

Deno.test("received() names no recipient that has no domain, which the grammar does not know", () => {
  const forwardPath = { localPart: "Postmaster", domain: "", text: "Postmaster" };
  const { value } = received(session, { ...transaction, recipients: [{ forwardPath }] }, options);
  assert.match(value, /\tid M1; Tue, /);
});

Deno.test("returnPath() writes the reverse-path, or <>", () => {
  assert.deepEqual(returnPath(transaction), { name: "Return-Path", value: "<a@here.example>" });
  assert.deepEqual(returnPath({ ...transaction, reversePath: null }), { name: "Return-Path", value: "<>" });
});

Deno.test("received() that is not to name the client has neither its name nor its address", () => {
  const tls = { protocol: "TLSv1.3", cipher: "X" };
  const { value } = received({ ...session, tls, login: "alice" }, transaction, {
    ...options,
    namesClient: false,
  });
  assert.equal(
    value,
    "by mx.here.example with ESMTPSA (TLSv1.3 X)\r\n\tid M1\r\n" +
      "\tfor <alice@here.example>; Tue, 24 Nov 2026 06:07:08 +0000",
  );
});
