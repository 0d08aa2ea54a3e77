import assert from "node:assert/strict";
import type { QueueEntry } from "../relay/queue_entry.ts";
import { entry, fill, withSpool } from "../tests/support/queue_command.ts";
import { testWith } from "../tests/support/requires.ts";

Deno.test("mailapp queue list on no spool says so, and makes none", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    assert.deepEqual(await mailapp("queue", "list"), { code: 0, out: "nothing is queued\n", err: "" });
    assert.deepEqual(await mailapp("queue", "list", "--json"), { code: 0, out: "[]\n", err: "" });
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["config.toml"]);
  });
});

Deno.test("mailapp queue list shows what waits, with the last answer and a dot without one", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    const at = Date.now() - 60_000;
    const where = { at, host: "mx.a.test", address: "192.0.2.1" };
    const [id] = await fill(directory, [
      entry([
        {
          address: "u@a.test",
          attemptCount: 1,
          nextAttemptAt: Date.now() + 3_630_000,
          attempts: [{ ...where, tls: "unverified", reply: "450 4.2.0 wait\u001b[2J", status: "4.2.0" }],
        },
        {
          address: "v@a.test",
          status: "held",
          attemptCount: 2,
          attempts: [{
            ...where,
            error: "no answer to the final dot",
            status: "4.4.2",
            dotSentNoReply: true,
          }],
        },
        { address: "w@a.test", status: "relayed", settled: true },
      ]),
    ]);
    const { code, out } = await mailapp("queue", "list");
    assert.equal(code, 0);
    assert.equal(
      out,
      `${id}  1 min  18 B  from sender@example.org
  u@a.test: next try in 1 h, 1 try
    mx.a.test [192.0.2.1] (TLS unverified): 450 4.2.0 wait\\u001b[2J
  v@a.test: held, 2 tries, dot sent, no reply: it may have arrived
    mx.a.test [192.0.2.1]: no answer to the final dot (dot sent, no reply)
  (1 recipient done)
1 message, 1 recipient pending, 1 held
`,
    );
  });
});

Deno.test("mailapp queue list --json is an array of entries, selected by domain and sender", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    const [one, two] = await fill(directory, [
      entry(["u@a.test"], { reversePath: "alice@example.org" }),
      entry(["u@b.test", "u@c.test"], { reversePath: "" }),
    ]);
    const list = async (...args: string[]) => {
      const { out } = await mailapp("queue", "list", "--json", ...args);
      return (JSON.parse(out) as QueueEntry[]).map(({ id }) => id);
    };
    assert.deepEqual(await list(), [one, two]);
    assert.deepEqual(await list("--domain", "B.test."), [two]);
    assert.deepEqual(await list("--sender", "Alice@example.org"), [one]);
    assert.deepEqual(await list("--sender", "<>"), [two]);
    const text = (await mailapp("queue", "list", "--domain", "b.test")).out;
    assert.match(
      text,
      /u@b\.test: .*\n(?: {4}.*\n)* {2}\(1 recipient in other domains\)\n1 message, 1 recipient /,
    );
    assert.doesNotMatch(text, /u@[ac]\.test/);
    const { out } = await mailapp("queue", "list", "--json", one ?? "");
    const [listed] = JSON.parse(out) as QueueEntry[];
    assert.equal(listed?.recipients[0]?.address, "u@a.test");
  });
});

/** Messages to three domains, with what was said last. */
function manyEntries(): Partial<QueueEntry>[] {
  const attempts = (reply: string) => [{ at: Date.now() - 60_000, host: "mx.test", reply, status: "4.7.1" }];
  return Array.from({ length: 60 }, (_, index) =>
    entry([{
      address: `u${index}@${index < 30 ? "a" : index < 50 ? "b" : "c"}.test`,
      attemptCount: index % 7,
      nextAttemptAt: Date.now() + 3_600_000 + ((index * 37) % 60) * 1000,
      attempts: attempts(
        index < 50
          ? `450 4.7.1 <u${index}@a.test>: try again, request id 7f3a9c${index}d2, waited ${
            10_000 + index
          } ms`
          : "421 4.3.2 closed",
      ),
    }], { reversePath: index % 3 === 0 ? "" : `s${index % 3}@example.com` }));
}

