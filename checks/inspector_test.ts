import assert from "node:assert/strict";
import { allMetrics, Counter } from "../base/counters.ts";
import { silentLogger } from "../base/log.ts";
import type { Answer, Resolver } from "../dns/resolver.ts";
import { SmtpError } from "../smtp/reply.ts";
import { sealByTheBook, signByTheBook } from "../tests/support/dkim.ts";
import { settle } from "../tests/support/fake_clock.ts";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import { DnsLists } from "./dns_lists.ts";
import { Greylist } from "./greylist.ts";
import {
  inspect,
  type InspectOptions,
  key,
  KEYS,
  MESSAGE,
  newClock,
  quarantine,
  reject,
  SIGNED,
  TAGS,
} from "../tests/support/inspect.ts";
import { filter } from "./inspector_filters_test.ts";

Deno.test("MailInspector writes all it found into one field", async () => {
  const { top, refuse, junk, log } = await inspect({ names: reject });
  assert.equal(
    top,
    "Authentication-Results: mx.example.com;\r\n" +
      "\tspf=pass smtp.mailfrom=someone@other.example;\r\n" +
      "\tspf=none smtp.helo=mail.other.example;\r\n" +
      "\tdkim=pass header.d=bank.example header.s=s header.a=ed25519-sha256\r\n" +
      `\theader.b="${/ b=(.{8})/.exec(SIGNED)?.[1]}";\r\n`.replaceAll(/"([^/=]*)"/g, "$1") +
      "\tarc=none;\r\n" +
      "\tdmarc=pass (p=reject dis=none) header.from=bank.example;\r\n" +
      "\tiprev=pass (mail.other.example) policy.iprev=192.0.2.1\r\n",
  );
  assert.deepEqual([refuse, junk], [undefined, false]);
  assert.deepEqual(log, { spf: "pass", dkim: ["pass bank.example"], dmarc: "pass", iprev: "pass" });
});

Deno.test("MailInspector does what the domain of the author asks for, and says what failed", async () => {
  const forged = await inspect({ message: MESSAGE, names: reject });
  assert.deepEqual([forged.refuse?.code, forged.refuse?.enhanced], [550, "5.7.1"]);
  assert.equal(
    forged.refuse?.lines[0],
    "DMARC policy of bank.example: neither SPF nor DKIM authenticates bank.example: SPF pass for other.example, " +
      "no DKIM signature",
  );
  assert.equal(forged.log["dmarc"], "fail");
  assert.match(String(forged.log["why"]), /^DMARC policy of bank\.example/);
  const spoilt = await inspect({ message: `${SIGNED}x`, names: reject });
  assert.match(spoilt.refuse?.lines[0] ?? "", /DKIM fail for bank\.example$/);

  const junk = await inspect({ message: MESSAGE, names: quarantine });
  assert.equal(junk.refuse, undefined);
  assert.equal(junk.junk, true);
  assert.match(junk.top, /dmarc=fail \(p=quarantine dis=quarantine\)[^]*\r\nX-Spam-Flag: YES\r\n$/);
  assert.equal(junk.log["junk"], true);
});

Deno.test("MailInspector only marks where it is told to, and asks nothing that is off", async () => {
  const marked = await inspect({ message: MESSAGE, names: reject, checks: { dmarc: "mark" } });
  assert.equal(marked.refuse, undefined);
  assert.match(marked.top, /dmarc=fail \(p=reject dis=reject\)/);
  const resolver = new StaticResolver({ ...KEYS, ...reject }, { ptr: {} });
  const off = await inspect({ resolver, checks: { spf: false, dkim: false, arc: false, dmarc: "off" } });
  assert.match(
    off.top,
    /^Authentication-Results: mx\.example\.com;\r\n\tiprev=permerror policy\.iprev=192\.0\.2\.1\r\n$/,
  );
  assert.deepEqual(resolver.asked, ["ptr 192.0.2.1"]);
});

Deno.test("MailInspector accepts and marks what DNS cannot tell", async () => {
  for (
    const fails of [{ "_dmarc.bank.example": { fails: ["*"] } }, {
      "s._domainkey.bank.example": { fails: ["txt"] },
    }] as const
  ) {
    const { refuse, junk, top } = await inspect({ names: { ...reject, ...fails } });
    assert.deepEqual([refuse, junk], [undefined, false]);
    assert.match(top, /dmarc=temperror/);
  }
});

Deno.test("MailInspector gives up on DNS that never answers, within the time for one message", async () => {
  const silent: Resolver = new Proxy({} as Resolver, {
    get: () => (_: string, { signal }: { signal?: AbortSignal } = {}) =>
      new Promise<Answer<string>>((resolve) =>
        signal?.addEventListener("abort", () => resolve({ kind: "failed", reason: "given up" }))
      ),
  });
  const clock = newClock();
  const done = inspect({
    resolver: silent,
    clock,
    message: sealByTheBook({ message: SIGNED, key, instance: 1 }),
  });
  await settle();
  await clock.advance(9_999);
  await settle();
  let over = false;
  void done.then(() => over = true);
  await settle();
  assert.equal(over, false);
  await clock.advance(1);
  const { refuse, top } = await done;
  assert.equal(refuse, undefined);
  for (const word of ["spf=temperror", "dkim=temperror", "arc=fail", "dmarc=temperror", "iprev=temperror"]) {
    assert.ok(top.includes(word), top);
  }
});

