import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import type { Envelope, MailboxAddress, Recipient } from "../smtp/envelope.ts";
import { SmtpError } from "../smtp/reply.ts";
import { SmtpServer } from "../smtp/server.ts";
import { localSubmissionPolicy } from "../smtp/server_policy.ts";
import { FaultyFileSystem } from "../tests/support/faulty_file_system.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { MemoryQueue } from "../tests/support/memory_queue.ts";
import { MemoryTransport } from "../tests/support/memory_transport.ts";
import { roomy } from "../tests/support/maildir_setting.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { QueueDelivery, type QueueDeliveryOptions } from "./delivery.ts";
import type { QueueSummary } from "./queue.ts";
import { Spool } from "./spool/spool.ts";

const NOW = Date.UTC(2026, 10, 24, 6, 0, 0);
const encoder = new TextEncoder();
const context = { origin: { id: "s1" } };

function mailbox(text: string): MailboxAddress {
  const at = text.lastIndexOf("@");
  return at < 0
    ? { localPart: text, domain: "", text }
    : { localPart: text.slice(0, at), domain: text.slice(at + 1).toLowerCase(), text };
}

function envelope(changes: Partial<Envelope> = {}): Envelope {
  return {
    reversePath: mailbox("a@sender.test"),
    recipients: [{ forwardPath: mailbox("b@one.test") }],
    body: "7BIT",
    smtputf8: false,
    ...changes,
  };
}