Deno.test("mailapp queue list shows a summary for more than 50 messages, and as many of them as --limit says", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    const ids = await fill(directory, manyEntries());
    const { code, out } = await mailapp("queue", "list", "--limit", "2");
    assert.equal(code, 0);
    const head = `60 messages:
30  a.test, oldest 1 min: 450 4.7.1 <…>: try again, request id …, waited … ms
20  b.test, oldest 1 min: 450 4.7.1 <…>: try again, request id …, waited … ms
10  c.test, oldest 1 min: 421 4.3.2 closed

${ids[0]}  `;
    assert.equal(out.slice(0, head.length), head);
    assert.match(out, /^2 messages shown, 2 recipients pending$/m);
    const all = JSON.parse((await mailapp("queue", "list", "--json", "--limit", "3")).out);
    assert.deepEqual(all.map(({ id }: { id: string }) => id), ids.slice(0, 3));
    const whole = await mailapp("queue", "list");
    assert.deepEqual(ids.filter((id) => !whole.out.includes(`${id}  `)), []);
  });
});

Deno.test("mailapp queue list --group counts by domain, reason and sender, in text and JSON", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    await fill(directory, manyEntries());
    assert.equal(
      (await mailapp("queue", "list", "--group", "reason")).out,
      "50  450 4.7.1 <…>: try again, request id …, waited … ms, oldest 1 min\n" +
        "10  421 4.3.2 closed, oldest 1 min\n",
    );
    const senders = JSON.parse((await mailapp("queue", "list", "--group", "sender", "--json")).out);
    assert.deepEqual(
      senders.map((
        { sender, messages, recipients }: Record<string, unknown>,
      ) => [sender, messages, recipients]),
      [["<>", 20, 20], ["s1@example.com", 20, 20], ["s2@example.com", 20, 20]],
    );
    const some = JSON.parse(
      (await mailapp("queue", "list", "--group", "domain", "--domain", "c.test", "--json")).out,
    );
    assert.deepEqual(some.map(({ domain, messages }: Record<string, unknown>) => [domain, messages]), [[
      "c.test",
      10,
    ]]);
    assert.equal((await mailapp("queue", "list", "--group", "colour")).code, 64);
  });
});

Deno.test("mailapp queue list --sort puts messages in the order that is asked for", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    const filled = await fill(directory, manyEntries());
    const sorted = async (key: string) =>
      JSON.parse((await mailapp("queue", "list", "--json", "--sort", key)).out).map(
        ({ recipients: [recipient] }: { recipients: Record<string, unknown>[] }) => recipient,
      ) as Record<string, unknown>[];
    const isOrdered = (values: readonly (string | number)[]) =>
      values.every((value, index) => index === 0 || (values[index - 1] ?? "") <= value);
    const next = await sorted("next");
    assert.equal(next.length, 60);
    assert.ok(isOrdered(next.map((one) => String(one["next_attempt_at"]))));
    assert.ok(isOrdered((await sorted("attempts")).map((one) => -Number(one["attempt_count"]))));
    assert.ok(isOrdered((await sorted("domain")).map((one) => String(one["domain"]))));
    const ids = async (key: string) =>
      JSON.parse((await mailapp("queue", "list", "--json", "--sort", key)).out).map((
        { id }: { id: string },
      ) => id);
    assert.deepEqual(await ids("age"), filled);
    assert.deepEqual(await ids("newest"), filled.toReversed());
    assert.equal((await mailapp("queue", "list", "--sort", "colour")).code, 64);
  });
});

// Only root gives files away.
testWith(
  Deno.uid() === 0 ? [] : ["root"],
  "mailapp queue list names files of another account, which it may lack",
  async () => {
    await withSpool(async ({ directory, mailapp }) => {
      const [id = ""] = await fill(directory, [entry(["u@a.test"])]);
      const path = `${directory}/spool/messages/${id.slice(-2)}/${id}`;
      await Deno.chown(path, 999, 999);
      const { code, out } = await mailapp("queue", "list");
      assert.equal(code, 0);
      assert.ok(
        out.endsWith(
          `\n${path}: of another account, so that it may be missing here; ` +
            "mailapp doctor has the remedy\n",
        ),
        out,
      );
      assert.doesNotMatch((await mailapp("queue", "list", "--json")).out, /another account/);
    });
  },
);
