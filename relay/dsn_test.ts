import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { newEntry, recipient } from "../tests/support/queue_entry.ts";
import { noticeComposer, writeNotice } from "./dsn.ts";
import type { QueuedMessage } from "./queue.ts";
import { type Attempt, type QueueEntry, type QueueRecipient, RETURNED_BY_OPERATOR } from "./queue_entry.ts";
import type { ReturnedContent } from "./returned_content.ts";
import type { NoticeKind } from "./settle.ts";

const ACCEPTED = Date.UTC(2026, 10, 20, 6, 0, 0);
const NOW = Date.UTC(2026, 10, 24, 6, 0, 0);
const DAY = 24 * 3600 * 1000;
const encoder = new TextEncoder();

function refused(reply: string, status = "5.1.1"): Attempt {
  return { at: NOW - 1000, host: "mx1.one.test", address: "192.0.2.5", reply, status };
}

function failed(address: string, changes: Partial<QueueRecipient> = {}): QueueRecipient {
  return recipient(address, {
    status: "failed",
    attemptCount: 1,
    attempts: [refused("550 5.1.1 No such user")],
    ...changes,
  });
}

function entryOf(recipients: QueueRecipient[], changes: Partial<QueueEntry> = {}): QueueEntry {
  return newEntry(recipients, {
    id: "0message01",
    acceptedAt: ACCEPTED,
    reversePath: "alice@sender.test",
    size: 100,
    ...changes,
  });
}

function notice(
  entry: QueueEntry,
  { kind = "failure", returned }: { kind?: NoticeKind; returned?: ReturnedContent } = {},
) {
  const result = writeNotice(
    { id: "0notice001", kind, entry, age: NOW - ACCEPTED, recipients: entry.recipients.map((_, i) => i) },
    {
      hostname: "mx.test",
      expireAfter: 5 * DAY,
      now: NOW,
      ...(returned && { returned }),
    },
  );
  return { ...result, text: new TextDecoder("latin1").decode(result.message) };
}

/** The parts as header and body. */
function partsOf(text: string): { fields: string; body: string }[] {
  return text.split(/\r\n--=_0notice001(?:--)?\r\n/).slice(1, -1).map((part) => {
    const at = part.indexOf("\r\n\r\n");
    return { fields: part.slice(0, at), body: part.slice(at + 4) };
  });
}

Deno.test("writeNotice() says in words which promise about TLS the receiver did not keep", () => {
  const demands = {
    "mta-sts": /\(MTA-STS\), and there was no such server/,
    dane: /\(DANE\), and the server that answered has none of them/,
    configuration: /only over TLS, as its settings demand/,
  } as const;
  for (const [policy, words] of Object.entries(demands)) {
    const attempt: Attempt = {
      ...{ at: NOW - 1000, host: "mx1.one.test", address: "192.0.2.5", status: "4.7.5" },
      error: "certificate not accepted: self-signed",
      policy: policy as keyof typeof demands,
    };
    const { text } = notice(entryOf([failed("bob@one.test", { attempts: [attempt] })]));
    const [people, machines] = partsOf(text);
    const said = (people?.body ?? "").replace(/\s+/g, " ");
    assert.match(said, words);
    for (const [other, otherWords] of Object.entries(demands)) {
      if (other !== policy) assert.doesNotMatch(said, otherWords);
    }
    assert.match(machines?.body ?? "", /^Status: [45]\.7\.5\r$/m);
  }
});

