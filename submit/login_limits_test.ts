import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { SmtpError } from "../smtp/reply.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { LimitsFile, readLimits } from "./limits_file.ts";
import { LoginLimits, type SendingLimits } from "./login_limits.ts";
import { SlidingCount } from "./sliding_count.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const ALICE = "alice@example.com";

const UNLIMITED: SendingLimits = {
  messagesAnHour: Infinity,
  messagesADay: Infinity,
  recipientsAnHour: Infinity,
  recipientsADay: Infinity,
  newRecipientsADay: Infinity,
};

function world(limits: Partial<SendingLimits>, remembered?: unknown) {
  const clock = new FakeClock();
  const log = new RecordingLog();
  const logins = new LoginLimits({ limits: { ...UNLIMITED, ...limits }, clock, logger: log, remembered });
  const refusalOf = (login = ALICE) => {
    try {
      logins.begin(login)[Symbol.dispose]();
      return "";
    } catch (error) {
      assert.ok(error instanceof SmtpError);
      return `${error.reply.code} ${error.reply.enhanced} ${error.reply.lines.join(" ")}`;
    }
  };
  /** One message; the reply to the first recipient that is refused. */
  const send = (...names: string[]) => {
    using use = logins.begin(ALICE);
    for (const name of names) {
      const refusal = use.refuses({ localPart: name, domain: "there.example" });
      if (refusal !== undefined) return `${refusal.code} ${refusal.enhanced} ${refusal.lines.join(" ")}`;
      use.add({ localPart: name, domain: "there.example" });
    }
    use.taken();
    return "";
  };
  return { clock, log, logins, send, refusalOf };
}

Deno.test("LoginLimits holds each login to its messages an hour, says when it goes on, and tells of it once", async () => {
  const { clock, log, logins, send, refusalOf } = world({ messagesAnHour: 2 });
  send("a");
  await clock.advance(30 * MINUTE);
  send("a");
  const expected =
    /^450 4\.7\.1 alice@example\.com may send 2 messages an hour; it goes on in 30 min, at 01:00 UTC$/;
  assert.match(refusalOf(), expected);
  assert.match(refusalOf(), expected);
  assert.equal(refusalOf("bob@example.com"), "");
  assert.deepEqual(log.events.map(({ event, fields }) => [event, fields["limit"]]), [
    ["login.limited", "messages_an_hour"],
  ]);
  assert.equal(logins.limited.length, 1);
  await clock.advance(30 * MINUTE);
  assert.equal(refusalOf(), "");
  await clock.advance(2 * HOUR);
  assert.equal(logins.limited.length, 0);
});

Deno.test("LoginLimits counts recipients, and those that are new, by hour and day", async () => {
  const hour = world({ recipientsAnHour: 3 });
  assert.equal(hour.send("a", "b"), "");
  assert.match(hour.send("a", "b"), /^450 4\.7\.1 .* may send 3 recipients an hour; it goes on in 60 min/);
  assert.equal(hour.send("a"), "");
  const day = world({ recipientsADay: 2 });
  assert.equal(day.send("a", "a"), "");
  assert.match(day.send("a"), /2 recipients a day; it goes on in 1440 min, at 00:00 UTC/);
  const fresh = world({ newRecipientsADay: 2 });
  assert.equal(fresh.send("a", "b", "a"), "");
  assert.equal(fresh.send("A", "B"), "");
  assert.match(fresh.send("a", "c"), /2 recipients a day that it has not written to before/);
  await fresh.clock.advance(24 * HOUR);
  assert.equal(fresh.send("c"), "");
  assert.match(world({ messagesADay: 0 }).refusalOf(), /^450 4\.7\.1 /);
});

Deno.test("LoginLimits counts what is under way, and nothing of what comes to nothing", () => {
  const { logins, refusalOf, send } = world({ messagesAnHour: 2, recipientsAnHour: 2 });
  const first = logins.begin(ALICE);
  const second = logins.begin(ALICE);
  assert.match(refusalOf(), /try again when what is under way is over/);
  second[Symbol.dispose]();
  first.add({ localPart: "a", domain: "b.example" });
  assert.match(send("c", "d"), /2 recipients an hour/);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assert.equal(send("c", "d"), "");
});

Deno.test("LoginLimits bounds how many messages of a login are under way, and how many logins it remembers", () => {
  const { logins, refusalOf } = world({});
  const open = Array.from({ length: 20 }, () => logins.begin(ALICE));
  assert.match(refusalOf(), /^450 4\.7\.1 .* has 20 messages under way/);
  for (const use of open) use[Symbol.dispose]();
  for (let i = 0; i < 11_000; i++) logins.begin(`user${i}@example.com`).taken();
  assert.equal(Object.keys(logins.toJSON() as object).length, 10_000);
});

Deno.test("LoginLimits goes on from what it remembered, and takes anything for that", () => {
  const limits = { messagesAnHour: 2, newRecipientsADay: 2 };
  const before = world(limits);
  before.send("a", "b");
  before.send("a");
  const after = world(limits, JSON.parse(JSON.stringify(before.logins)));
  assert.match(after.refusalOf(), /2 messages an hour/);
  const { send } = world({ newRecipientsADay: 2 }, JSON.parse(JSON.stringify(before.logins)));
  assert.equal(send("a", "b"), "");
  assert.match(send("c"), /not written to before/);
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const { refusalOf } = world(limits, { [ALICE]: value });
      assert.equal(typeof refusalOf(), "string");
    }),
    { seed: 1 },
  );
});

Deno.test("SlidingCount has what came within its window, whatever the clock does", () => {
  const count = new SlidingCount(HOUR);
  const start = Date.UTC(2026, 0, 1);
  count.add(start, 2);
  count.add(start + 30 * MINUTE);
  assert.equal(count.total(start + 59 * MINUTE), 3);
  assert.equal(count.below(start + 59 * MINUTE, 1), start + HOUR);
  assert.equal(count.below(start + 59 * MINUTE, 3), start + 59 * MINUTE);
  assert.equal(count.total(start + HOUR), 1);
  assert.equal(count.total(start - HOUR), 0);
});

Deno.test("LimitsFile keeps what has changed over a restart, and goes on without a file", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const log = new RecordingLog();
    const file = { path: `${directory}/limits.json`, clock: new FakeClock(), logger: log };
    assert.equal(await readLimits(file), undefined);
    const { logins, send } = world({});
    await using kept = new LimitsFile(logins, file);
    send("a");
    await kept[Symbol.asyncDispose]();
    assert.deepEqual(await readLimits(file), JSON.parse(JSON.stringify(logins)));
    assert.equal(((await Deno.stat(file.path)).mode ?? 0) & 0o777, 0o600);
    assert.deepEqual(log.events, []);
    await Deno.writeTextFile(file.path, "{");
    assert.equal(await readLimits(file), undefined);
    assert.deepEqual(log.events.map(({ event }) => event), ["limits.not_kept"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
