import assert from "node:assert/strict";
import { systemClock } from "../base/clock.ts";
import { HeaderSection } from "../message/header_section.ts";
import { bytesOf } from "../tests/support/bytes.ts";
import { type FakeMilterOptions, startFakeMilter } from "../tests/support/fake_milter.ts";
import type { FilterOpinion } from "./filter.ts";
import { MilterFilter } from "./milter_filter.ts";

async function ask(answer: FakeMilterOptions["answer"]): Promise<FilterOpinion> {
  await using milter = startFakeMilter({ answer: (letter, data) => answer?.(letter, data) });
  const { port } = milter;
  const filter = new MilterFilter({
    address: { host: "127.0.0.1", port },
    clock: systemClock,
    timeoutMs: 5000,
  });
  assert.equal(filter.name, `milter 127.0.0.1:${port}`);
  using session = await filter.open({
    hostname: "mx.example.com",
    id: "s1.1",
    client: { address: "2001:db8::1", port: 4321 },
    clientName: "mail.client.test",
    helo: "client.test",
    from: "",
    to: ["alice@example.com"],
  });
  await session.header(HeaderSection.of("Subject: x\r\nX-Old: y\r\n"));
  await session.body(bytesOf("Hello\r\n"));
  const opinion = await session.finish();
  assert.ok(milter.seen.includes("C mail.client.test␀6\x10\xe12001:db8::1␀"));
  assert.ok(milter.seen.includes("M <>␀"));
  return opinion;
}

/** An answer to the end of the message. */
const atEnd = (...packets: (readonly [string, string?])[]) =>
  ask((letter) => letter === "E" ? packets : undefined);

Deno.test("MilterFilter turns what a milter says into an opinion", async () => {
  const replyOf = ({ action, reply }: FilterOpinion) => [action, reply?.code, reply?.enhanced, reply?.lines];
  assert.deepEqual(await atEnd(["c"]), { action: "accept", fields: [], edits: [], about: "accept" });
  assert.deepEqual(replyOf(await atEnd(["r"])), ["refuse", 550, "5.7.1", [
    "The message was refused by a filter",
  ]]);
  assert.equal((await atEnd(["t"])).action, "defer");
  assert.deepEqual(replyOf(await atEnd(["y", "554 5.7.9 No\0"])), ["refuse", 554, "5.7.9", ["No"]]);
  assert.deepEqual(replyOf(await atEnd(["y", "452-4.2.2 One\r\n452 4.2.2 two\0"])), [
    "defer",
    452,
    "4.2.2",
    ["One", "two"],
  ]);
  assert.deepEqual(replyOf(await atEnd(["y", "550 No code\0"])), ["refuse", 550, undefined, ["No code"]]);
  assert.deepEqual(replyOf(await atEnd(["y", "550 4.7.1\0"])), ["refuse", 550, undefined, [
    "Refused by a filter",
  ]]);
  // Nothing that was accepted vanishes.
  assert.deepEqual((await atEnd(["d"])).action, "junk");
  assert.deepEqual((await atEnd(["q", "bad\0"], ["c"])).action, "junk");
});

Deno.test("MilterFilter takes over fields and changes, in a form that fits a message", async () => {
  const { action, fields, edits } = await atEnd(
    ["h", "X-Result\0 a;\nb=\xc3\xbc\n\n\n c\0"],
    ["m", "\0\0\0\x01Subject\0[x] y\n z\0"],
    ["m", "\0\0\0\0X-Old\0\0"],
    // A value for what is not there adds it.
    ["m", "\0\0\0\x02subject\0 another\0"],
    ["m", "\0\0\0\x01X-None\0\0"],
    ["c"],
  );
  assert.equal(action, "accept");
  assert.deepEqual(fields, [
    { name: "X-Result", value: "a;\r\n\tb=ü\r\n c" },
    { name: "subject", value: "another" },
  ]);
  assert.deepEqual(edits, [
    { name: "Subject", index: 1, value: " [x] y\r\n z" },
    { name: "X-Old", index: 1 },
  ]);
});

Deno.test("MilterFilter takes a message that a milter marks as junk for junk", async () => {
  for (const field of ["X-Spam-Flag\0YES\0", "X-Spam\0Yes\0", "x-spam-flag\0Yes, really\0"]) {
    assert.equal((await atEnd(["h", field], ["c"])).action, "junk", field);
    // As Rspamd does it.
    assert.equal((await atEnd(["m", `\0\0\0\x01${field}`], ["c"])).action, "junk", field);
  }
  for (const field of ["X-Spam-Flag\0NO\0", "X-Spam-Status\0Yes\0", "X-Spam\0yesterday\0"]) {
    assert.equal((await atEnd(["h", field], ["c"])).action, "accept", field);
  }
});
