import assert from "node:assert/strict";
import { dirname, join } from "@std/path";
import { silentLogger } from "../../base/log.ts";
import type { Delivery } from "../../smtp/delivery.ts";
import type { Envelope } from "../../smtp/envelope.ts";
import { reply } from "../../smtp/reply.ts";
import { type ServerLimits, SmtpServer } from "../../smtp/server.ts";
import { localSubmissionPolicy } from "../../smtp/server_policy.ts";
import { makeMaildrop } from "../../relay/maildrop/directory.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { recordingIo } from "../../tests/support/in_process.ts";
import { CommandError } from "../../server/exit_codes.ts";
import { sendmail, type SendmailIo } from "./sendmail.ts";

interface Received {
  readonly envelope: Envelope;
  readonly text: string;
}

/** A serve-out that keeps what it gets; refuses `no…` for good and `later…` for now. */
async function withServer(
  test: (world: { clock: FakeClock; received: Received[]; config: string; run: Run }) => Promise<void>,
  limits: Partial<ServerLimits> = {},
): Promise<void> {
  const clock = new FakeClock();
  const received: Received[] = [];
  const delivery: Delivery = {
    checkRecipient: ({ forwardPath: { localPart } }) => {
      if (localPart.startsWith("no")) return { accepted: false, reply: reply(550, "5.1.1", "unknown") };
      if (localPart.startsWith("later")) return { accepted: false, reply: reply(450, "4.2.0", "not now") };
      return { accepted: true };
    },
    begin: (envelope) => {
      let text = "";
      return {
        id: "1",
        write: (chunk) => void (text += new TextDecoder().decode(chunk)),
        commit: () => Promise.resolve(void received.push({ envelope, text })),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
    },
  };
  const server = new SmtpServer({
    hostname: "out.example.test",
    delivery,
    policy: localSubmissionPolicy,
    logger: silentLogger,
    clock,
    limits,
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = server.serve(listener);
  const directory = await Deno.makeTempDir();
  const config = join(directory, "config.toml");
  await Deno.writeTextFile(
    config,
    `hostname = "out.example.test"\ndata_dir = "${directory}/data"\n` +
      `[serve-out]\nlisten = ["127.0.0.1"]\nport = ${listener.addr.port}\nmin_free_space = 0\n`,
  );
  try {
    await test({ clock, received, config, run: runner(config) });
  } finally {
    await server.shutdown({ grace: 0 });
    await serving;
    await Deno.remove(directory, { recursive: true });
  }
}

type Run = (
  args: string[],
  input?: string,
  options?: { onRead?: () => Promise<void> },
) => Promise<{ code: number; err: string; out: string }>;

function runner(config: string): Run {
  return async (args, input = "Subject: x\n\nHi\n", { onRead } = {}) => {
    let rest = new TextEncoder().encode(input);
    const { io: quiet, written } = recordingIo();
    const io: SendmailIo = {
      ...quiet,
      stdin: {
        // In small pieces, so that nothing depends on where they are cut.
        read: async (buffer) => {
          await onRead?.();
          if (rest.length === 0) return null;
          buffer.set(rest.subarray(0, 3));
          const count = Math.min(3, rest.length);
          rest = rest.subarray(count);
          return count;
        },
      },
      stdout: {
        write: (bytes) => {
          written.out += new TextDecoder().decode(bytes);
          return Promise.resolve(bytes.length);
        },
      },
    };
    try {
      return { code: await sendmail(["-C", config, ...args], io), ...written };
    } catch (error) {
      if (error instanceof CommandError) {
        return { code: error.exitCode, out: written.out, err: error.message };
      }
      throw error;
    }
  };
}

Deno.test("sendmail() hands over a message with its envelope", async () => {
  await withServer(async ({ received, run }) => {
    const args = ["-f", "a@x.test", "-N", "success", "-V", "id1", "b@x.test", "c@x.test,carol"];
    assert.deepEqual(await run(args), { code: 0, err: "", out: "" });
    const [{ envelope, text } = assert.fail()] = received;
    assert.equal(envelope.reversePath?.text, "a@x.test");
    assert.deepEqual(envelope.recipients.map(({ forwardPath }) => forwardPath.text), [
      "b@x.test",
      "c@x.test",
      "carol",
    ]);
    assert.deepEqual(envelope.recipients[0]?.notify, ["SUCCESS"]);
    assert.equal(envelope.dsn?.envelopeId, "id1");
    // What it lacks is serve-out's to add.
    assert.equal(text, "Subject: x\r\n\r\nHi\r\n");
    await run([...args, "-F", "Ann"]);
    assert.equal(received[1]?.text, 'From: "Ann" <a@x.test>\r\nSubject: x\r\n\r\nHi\r\n');
  });
});

Deno.test("sendmail() without -f sends as the account that runs it, with -f '' with the null sender", async () => {
  await withServer(async ({ received, run }) => {
    await run(["bob"]);
    assert.match(received[0]?.envelope.reversePath?.text ?? "", /^[^@]+$/);
    await run(["-f", "", "bob"]);
    assert.equal(received[1]?.envelope.reversePath, null);
    await run(["-f", "<>", "bob"]);
    assert.equal(received[2]?.envelope.reversePath, null);
  });
});

Deno.test("sendmail() -t takes recipients from the message", async () => {
  await withServer(async ({ received, run }) => {
    const { code } = await run(["-t"], "To: b@x.test\nBcc: c@x.test\n\nHi\n");
    assert.equal(code, 0);
    assert.deepEqual(received[0]?.envelope.recipients.map(({ forwardPath }) => forwardPath.text), [
      "b@x.test",
      "c@x.test",
    ]);
  });
});

Deno.test("sendmail() asks for SMTPUTF8 for addresses alone, so that serve-out may encode what is in fields", async () => {
  await withServer(async ({ received, run }) => {
    const input = "To: Jürgen <b@x.test>\nSubject: Grüße\n\nHi\n";
    assert.equal((await run(["-t"], input)).code, 0);
    assert.equal(received[0]?.envelope.smtputf8, false);
    assert.equal((await run(["bücher@x.test"], input)).code, 0);
    assert.equal(received[1]?.envelope.smtputf8, true);
    assert.equal((await run(["-fme@münchen.test", "b@bücher.test"], input)).code, 0);
    const { smtputf8, reversePath, recipients = [] } = received[2]?.envelope ?? {};
    assert.deepEqual([smtputf8, reversePath?.text, recipients.map(({ forwardPath }) => forwardPath.text)], [
      false,
      "me@xn--mnchen-3ya.test",
      ["b@xn--bcher-kva.test"],
    ]);
  });
});

Deno.test("sendmail() ends the message at a line with only a dot, unless -i", async () => {
  await withServer(async ({ received, run }) => {
    for (const end of [".\nmore\n", ".\r\nmore\n", "."]) {
      await run(["bob"], `From: a\n\nHi\n${end}`);
      assert.equal(received.at(-1)?.text, "From: a\r\n\r\nHi\r\n", JSON.stringify(end));
    }
    await run(["bob"], "From: a\n\n.Hi\n..\n. \n");
    assert.equal(received.at(-1)?.text, "From: a\r\n\r\n.Hi\r\n..\r\n. \r\n");
    await run(["-i", "bob"], "From: a\n\nHi\n.\nmore\n");
    assert.equal(received.at(-1)?.text, "From: a\r\n\r\nHi\r\n.\r\nmore\r\n");
  });
});

Deno.test("sendmail() waits for its input longer than serve-out would", async () => {
  await withServer(async ({ clock, received, run }) => {
    const onRead = () => clock.advance(3_600_000);
    assert.deepEqual(await run(["bob"], undefined, { onRead }), { code: 0, err: "", out: "" });
    assert.equal(received.length, 1);
  });
});

Deno.test("sendmail() tells refusals by exit code and in words", async () => {
  await withServer(async ({ received, run }) => {
    assert.deepEqual(await run(["no@x.test"]), {
      code: 69,
      err: "sendmail: no@x.test: 550 5.1.1 unknown\n",
      out: "",
    });
    const later = await run(["later@x.test"]);
    assert.equal(later.code, 75);
    assert.match(
      later.err,
      /the message cannot be kept for it: [^]*sendmail: later@x\.test: 450 4\.2\.0 not now\n$/,
    );
    assert.equal(received.length, 0);
    assert.equal((await run(["ok@x.test", "later@x.test"])).code, 69, "what is sent must not be sent again");
    assert.equal(received.length, 1);
  });
});

Deno.test("sendmail() leaves in the maildrop what serve-out puts off, and that alone", async () => {
  await withServer(async ({ received, run, config }) => {
    const maildrop = join(dirname(config), "data", "maildrop");
    await Deno.mkdir(dirname(maildrop));
    await makeMaildrop(maildrop);
    assert.deepEqual(await run(["later@x.test"]), { code: 0, err: "", out: "" });
    assert.deepEqual(await run(["ok@x.test", "later@x.test", "no@x.test"]), {
      code: 69,
      err: "sendmail: no@x.test: 550 5.1.1 unknown\n",
      out: "",
    });
    assert.equal(received.length, 1);
    const left = await Promise.all(
      (await Array.fromAsync(Deno.readDir(maildrop))).map(({ name }) =>
        Deno.readTextFile(join(maildrop, name))
      ),
    );
    assert.equal(left.length, 2);
    for (const text of left) {
      assert.match(text, /"later@x\.test"/);
      assert.doesNotMatch(text, /ok@x\.test|no@x\.test/);
    }
  });
});

Deno.test("sendmail() sends in as many transactions as serve-out takes recipients for", async () => {
  await withServer(async ({ received, run }) => {
    const everybody = Array.from({ length: 2_345 }, (_, index) => `u${index}@x.test`);
    assert.deepEqual(await run(everybody), { code: 0, err: "", out: "" });
    assert.deepEqual(received.map(({ envelope }) => envelope.recipients.length), [1000, 1000, 345]);
    const reached = received.flatMap(({ envelope }) =>
      envelope.recipients.map(({ forwardPath }) => forwardPath.text)
    );
    assert.deepEqual(reached, everybody);
    assert.equal(new Set(received.map(({ text }) => text)).size, 1);
  }, { maxRecipients: 1000 });
});

Deno.test("sendmail() goes on with the others where one of a thousand recipients is refused", async () => {
  await withServer(async ({ received, run }) => {
    const many = Array.from({ length: 250 }, (_, index) => `u${index}@x.test`);
    const { code, err } = await run([...many.slice(0, 120), "no@x.test", ...many.slice(120)]);
    assert.equal(code, 69);
    assert.equal(err, "sendmail: no@x.test: 550 5.1.1 unknown\n");
    assert.equal(received.flatMap(({ envelope }) => envelope.recipients).length, 250);
  }, { maxRecipients: 100 });
});

Deno.test("sendmail() ends so that no program sends again what some have, where the connection ends before others", async () => {
  await withServer(async ({ received, run }) => {
    // After an address of bad syntax the server has enough; no maildrop can be left anything.
    const { code, err } = await run([
      "a@x.test",
      "b@x.test",
      "c@x.test",
      "bad..@-x-.1",
      "d@x.test",
      "e@x.test",
    ]);
    assert.deepEqual(received.map(({ envelope }) => envelope.recipients.length), [2]);
    assert.equal(code, 69);
    assert.match(err, /bad\.\.@-x-\.1: 501 /);
    assert.match(err, /cannot be kept/);
  }, { maxRecipients: 2, maxErrors: 0 });
  await withServer(async ({ received, run }) => {
    // Nobody has it: all of it may come again.
    const { code } = await run(["bad..@-x-.1", "c@x.test", "d@x.test"]);
    assert.deepEqual([received.length, code], [0, 75]);
  }, { maxRecipients: 2, maxErrors: 0 });
});

Deno.test("sendmail() without a recipient says what to do", async () => {
  await withServer(async ({ run }) => {
    const { code, err } = await run([]);
    assert.equal(code, 64);
    assert.match(err, /-t/);
    assert.equal((await run(["-t"], "Subject: x\n\nHi\n")).code, 64);
  });
});

Deno.test("sendmail() ends with 75 when serve-out is not running", async () => {
  let gone = "";
  await withServer(({ config }) => {
    gone = Deno.readTextFileSync(config);
    return Promise.resolve();
  });
  const config = await Deno.makeTempFile();
  await Deno.writeTextFile(config, gone);
  const { code, err } = await runner(config)(["bob"]);
  await Deno.remove(config);
  assert.equal(code, 75);
  assert.match(err, /serve-out is not running/);
});

Deno.test("sendmail() -bs speaks SMTP on standard input and output", async () => {
  await withServer(async ({ received, run }) => {
    const input =
      "EHLO x.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nA: b\r\n\r\nHi\r\n.\r\nQUIT\r\n";
    const { code, out } = await run(["-bs"], input);
    assert.equal(code, 0);
    assert.match(out, /^220 [^]*\r\n354 [^]*\r\n250 [^]*\r\n221 /);
    assert.equal(received[0]?.text, "A: b\r\n\r\nHi\r\n");
  });
});

Deno.test("sendmail() shows the queue, tries it again, and says where aliases are", async () => {
  const directory = await Deno.makeTempDir();
  const config = join(directory, "config.toml");
  await Deno.writeTextFile(config, `hostname = "out.example.test"\ndata_dir = "${directory}/data"\n`);
  const run = runner(config);
  const aliases = await run(["-bi"]);
  assert.deepEqual([aliases.code, aliases.out], [
    0,
    `aliases are in [mailboxes.aliases] of ${config}; after a change: systemctl reload mailapp-in mailapp-out\n`,
  ]);
  assert.equal((await run(["-q5m"])).code, 0);
  const queue = await run(["-bp"]);
  assert.deepEqual([queue.code, queue.out], [0, "nothing is queued\n"]);
  const retried = await run(["-q"]);
  assert.deepEqual([retried.code, retried.out], [0, "retried: 0 recipients of 0 messages\n"]);
  await Deno.remove(directory, { recursive: true });
});