Deno.test("writeNotice() reports a failure to people and to machines", () => {
  const { entry, text } = notice(
    entryOf(
      [failed("bob@one.test", { originalRecipient: { type: "rfc822", address: "sales@one.test" } })],
      {
        dsn: { envelopeId: "QQ314159" },
      },
    ),
    { returned: { bytes: encoder.encode("From: a\r\nMessage-ID: <x@y>\r\n"), whole: false } },
  );
  const header = text.slice(0, text.indexOf("\r\n\r\n"));
  for (
    const field of [
      "Date: Tue, 24 Nov 2026 06:00:00 +0000",
      "From: Mail Delivery System <MAILER-DAEMON@mx.test>",
      "To: <alice@sender.test>",
      "Subject: Not delivered: your message to bob@one.test",
      "Message-ID: <0notice001@mx.test>",
      "In-Reply-To: <x@y>",
      "Auto-Submitted: auto-replied",
      "MIME-Version: 1.0",
    ]
  ) assert.ok(header.split("\r\n").includes(field), field);
  assert.match(
    header,
    /Content-Type: multipart\/report; report-type=delivery-status;\r\n\tboundary="=_0notice001"/,
  );
  const [people, machines, returned] = partsOf(text);
  assert.match(people?.body ?? "", /<bob@one\.test>\r\n {2}\(sent to sales@one\.test\)/);
  assert.match(
    people?.body ?? "",
    /mx1\.one\.test \(192\.0\.2\.5\) said:\r\n {4}550 5\.1\.1 No such user\r\n/,
  );
  assert.match(people?.body ?? "", /What this means: There is no mailbox/);
  assert.equal(machines?.fields.split("\r\n")[0], "Content-Type: message/delivery-status");
  assert.equal(
    machines?.body,
    [
      "Reporting-MTA: dns; mx.test",
      "Original-Envelope-Id: QQ314159",
      "Arrival-Date: Fri, 20 Nov 2026 06:00:00 +0000",
      "",
      "Original-Recipient: rfc822; sales@one.test",
      "Final-Recipient: rfc822; bob@one.test",
      "Action: failed",
      "Status: 5.1.1",
      "Remote-MTA: dns; mx1.one.test",
      "Diagnostic-Code: smtp; 550 5.1.1 No such user",
      "Last-Attempt-Date: Tue, 24 Nov 2026 05:59:59 +0000",
      "",
    ].join("\r\n"),
  );
  assert.deepEqual(returned, {
    fields: "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit",
    body: "From: a\r\nMessage-ID: <x@y>\r\n",
  });
  assert.equal(entry.reversePath, "");
  assert.equal(entry.size, encoder.encode(text).length);
  assert.deepEqual(entry.recipients.map(({ address, domain, status }) => [address, domain, status]), [
    ["alice@sender.test", "sender.test", "pending"],
  ]);
});

Deno.test("writeNotice() gives each kind its action and a status of its class", () => {
  const attempts: Attempt[] = [{ at: NOW, host: "mx", error: "connection refused", status: "4.4.1" }];
  const cases: readonly (readonly [NoticeKind, Partial<QueueRecipient>, string, string])[] = [
    ["failure", { attempts: [refused("550 x", "5.7.1")] }, "failed", "5.7.1"],
    ["failure", { attempts }, "failed", "5.4.1"],
    ["failure", { attempts: [refused("550 x", "rubbish")] }, "failed", "5.0.0"],
    ["failure", { attempts: [] }, "failed", "5.0.0"],
    ["failure", { status: "expired", attempts }, "failed", "4.4.7"],
    ["delay", { status: "pending", attempts }, "delayed", "4.4.1"],
    ["success", { status: "relayed", attempts: [refused("250 ok", "2.0.0")] }, "relayed", "2.0.0"],
  ];
  for (const [kind, changes, action, status] of cases) {
    const { text } = notice(entryOf([failed("b@one.test", changes)]), { kind });
    assert.match(text, new RegExp(`\r\nAction: ${action}\r\nStatus: ${status}\r\n`));
    assert.equal(text.includes("Will-Retry-Until: Wed, 25 Nov 2026 06:00:00 +0000"), kind === "delay");
  }
});

Deno.test("writeNotice() quotes every host that spoke while a message expired", () => {
  const attempts = ["mx.a", "mx.b", "mx.a"].map((host): Attempt => ({
    at: NOW,
    host,
    address: "192.0.2.1",
    error: "connection refused",
    status: "4.4.1",
  }));
  const { text } = notice(
    entryOf([failed("b@one.test", { status: "expired", attemptCount: 31, attempts })]),
  );
  const [people] = partsOf(text);
  assert.match(people?.body ?? "", /Given up after 31 attempts/);
  assert.equal(people?.body.match(/mx\.a/g)?.length, 1);
  assert.equal(people?.body.match(/mx\.b/g)?.length, 1);
});

Deno.test("writeNotice() about what an operator gave up tells what is known from servers", () => {
  const returned = { at: NOW, host: "one.test", error: RETURNED_BY_OPERATOR, status: "5.0.0" };
  const busy = { ...refused("451 4.3.2 Too busy", "4.3.2"), host: "mx2.one.test" };
  const [people, machines] = partsOf(
    notice(entryOf([
      failed("bob@one.test", { attempts: [refused("450 4.2.0 Greylisted", "4.2.0"), busy, returned] }),
      failed("eve@one.test", { attempts: [returned], attemptCount: 0 }),
    ])).text,
  );
  assert.match(
    people?.body ?? "",
    /<bob@one\.test>\r\n {2}Given up by the operator of this server\.\r\n[^<]*said:\r\n {4}451 4\.3\.2 Too busy\r\n[^<]*450 4\.2\.0 Greylisted/,
  );
  assert.match(
    machines?.body ?? "",
    /bob@one\.test\r\nAction: failed\r\nStatus: 5\.3\.2\r\nRemote-MTA: dns; mx2\.one\.test\r\nDiagnostic-Code: smtp; 451 4\.3\.2 Too busy\r\n/,
  );
  assert.match(
    people?.body ?? "",
    /<eve@one\.test>\r\n {2}Given up by the operator of this server\.\r\n\r\n/,
  );
  assert.match(
    machines?.body ?? "",
    /eve@one\.test\r\nAction: failed\r\nStatus: 5\.0\.0\r\nDiagnostic-Code: x-mailapp; returned by the operator\r\n/,
  );
});

