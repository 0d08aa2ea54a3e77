import assert from "node:assert/strict";
import { MemoryQueue } from "../tests/support/memory_queue.ts";
import { newEntry, recipient } from "../tests/support/queue_entry.ts";
import { noticeComposer } from "./dsn.ts";
import type { NewEntry } from "./queue.ts";
import type { QueueRecipient } from "./queue_entry.ts";

const FAILED: Partial<QueueRecipient> = {
  status: "failed",
  attempts: [{ at: 1000, host: "mx.a.test", reply: "550 5.1.1 It is attached below.", status: "5.1.1" }],
};

interface Written {
  readonly entry: NewEntry;
  readonly message: Uint8Array;
}

/** Composes notices about a message in its own queue, and puts them there. */
function notices(message: string) {
  const queue = new MemoryQueue();
  const compose = noticeComposer({ queue, hostname: "mx.test", expireAfter: 1 });
  const put = async (written: Written | undefined, before = "") => {
    if (written === undefined) return undefined;
    const signed = new TextEncoder().encode(before + text(written.message));
    await queue.add({ ...written.entry, size: signed.length }, signed);
    return written;
  };
  return {
    about: async (id: string, changes = {}, before = "") => {
      const entry = newEntry([recipient("u@a.test", FAILED)], {
        id: "message01",
        reversePath: "alice@sender.test",
        dsn: { ret: "FULL" },
        ...changes,
      });
      await queue.add(entry, new TextEncoder().encode(message));
      return await put(await compose({ id, kind: "failure", entry, age: 0, recipients: [0] }), before);
    },
    smaller: async ({ entry }: Written, id: string) =>
      await put(await compose({ id, kind: "failure", entry, age: 0, recipients: [0] })),
  };
}

function text(message: Uint8Array): string {
  return new TextDecoder("latin1").decode(message);
}

function contentTypes(message: Uint8Array): string[] {
  return text(message).split("\r\n").filter((line) => line.startsWith("Content-Type: ")).map((line) =>
    line.replace(/^Content-Type: ([^;]*).*/, "$1")
  );
}

Deno.test("writeSmaller() returns the header section, then nothing, and then there is nothing smaller", async () => {
  const made = notices(`Subject: hi\r\nX: y\r\n\r\n${"body of the message\r\n".repeat(1000)}`);
  const signature = "DKIM-Signature: v=1; h=Date: From;\r\n b=AAAA\r\n";
  const first = await made.about("notice001", {}, signature) ?? assert.fail();
  assert.deepEqual(contentTypes(first.message).slice(1), [
    "text/plain",
    "message/delivery-status",
    "message/rfc822",
  ]);

  const second = await made.smaller(first, "notice002") ?? assert.fail();
  const said = text(second.message);
  assert.deepEqual(contentTypes(second.message), [
    "multipart/report",
    "text/plain",
    "message/delivery-status",
    "text/rfc822-headers",
  ]);
  assert.match(said, /\r\n\r\nSubject: hi\r\nX: y\r\n\r\n--=_notice002--\r\n$/);
  assert.doesNotMatch(said, /body of the message|notice001|DKIM/);
  assert.match(said, /^Date: /);
  assert.match(said, /Message-ID: <notice002@mx\.test>/);
  assert.match(
    said,
    /queue id\s+message01\.\r\nIts header section is attached below\.\r\n\r\n--=_notice002\r\n/,
  );
  // What the server said stays.
  assert.match(said, /550 5\.1\.1 It is attached below\./);
  assert.match(said, /Final-Recipient: rfc822; u@a\.test/);
  assert.equal(second.entry.size, second.message.length);
  assert.equal(second.entry.reversePath, "");
  assert.deepEqual(
    second.entry.recipients.map(({ address, status, attempts }) => [address, status, attempts]),
    [
      ["alice@sender.test", "pending", []],
    ],
  );

  const third = await made.smaller(second, "notice003") ?? assert.fail();
  assert.deepEqual(contentTypes(third.message).slice(1), ["text/plain", "message/delivery-status"]);
  assert.doesNotMatch(text(third.message), /Subject: hi|attached below\.\r\n\r\n--/);
  assert.match(text(third.message), /\r\n--=_notice003--\r\n$/);
  assert.equal(await made.smaller(third, "notice004"), undefined);
});

Deno.test("writeSmaller() returns no more of a long header section than any notice does", async () => {
  const made = notices(`${`X: ${"y".repeat(70)}\r\n`.repeat(2000)}\r\nbody\r\n`);
  const first = await made.about("notice001") ?? assert.fail();
  assert.match(text(first.message), /body\r\n/);
  const second = await made.smaller(first, "notice002") ?? assert.fail();
  assert.ok(second.message.length < 70_000 && second.message.length > 60_000);
  assert.match(text(second.message), /\r\nX: y{70}\r\n\r\n--=_notice002--\r\n$/);
});

Deno.test("writeSmaller() leaves alone what is not a notice of ours, whatever it looks like", async () => {
  for (
    const message of [
      "Subject: bounce\r\n\r\nno parts\r\n",
      'Date: x\r\nContent-Type: multipart/report; boundary="=_other"\r\n\r\n--=_other\r\n\r\n--=_other--\r\n',
      "",
    ]
  ) {
    const queue = new MemoryQueue();
    const { id } = await queue.put(["u@a.test"], { reversePath: "" });
    const entry = newEntry([recipient("u@a.test", FAILED)], { id: "forged01", reversePath: "" });
    await queue.add(entry, new TextEncoder().encode(message));
    const compose = noticeComposer({ queue, hostname: "mx.test", expireAfter: 1 });
    const asked = { id: "notice001", kind: "failure", age: 0, recipients: [0] } as const;
    assert.equal(await compose({ ...asked, entry }), undefined, message);
    assert.equal(await compose({ ...asked, entry: { ...entry, id } }), undefined);
  }
});
