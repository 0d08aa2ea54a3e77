import assert from "node:assert/strict";
import { reply } from "../smtp/reply.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import type { Filter, FilteredMessage, FilterOpinion } from "./filter.ts";
import { inspect, IP, MESSAGE, reject } from "../tests/support/inspect.ts";

/** A filter that says what a test wants, or fails. */
export function filter(say: Partial<FilterOpinion> | "fails" | "slow", seen: FilteredMessage[] = []): Filter {
  return {
    name: "test",
    open(message) {
      seen.push(message);
      if (say === "fails") return Promise.reject(new Error("it is down"));
      const nothing = () => Promise.resolve();
      const opinion: FilterOpinion = {
        action: "accept",
        fields: [],
        edits: [],
        about: "fine",
        ...(say as object),
      };
      return Promise.resolve({
        header: nothing,
        body: nothing,
        finish: () => Promise.resolve(opinion),
        [Symbol.dispose]() {},
      });
    },
  };
}

Deno.test("MailInspector tells filters what is known, and takes over what they say", async () => {
  const seen: FilteredMessage[] = [];
  const spam = { name: "X-Score", value: "9" };
  const edits = [{ name: "Subject", index: 1, value: " [x]" }];
  const { fields, junk, edits: changes, log } = await inspect({
    names: reject,
    options: {
      filters: [
        filter({ fields: [spam] }, seen),
        filter({ action: "junk", edits, about: "bad", fields: [{ name: "x-spam-flag", value: "no" }] }),
      ],
    },
  });
  assert.deepEqual(seen, [{
    hostname: "mx.example.com",
    id: "s1.1",
    client: { address: IP, port: 1 },
    clientName: "mail.other.example",
    helo: "mail.other.example",
    from: "someone@other.example",
    to: ["alice@example.com"],
  }]);
  assert.equal(junk, true);
  assert.deepEqual(changes, edits);
  assert.deepEqual(fields.slice(1), [spam, { name: "X-Spam-Flag", value: "YES" }]);
  assert.deepEqual(log["filters"], ["test: fine", "test: bad"]);
});

Deno.test("MailInspector refuses and puts off what the first filter that objects wants", async () => {
  const no = (code: number) =>
    filter({ action: code < 500 ? "defer" : "refuse", reply: reply(code, undefined, "No") });
  for (const [filters, code] of [[[filter({}), no(554), no(451)], 554], [[no(451), no(554)], 451]] as const) {
    const { refuse, log } = await inspect({ names: reject, options: { filters } });
    assert.equal(refuse?.code, code);
    assert.equal(log["why"], "test: No");
  }
  // DMARC comes first.
  const forged = await inspect({ message: MESSAGE, names: reject, options: { filters: [no(451)] } });
  assert.equal(forged.refuse?.code, 550);
});

Deno.test("MailInspector does with mail what it should while a filter fails, and says so once", async () => {
  const logger = new RecordingLog();
  const broken = filter("fails");
  for (const [filterFailure, code] of [["accept", undefined], ["defer", 451]] as const) {
    const { refuse, log, top } = await inspect({
      names: reject,
      checks: { filterFailure },
      options: { filters: [broken], logger },
    });
    assert.equal(refuse?.code, code);
    assert.deepEqual(log["filters"], ["test: failed: it is down"]);
    if (code === undefined) assert.match(top, /dmarc=pass/);
  }
  const [failed] = logger.named("filter.failed");
  assert.deepEqual(failed?.fields, { filter: "test", error: "it is down" });
});

Deno.test("MailInspector asks filters where nothing is asked of DNS", async () => {
  const { fields, junk } = await inspect({
    options: { resolver: undefined, filters: [filter({ action: "junk" })] },
  });
  assert.deepEqual(fields, [{ name: "X-Spam-Flag", value: "YES" }]);
  assert.equal(junk, true);
});