Deno.test("writeNotice() uses the types of RFC 6533 for UTF-8 addresses, in seven bits", () => {
  const { text, entry } = notice(
    entryOf([failed("é@one.test", { originalRecipient: { type: "utf-8", address: "ü@one.test" } })], {
      smtputf8: true,
      content: { eightBitHeader: true, eightBitBody: false },
    }),
    { returned: { bytes: encoder.encode("To: é@one.test\r\n"), whole: false } },
  );
  const [, machines, returned] = partsOf(text);
  assert.match(machines?.fields ?? "", /^Content-Type: message\/global-delivery-status\r\n/);
  assert.match(
    machines?.body ?? "",
    /Original-Recipient: utf-8; =C3=BC@one\.test\r\nFinal-Recipient: utf-8; =C3=A9@one/,
  );
  assert.match(returned?.fields ?? "", /^Content-Type: message\/global-headers\r\n/);
  assert.equal(returned?.body, "To: =C3=A9@one.test\r\n");
  assert.deepEqual([entry.body, entry.smtputf8, entry.content.eightBitBody], ["7BIT", false, false]);
});

Deno.test("writeNotice() to a UTF-8 address asks for SMTPUTF8", () => {
  const { entry } = notice(
    entryOf([failed("b@one.test")], { reversePath: "é@sender.test", smtputf8: true }),
  );
  assert.equal(entry.smtputf8, true);
  assert.deepEqual(entry.content, { eightBitHeader: true, eightBitBody: false });
});

Deno.test("writeNotice() lets nothing hostile into header, text or status", () => {
  const hostile = fc.string({ unit: "binary", maxLength: 3000 });
  fc.assert(
    fc.property(hostile, hostile, hostile, (reply, host, error) => {
      const attempts: Attempt[] = [{ at: NOW, host, address: "192.0.2.1", reply, error, status: "5.1.1" }];
      const { text } = notice(entryOf([failed("b@one.test", { attempts })]));
      assert.match(text, /^[\t\r\n\x20-\x7e]*$/);
      assert.equal(/(?<!\r)\n|\r(?!\n)/.test(text), false);
      for (const line of text.split("\r\n")) assert.ok(line.length <= 998);
      const [, machines] = partsOf(text);
      const names = machines?.body.split("\r\n").map((line) => /^[A-Za-z-]+(?=:)|^(?= |$)/.exec(line)?.[0]);
      assert.equal(names?.includes(undefined), false, machines?.body);
      assert.equal(partsOf(text).length, 2);
    }),
    { numRuns: 200 },
  );
});