Deno.test("MailInspector lets a trusted sealer outweigh DMARC, and names it", async () => {
  const seal = { a: "ed25519-sha256", d: "lists.example" };
  const changed = SIGNED.replace("Subject: x", "Subject: [list] x");
  const message = sealByTheBook({ message: changed, key, instance: 1, signature: seal, seal });
  assert.equal((await inspect({ message, names: reject })).refuse?.code, 550);
  const checks = { trustedSealers: ["lists.example"] };
  const { refuse, junk, top, log } = await inspect({ message, names: reject, checks });
  assert.deepEqual([refuse, junk], [undefined, false]);
  assert.match(top, /arc=pass/);
  assert.match(top, /dmarc=fail/);
  assert.equal(
    log["why"],
    "DMARC of bank.example asks for reject, but lists.example, which is trusted, has authenticated it",
  );
  // A chain that was broken, or that another host continued, counts for nothing.
  const broken = message.replace("Hello", "Hallo");
  assert.equal((await inspect({ message: broken, names: reject, checks })).refuse?.code, 550);
  const further = sealByTheBook({ message, key, instance: 2, signature: TAGS, seal: TAGS });
  assert.equal((await inspect({ message: further, names: reject, checks })).refuse?.code, 550);
});

Deno.test("MailInspector has an outcome for messages with no author, several From fields and several authors", async () => {
  const none = await inspect({ message: MESSAGE.replace("From:", "X-From:"), names: reject });
  assert.equal(none.refuse, undefined);
  assert.match(none.top, /dmarc=none/);
  for (
    const from of [
      "From: a@other.example\r\nFrom: info@bank.example",
      "From: a@other.example, Bank <info@bank.example>",
      "From: friends: a@other.example, info@bank.example;",
    ]
  ) {
    const { refuse } = await inspect({ message: MESSAGE.replace(/^From: .*/, from), names: reject });
    assert.equal(refuse?.code, 550, from);
  }
});

Deno.test("MailInspector refuses by a list before the data, and files by one as junk", async () => {
  const listed: Readonly<Record<string, StaticName>> = {
    "2.0.0.127.bad.example": { a: ["127.0.0.2"] },
    "1.2.0.192.bad.example": { a: ["127.0.0.4"], txt: ["See https://bad.example/?192.0.2.1"] },
  };
  for (const action of ["refuse", "junk"] as const) {
    const resolver = new StaticResolver({ ...KEYS, ...reject, ...listed }, { ptr: {} });
    using lists = new DnsLists({
      lists: [{ zone: "bad.example", action }],
      resolver,
      clock: newClock(),
      logger: silentLogger,
    });
    await lists.start();
    const sent = inspect({ resolver, options: { lists, refusesListed: action === "refuse" } });
    if (action === "junk") {
      const { junk, log } = await sent;
      assert.equal(junk, true);
      assert.deepEqual(log["listed"], ["bad.example"]);
      continue;
    }
    await assert.rejects(sent, (error) => {
      assert.ok(error instanceof SmtpError);
      assert.deepEqual([error.reply.code, error.reply.enhanced], [550, "5.7.1"]);
      assert.match(error.reply.lines[0] ?? "", /^192\.0\.2\.1 is listed by bad\.example: See https:/);
      return true;
    });
  }
});

Deno.test("MailInspector asks unknown senders to come again, before the data", async () => {
  const clock = newClock();
  const greylist = new Greylist({ now: () => clock.now() });
  const options = { greylist };
  const send = (how: Partial<InspectOptions>) => inspect({ names: reject, options, clock, ...how });
  const again = (error: unknown) => {
    assert.ok(error instanceof SmtpError);
    assert.deepEqual([error.reply.code, error.reply.enhanced], [451, "4.7.1"]);
    assert.match(error.reply.lines[0] ?? "", /again in \d+ seconds$/);
    return true;
  };
  await assert.rejects(send({ checks: { greylist: "all" } }), again);
  await clock.advance(61_000);
  assert.equal((await send({ checks: { greylist: "all" } })).refuse, undefined);
  // Who passes SPF raises no suspicion; who fails it, and has no name, does.
  assert.equal(
    (await send({ checks: { greylist: "suspicious" }, from: "a@other.example" })).refuse,
    undefined,
  );
  const stranger = { checks: { greylist: "suspicious" as const }, ip: "198.51.100.1" };
  await assert.rejects(send({ ...stranger }), again);
  await clock.advance(61_000);
  assert.equal((await send({ ...stranger })).refuse, undefined);
});

/** The counters of a family now, by labels. */
function counted(name: string): ReadonlyMap<string, number> {
  const metric = allMetrics().find((metric) => metric.name === name) ?? assert.fail(name);
  return new Map(
    Array.from(metric.series(), ({ labels, metric }) => {
      assert.ok(metric instanceof Counter);
      return [labels.join(" "), metric.value];
    }),
  );
}