async function withDelivery(
  changes: Partial<QueueDeliveryOptions>,
  work: (parts: { delivery: QueueDelivery; spool: Spool; accepted: QueueSummary[] }) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const clock = new FakeClock(NOW);
    await using spool = await Spool.open({ directory, logger: silentLogger, clock });
    const accepted: QueueSummary[] = [];
    const delivery = new QueueDelivery({
      queue: spool,
      directory,
      accepted: (summary) => accepted.push(summary),
      hostname: "mx.test",
      qualifyDomain: "q.test",
      minFreeSpace: 100_000,
      logger: silentLogger,
      clock,
      room: roomy(100_000_000),
      ...changes,
    });
    await work({ delivery, spool, accepted });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function submit(
  delivery: QueueDelivery,
  text: string,
  changes: Partial<Envelope> = {},
): Promise<string> {
  await using pending = await delivery.begin(envelope(changes), context);
  for (const part of text.match(/[^]{1,7}/g) ?? []) await pending.write(encoder.encode(part));
  await pending.commit([{ name: "Received", value: "from x\r\n\tby y" }]);
  return pending.id;
}

async function stored(spool: Spool, id: string): Promise<string> {
  await using message = await spool.open(id);
  let text = "";
  for await (const chunk of message.chunks()) text += new TextDecoder().decode(chunk);
  return text;
}

Deno.test("QueueDelivery stores the message with what it lacks on top", async () => {
  await withDelivery({}, async ({ delivery, spool, accepted }) => {
    const id = await submit(delivery, "Subject: hi\r\nTo: alice\r\n\r\nHello\r\n");
    assert.equal(
      await stored(spool, id),
      "Received: from x\r\n\tby y\r\nDate: Tue, 24 Nov 2026 06:00:00 +0000\r\n" +
        `Message-ID: <${id}@mx.test>\r\nFrom: a@sender.test\r\nSubject: hi\r\nTo: alice@q.test\r\n\r\nHello\r\n`,
    );
    assert.deepEqual(accepted, [{ id, age: 0, due: [{ domain: "one.test", at: 0 }] }]);
  });
});

Deno.test("QueueDelivery accepts no more recipients of a message than the spool reads again", async () => {
  const cases: readonly (readonly [original: string, accepted: number])[] = [
    ["", 10_000],
    ["x".repeat(2000), 6000],
    ['"'.repeat(1900), 3000],
  ];
  for (const [original, about] of cases) {
    await withDelivery({}, async ({ delivery, spool }) => {
      const recipients: Recipient[] = [];
      const soFar = { reversePath: null, recipients, body: "7BIT", smtputf8: false } as const;
      for (;;) {
        const recipient: Recipient = {
          forwardPath: mailbox(`user${recipients.length}@one.test`),
          ...(original !== "" && { originalRecipient: { type: "rfc822", address: original } }),
        };
        const decision = delivery.checkRecipient(recipient, { envelope: soFar });
        if (!decision.accepted) {
          assert.equal(decision.reply.code, 452);
          break;
        }
        recipients.push(recipient);
      }
      assert(Math.abs(recipients.length - about) <= about / 10, `${recipients.length} instead of ${about}`);
      const id = await submit(delivery, "Subject: hi\r\n\r\nHello\r\n", { recipients });
      await spool.close();
      await using again = await Spool.open({ directory: spool.directory, logger: silentLogger });
      assert.equal((await again.load(id))?.recipients.length, recipients.length);
    });
  }
});

Deno.test("QueueDelivery takes messages into any queue that keeps the contract", async () => {
  const queue = new MemoryQueue();
  const accepted: QueueSummary[] = [];
  const delivery = new QueueDelivery({
    queue,
    directory: "/",
    accepted: (summary) => accepted.push(summary),
    hostname: "mx.test",
    qualifyDomain: "q.test",
    minFreeSpace: 0,
    logger: silentLogger,
    clock: new FakeClock(NOW),
  });
  const id = await submit(delivery, "Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b\r\n\r\nHello\r\n");
  assert.deepEqual(accepted.map((summary) => summary.id), [id]);
  assert.match(queue.text(id), /^Received: from x\r\n\tby y\r\nDate: x\r\n[^]*Hello\r\n$/);
});

Deno.test("QueueDelivery leaves a complete message alone, byte for byte", async () => {
  await withDelivery({}, async ({ delivery, spool }) => {
    const text = "Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b\r\nX-Odd:   \t\r\n\r\n.\r\n..\r\n\0 é\r\n";
    const id = await submit(delivery, text);
    assert.equal(await stored(spool, id), `Received: from x\r\n\tby y\r\n${text}`);
    assert.deepEqual((await spool.load(id))?.content, { eightBitHeader: false, eightBitBody: true });
  });
});

Deno.test("QueueDelivery stages a large message and stores it whole", async () => {
  await withDelivery({}, async ({ delivery, spool }) => {
    const body = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(10_000);
    await using pending = await delivery.begin(envelope(), context);
    await pending.write(encoder.encode("Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b\r\n\r\n"));
    for (let at = 0; at < body.length; at += 50_000) {
      await pending.write(encoder.encode(body.slice(at, at + 50_000)));
    }
    await pending.commit([]);
    const text = await stored(spool, pending.id);
    assert.equal(text === `Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b\r\n\r\n${body}`, true);
  });
});

Deno.test("QueueDelivery keeps the envelope: qualified, A-labels, one copy each, DSN wishes", async () => {
  await withDelivery({}, async ({ delivery, spool }) => {
    const id = await submit(delivery, "A: b\r\n\r\n", {
      reversePath: mailbox("root"),
      dsn: { ret: "HDRS", envelopeId: "e1" },
      smtputf8: true,
      recipients: [
        { forwardPath: mailbox("Postmaster") },
        { forwardPath: { localPart: "é", domain: "xn--bcher-kva.test", text: "é@bücher.test" } },
        {
          forwardPath: mailbox("c@Two.test"),
          notify: ["SUCCESS"],
          originalRecipient: { type: "rfc822", address: "x@y" },
        },
        { forwardPath: mailbox("c@two.TEST") },
      ],
    });
    const entry = await spool.load(id);
    assert.ok(entry);
    assert.equal(entry.reversePath, "root@q.test");
    assert.deepEqual(entry.dsn, { ret: "HDRS", envelopeId: "e1" });
    assert.deepEqual(entry.recipients.map(({ address, domain }) => [address, domain]), [
      ["Postmaster@q.test", "q.test"],
      ["é@xn--bcher-kva.test", "xn--bcher-kva.test"],
      ["c@two.test", "two.test"],
    ]);
    assert.deepEqual(entry.recipients[2]?.notify, ["SUCCESS"]);
    assert.deepEqual(entry.recipients[2]?.originalRecipient, { type: "rfc822", address: "x@y" });
  });
});

Deno.test("QueueDelivery leaves nothing behind of a message that is not committed", async () => {
  await withDelivery({}, async ({ delivery, spool, accepted }) => {
    {
      await using pending = await delivery.begin(envelope(), context);
      await pending.write(encoder.encode("A: b\r\n\r\n"));
      await pending.write(new Uint8Array(600_000));
    }
    assert.deepEqual(await Array.fromAsync(spool.ids()), []);
    assert.deepEqual([...Deno.readDirSync(`${spool.directory}/incoming`)], []);
    assert.deepEqual(accepted, []);
  });
});

Deno.test("QueueDelivery refuses at MAIL and at DATA what would use up the reserve, and says so in the log", async () => {
  const logger = new RecordingLog();
  await withDelivery({ logger, room: roomy(500_000) }, async ({ delivery, spool }) => {
    const full = (error: unknown) =>
      error instanceof SmtpError && error.reply.code === 452 && error.reply.enhanced === "4.3.1";
    const check = async (size: number) => await delivery.checkSender(envelope({ size }), context);
    // A file takes 8 KiB beside its octets, and what is larger than 256 KiB waits in one and is copied.
    await check(256 * 1024);
    await check(200_000);
    await assert.rejects(check(256 * 1024 + 1), full);
    await assert.rejects(delivery.begin(envelope({ size: 300_000 }), context), full);
    assert.deepEqual(logger.events[0], {
      level: "warn",
      event: "storage.low_space",
      fields: {
        session: "s1",
        path: spool.directory,
        free: 500_000,
        size: 2 * (256 * 1024 + 1),
        min_free_space: 100_000,
      },
    });
  });
});

Deno.test("QueueDelivery refuses at MAIL, after a message that could not be stored, as long as nothing can be", async () => {
  const fileSystem = new FaultyFileSystem();
  const directory = await Deno.makeTempDir();
  {
    await using spool = await Spool.open({ directory, logger: silentLogger, fileSystem });
    await withDelivery({ queue: spool, probe: () => spool.probe() }, async ({ delivery }) => {
      const check = async () => await delivery.checkSender(envelope(), context);
      await check();
      fileSystem.fault = (call) => call === "open" ? "EROFS" : undefined;
      // Who cannot store need not be asked before a message shows it.
      await check();
      await assert.rejects(submit(delivery, "Subject: hi\r\n\r\n"), SmtpError);
      await assert.rejects(check(), /EROFS|read-only/i);
      await assert.rejects(check(), /EROFS|read-only/i);
      fileSystem.fault = () => undefined;
      await check();
      await submit(delivery, "Subject: hi\r\n\r\n");
    });
  }
  await Deno.remove(directory, { recursive: true });
});

Deno.test("QueueDelivery refuses at the first MAIL where the messages of the queue cannot be read", async () => {
  const directory = await Deno.makeTempDir();
  {
    await using spool = await Spool.open({ directory, logger: silentLogger });
    await withDelivery({ queue: spool, probe: () => spool.probe() }, async ({ delivery }) => {
      const check = async () => await delivery.checkSender(envelope(), context);
      await Deno.rename(`${directory}/messages`, `${directory}/away`);
      await assert.rejects(check(), /cannot read .*messages/);
      await Deno.rename(`${directory}/away`, `${directory}/messages`);
      await check();
    });
  }
  await Deno.remove(directory, { recursive: true });
});

Deno.test("QueueDelivery asks for the free space at most once a second, and tries where it cannot be told", async () => {
  const clock = new FakeClock(NOW);
  const answers = [roomy(500), roomy(500_000), () => Promise.reject(new Error("EIO"))];
  const room = () => answers.shift()?.() ?? assert.fail("asked too often");
  await withDelivery({ clock, room }, async ({ delivery }) => {
    const check = async () => await delivery.checkSender(envelope(), context);
    for (let n = 0; n < 3; n++) await assert.rejects(check(), SmtpError);
    await clock.advance(1000);
    await check();
    await clock.advance(1000);
    await check();
    assert.deepEqual(answers, []);
  });
});

Deno.test("QueueDelivery refuses a message without SIZE that would use up the reserve, and takes the next", async () => {
  await withDelivery({ room: roomy(500_000) }, async ({ delivery, spool, accepted }) => {
    const text = (octets: number) => `Subject: x\r\n\r\n${`${"x".repeat(98)}\r\n`.repeat(octets / 100)}`;
    await using waiting = await delivery.begin(envelope(), context);
    await waiting.write(encoder.encode(text(100_000)));
    // Beside what another one has brought and not stored there is room for the message, and not for its copy.
    await assert.rejects(submit(delivery, text(265_000)), SmtpError);
    assert.deepEqual(accepted, []);
    const id = await submit(delivery, text(250_000));
    assert.match(await stored(spool, id), /x\r\n$/);
  });
});

Deno.test("QueueDelivery says what it has repaired, and what it has left, and why", async () => {
  const log = new RecordingLog();
  await withDelivery({ logger: log }, async ({ delivery, spool }) => {
    const head = "Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b\r\n";
    const id = await submit(delivery, `${head}Bcc: c@d\r\nSubject: Grüße\r\n\r\nHi\r\n`);
    assert.equal(
      await stored(spool, id),
      `Received: from x\r\n\tby y\r\n${head}Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n\r\nHi\r\n`,
    );
    assert.deepEqual((await spool.load(id))?.content, { eightBitHeader: false, eightBitBody: false });
    assert.deepEqual(log.named("message.repaired").map(({ fields }) => fields), [
      { id, repairs: ["Bcc removed", "subject encoded"] },
    ]);
    const signed = `${head}DKIM-Signature: v=1\r\nSubject: Grüße\r\n\r\n${"x".repeat(1000)}\r\n`;
    const other = await submit(delivery, signed);
    assert.equal(await stored(spool, other), `Received: from x\r\n\tby y\r\n${signed}`);
    assert.deepEqual(log.named("message.left").map(({ level, fields }) => [level, fields]), [
      ["warn", {
        id: other,
        left: [
          "subject has text that is not ASCII, and the message is signed",
          "lines of more than 998 octets: the message is signed",
        ],
      }],
    ]);
  });
});

Deno.test("QueueDelivery encodes text with lines of more than 998 octets, before it is signed", async () => {
  const seen: string[] = [];
  const sign: NonNullable<QueueDeliveryOptions["sign"]> = (_id, section) => {
    let text = section.fields.map(({ text }) => `${text}\r\n`).join("");
    return {
      push: (chunk) => void (text += new TextDecoder().decode(chunk)),
      finish: () => {
        seen.push(text);
        return Promise.resolve([]);
      },
    };
  };
  const log = new RecordingLog();
  await withDelivery({ sign, logger: log }, async ({ delivery, spool }) => {
    const head = "Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b\r\n";
    // Small and in memory, large and on disk.
    for (const lines of [1, 2000]) {
      const body = `é ${"word ".repeat(300)}\r\n`.repeat(lines);
      const id = await submit(delivery, `${head}\r\n${body}`);
      const text = await stored(spool, id);
      const encodedHead = `${head}MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n`;
      assert.ok(text.startsWith(`Received: from x\r\n\tby y\r\n${encodedHead}\r\n=C3=A9 word word`));
      for (const line of text.split("\r\n")) assert.ok(line.length <= 76);
      assert.deepEqual((await spool.load(id))?.content, { eightBitHeader: false, eightBitBody: false });
      assert.equal(seen.at(-1), text.slice(text.indexOf("Date:")).replace("\r\n\r\n", "\r\n"));
      assert.deepEqual(log.named("message.repaired").at(-1)?.fields["repairs"], ["long lines encoded"]);
    }
    const binary = `${head}Content-Type: application/pdf\r\n\r\n${"x".repeat(1000)}\r\n`;
    const id = await submit(delivery, binary);
    assert.equal(await stored(spool, id), `Received: from x\r\n\tby y\r\n${binary}`);
    assert.deepEqual(log.named("message.left").at(-1)?.fields["left"], [
      "lines of more than 998 octets: a part is of type application/pdf",
    ]);
  });
});

Deno.test("QueueDelivery puts signatures above all, made of the fields and the body that go out", async () => {
  const signed: string[] = [];
  const sign: NonNullable<QueueDeliveryOptions["sign"]> = (id, section) => {
    let text = "";
    return {
      push: (chunk) => void (text += new TextDecoder().decode(chunk)),
      finish: () => {
        signed.push(id, ...section.fields.map(({ text }) => text), text);
        return Promise.resolve([{ name: "DKIM-Signature", value: "v=1" }]);
      },
    };
  };
  await withDelivery({ sign }, async ({ delivery, spool }) => {
    const id = await submit(delivery, "To: alice\r\nBcc: bob\r\n\r\nHello\r\n");
    const fields = [
      "Date: Tue, 24 Nov 2026 06:00:00 +0000",
      `Message-ID: <${id}@mx.test>`,
      "From: a@sender.test",
      "To: alice@q.test",
    ];
    assert.deepEqual(signed, [id, ...fields, "Hello\r\n"]);
    const text = await stored(spool, id);
    assert.equal(
      text,
      ["DKIM-Signature: v=1", "Received: from x\r\n\tby y", ...fields, "", "Hello", ""].join("\r\n"),
    );
  });
});

Deno.test("QueueDelivery tells a program that wants to log in that it need not", async () => {
  await withDelivery({}, async ({ delivery }) => {
    const clock = new FakeClock(NOW);
    const transport = new MemoryTransport({ clock });
    const server = new SmtpServer({
      hostname: "mx.test",
      delivery,
      policy: localSubmissionPolicy,
      logger: silentLogger,
      clock,
    });
    const done = server.handle(transport);
    transport.send(encoder.encode("EHLO client.test\r\nAUTH PLAIN AGEAYg==\r\nQUIT\r\n"));
    await done;
    const said = new TextDecoder().decode(transport.take());
    assert.match(
      said,
      /^502 5\.5\.1 AUTH is not available: programs on this machine submit mail without it/m,
    );
  });
});

Deno.test("QueueDelivery keeps REQUIRETLS, and TLS-Required: No where that is not there (RFC 8689)", async () => {
  await withDelivery({}, async ({ delivery, spool }) => {
    const kept = async (fields: string, changes: Partial<Envelope> = {}) => {
      const id = await submit(delivery, `From: a@sender.test\r\n${fields}\r\nx\r\n`, changes);
      const { requireTls, tlsOptional } = await spool.load(id) ?? {};
      return [requireTls, tlsOptional];
    };
    assert.deepEqual(await kept(""), [undefined, undefined]);
    assert.deepEqual(await kept("", { requireTls: true }), [true, undefined]);
    assert.deepEqual(await kept("TLS-Required: No\r\n"), [undefined, true]);
    assert.deepEqual(await kept("tls-required:\r\n no \r\n"), [undefined, true]);
    assert.deepEqual(await kept("TLS-Required: No\r\n", { requireTls: true }), [true, undefined]);
    for (
      const other of ["TLS-Required: Yes", "TLS-Required: Nobody", "TLS-Required: No\r\nTLS-Required: No"]
    ) {
      assert.deepEqual(await kept(`${other}\r\n`), [undefined, undefined]);
    }
  });
});