function stored(text: string): QueuedMessage {
  const bytes = encoder.encode(text);
  return {
    size: bytes.length,
    async *chunks() {
      for (let at = 0; at < bytes.length; at += 1000) yield await Promise.resolve(bytes.slice(at, at + 1000));
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function compose(
  text: string | undefined,
  entry: QueueEntry,
  kind: NoticeKind = "failure",
): Promise<string> {
  const composer = noticeComposer({
    queue: {
      open: () => text === undefined ? Promise.reject(new Error("gone")) : Promise.resolve(stored(text)),
    },
    hostname: "mx.test",
    expireAfter: 5 * DAY,
    clock: new FakeClock(NOW),
  });
  const { message } = await composer({ id: "0notice001", kind, entry, age: 0, recipients: [0] }) ??
    assert.fail();
  return new TextDecoder().decode(message);
}

Deno.test("noticeComposer() returns what RET asks for", async () => {
  const text = "Subject: s\r\n\r\nthe body\r\n";
  const full = entryOf([failed("b@one.test")], { dsn: { ret: "FULL" } });
  assert.match(
    await compose(text, full),
    /message\/rfc822\r\n[^]*\r\n\r\nSubject: s\r\n\r\nthe body\r\n\r\n--=_/,
  );
  for (
    const result of [
      await compose(text, entryOf([failed("b@one.test")], { dsn: { ret: "HDRS" } })),
      await compose(text, entryOf([failed("b@one.test")])),
      await compose(text, full, "delay"),
      await compose(text + "x".repeat(1024 * 1024), full),
    ]
  ) {
    assert.match(result, /text\/rfc822-headers\r\n[^]*\r\n\r\nSubject: s\r\n\r\n--=_0notice001--\r\n$/);
  }
});

Deno.test("noticeComposer() returns a whole message in a form that every server takes", async () => {
  const full = { dsn: { ret: "FULL" } } as const;
  const plain = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
  const cases: readonly (readonly [message: string, returned: string])[] = [
    ["Subject: s\r\n\r\nGrüße\r\n", `Subject: s\r\n${plain}Gr=C3=BC=C3=9Fe\r\n`],
    [
      `Subject: s\r\n\r\n${"x".repeat(1200)}\r\n`,
      `Subject: s\r\n${plain}${`${"x".repeat(75)}=\r\n`.repeat(15)}${"x".repeat(75)}\r\n`,
    ],
    ["Content-Type: application/x\r\n\r\nü", `Content-Type: application/x\r\n${plain}=C3=BC`],
  ];
  for (const [message, returned] of cases) {
    const entry = entryOf([failed("b@one.test")], full);
    const text = await compose(message, entry);
    assert.match(text, /^[\r\n\t -~]*$/);
    const [, , part] = partsOf(text);
    assert.equal(part?.fields, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit");
    assert.equal(part.body, returned);
  }
});

Deno.test("noticeComposer() returns the header section of a message that cannot be put into seven bits", async () => {
  const messages = [
    "X-Raw: ü\r\n\r\nbody\r\n",
    "A: b\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n",
    "A: b\r\nContent-Type: multipart/mixed\r\n\r\nü\r\n",
    `A: b\r\nContent-Transfer-Encoding: base64\r\n\r\n${"A".repeat(1200)}\r\n`,
  ];
  for (const message of messages) {
    const text = await compose(message, entryOf([failed("b@one.test")], { dsn: { ret: "FULL" } }));
    assert.match(text, /^[\r\n\t -~]*$/);
    const [people, , part] = partsOf(text);
    assert.match(part?.fields ?? "", /^Content-Type: text\/rfc822-headers\r\n/);
    assert.doesNotMatch(part?.body ?? "", /body|--b/);
    assert.match(people?.body ?? "", /Its header section is attached below/);
  }
  // An internationalised message may be encoded as a whole (RFC 6532 §3.7).
  const global = entryOf([failed("b@one.test")], {
    dsn: { ret: "FULL" },
    smtputf8: true,
    content: { eightBitHeader: true, eightBitBody: true },
  });
  const [, , part] = partsOf(await compose("To: ü@x\r\n\r\nü\r\n", global));
  assert.equal(part?.fields, "Content-Type: message/global\r\nContent-Transfer-Encoding: quoted-printable");
  assert.equal(part?.body, "To: =C3=BC@x\r\n\r\n=C3=BC\r\n");
});

Deno.test("writeNotice() names all recipients to machines, and as many to people as they can read", () => {
  const long = { attempts: [refused(`550 5.1.1 ${"no such user here ".repeat(40)}`)] };
  const recipients = Array.from({ length: 500 }, (_, index) => failed(`u${index}@one.test`, long));
  const { text } = notice(entryOf(recipients));
  const [people, machines] = partsOf(text);
  assert.ok((people?.body.length ?? 0) < 80_000, `${people?.body.length}`);
  const named = people?.body.match(/^<u\d+@one\.test>$/gm)?.length ?? 0;
  assert.ok(named > 10 && named < 500, `${named}`);
  assert.match(
    people?.body ?? "",
    new RegExp(`\r\n\r\n${500 - named} more recipients are named in the report below\\.\r\n`),
  );
  assert.equal(machines?.body.match(/^Final-Recipient: /gm)?.length, 500);
});

Deno.test("writeNotice() names a host without a name by its address literal", () => {
  for (
    const [host, name] of [
      ["192.0.2.1", "[192.0.2.1]"],
      ["2001:db8::1", "[IPv6:2001:db8::1]"],
      ["[192.0.2.1]", "[192.0.2.1]"],
      ["mx.one.test", "mx.one.test"],
    ]
  ) {
    const attempts = [{ ...refused("550 no"), host: host ?? "" }];
    const { text } = notice(entryOf([failed("b@one.test", { attempts })]));
    assert.ok(text.includes(`\r\nRemote-MTA: dns; ${name}\r\n`), host);
  }
});

Deno.test("noticeComposer() bounds a header section, and does without a message that is gone", async () => {
  const long = await compose("X: y\r\n".repeat(100_000), entryOf([failed("b@one.test")]));
  assert.ok(long.length < 70_000);
  assert.match(long, /X: y\r\n\r\n--=_0notice001--\r\n$/);
  assert.equal(partsOf(await compose(undefined, entryOf([failed("b@one.test")]))).length, 2);
});