Deno.test("MailInspector counts what it found and what came of it, before the data and after it", async () => {
  const families = [
    "mailapp_checks_total",
    "mailapp_checked_messages_total",
    "mailapp_filter_outcomes_total",
  ];
  const before = families.map(counted);
  const clock = newClock();
  const greylist = new Greylist({ now: () => clock.now() });
  await assert.rejects(inspect({ names: reject, options: { greylist }, clock, checks: { greylist: "all" } }));
  await clock.advance(61_000);
  const filters = [filter({ action: "junk" }), filter("fails")];
  await inspect({ names: reject, options: { greylist, filters }, clock, checks: { greylist: "all" } });
  await inspect({ names: reject, message: MESSAGE.replace("bank.example", "none.example") });
  const more = families.map((family, index) =>
    Object.fromEntries(
      [...counted(family)].map(([labels, value]) =>
        [labels, value - (before[index]?.get(labels) ?? 0)] as const
      )
        .filter(([, value]) => value > 0),
    )
  );
  assert.deepEqual(more[1], { greylist: 1, accept: 2 });
  assert.deepEqual(more[2], { "test junk": 1, "test failed": 1 });
  assert.equal(
    Object.entries(more[0] ?? {}).filter(([labels]) => labels.startsWith("spf ")).reduce(
      (sum, [, value]) => sum + value,
      0,
    ),
    3,
  );
  assert.deepEqual(more[0]?.["dmarc none"], 1);
});

Deno.test("MailInspector lets serve-out of this machine send in its own name", async () => {
  const names: Readonly<Record<string, StaticName>> = {
    "example.com": { txt: ["v=spf1 ip4:203.0.113.1 -all"] },
    "_dmarc.example.com": { txt: ["v=DMARC1; p=reject"] },
  };
  const message = MESSAGE.replace("bank.example", "example.com");
  const own = { message, names, from: "info@example.com" };
  assert.equal((await inspect({ ...own })).refuse?.code, 550);
  for (const ip of ["127.0.0.1", "192.0.2.200"]) {
    const { refuse, top } = await inspect({ ...own, ip, local: ip, helo: "mx.example.com" });
    assert.equal(refuse, undefined);
    assert.match(top, /spf=pass smtp\.mailfrom=info@example\.com/);
    // Others that happen to come by this way say another name.
    assert.equal((await inspect({ ...own, ip, local: ip })).refuse?.code, 550);
  }
  // But not in the name of others.
  const forged = await inspect({
    message: MESSAGE,
    names: reject,
    ip: "127.0.0.1",
    local: "127.0.0.1",
    helo: "mx.example.com",
  });
  assert.equal(forged.refuse?.code, 550);
});

Deno.test("MailInspector keeps the reply in one line, and what strangers write in its place", async () => {
  const long = `${"x".repeat(60)}.${"y".repeat(60)}.${"z".repeat(60)}.example`;
  const message = MESSAGE.replace("bank.example", long);
  const tags = { a: "ed25519-sha256", s: "none" };
  const signed = Array.from({ length: 5 }, (_, i) => `a${i}.${long}`).reduce(
    (text, d) => signByTheBook({ message: text, key, tags: { ...tags, d } }),
    message,
  );
  const { refuse } = await inspect({
    message: signed,
    names: { [`_dmarc.${long}`]: { txt: ["v=DMARC1; p=reject"] } },
    from: `"a\\"b; dkim=pass (x"@${long}`,
    helo: "evil.example",
  });
  const [line = ""] = refuse?.lines ?? [];
  assert.ok(line.length <= 403 && /^[\x20-\x7e]+$/.test(line), line);
  const { top } = await inspect({ from: '"a; dmarc=pass (x\\"@y"@other.example', names: reject });
  assert.equal([...top.matchAll(/^\t(?:spf|dkim|arc|dmarc|iprev)=/gm)].length, 6, top);
});

Deno.test("what From fields cost is bounded, one long one or many: beyond that the message is refused unread", async () => {
  const long = `From: ${"a@bank.example, ".repeat(1024)}b@bank.example\r\n`;
  const many = "From: a@bank.example\r\n".repeat(1024);
  const hidden = `From: (${"x".repeat(16_384)}) a@bank.example\r\n`;
  for (const from of [long, many, hidden]) {
    const { refuse } = await inspect({ message: `${from}Subject: x\r\n\r\nHello\r\n` });
    assert.equal(refuse?.code, 550);
    assert.match(refuse?.lines.join() ?? "", /DMARC: the From fields have more than 16384 octets/);
    const marked = await inspect({
      message: `${from}Subject: x\r\n\r\nHello\r\n`,
      checks: { dmarc: "off" },
    });
    assert.equal(marked.refuse, undefined);
  }
  const within = "From: a@bank.example\r\n".repeat(800);
  const { refuse, top } = await inspect({ message: `${within}Subject: x\r\n\r\nHello\r\n` });
  assert.equal(refuse, undefined);
  assert.match(top, /dmarc=none/);
});
