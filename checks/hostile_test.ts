import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { MemoryBudget } from "../base/memory_budget.ts";
import type { Answer, QueryOptions } from "../dns/resolver.ts";
import { InspectedData } from "../smtp/inspected_data.ts";
import type { Verdict } from "../smtp/inspector.ts";
import { bytesOf } from "../tests/support/bytes.ts";
import { ed25519Key, NOW, sealByTheBook, signByTheBook } from "../tests/support/dkim.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { envelope } from "../tests/support/maildir_setting.ts";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import { MailInspector } from "./inspector.ts";

const key = ed25519Key();
const TAGS = { a: "ed25519-sha256", d: "evil.example" };
const IP = "192.0.2.1";
const BANK: Readonly<Record<string, StaticName>> = {
  "_dmarc.bank.example": { txt: ["v=DMARC1; p=reject"] },
  "s._domainkey.evil.example": { txt: [key.record] },
  "evil.example": { txt: ["v=spf1 ip4:192.0.2.1 -all"] },
};
const MESSAGE = "From: <info@bank.example>\r\nSubject: x\r\n\r\nHello\r\n";

/** Answers nothing about names that end in `silent.example`, and nothing about IP addresses if so told. */
class PartlySilentResolver extends StaticResolver {
  silentAboutAddresses = false;

  override txt(name: string, options: QueryOptions = {}): Promise<Answer<string>> {
    return name.endsWith("silent.example") ? this.#silence(name, options) : super.txt(name);
  }

  override ptr(address: string, options: QueryOptions = {}): Promise<Answer<string>> {
    return this.silentAboutAddresses ? this.#silence(address, options) : super.ptr(address);
  }

  #silence(what: string, { signal }: QueryOptions): Promise<Answer<string>> {
    this.asked.push(`silence ${what}`);
    const { promise, resolve } = Promise.withResolvers<Answer<string>>();
    signal?.addEventListener("abort", () => resolve({ kind: "failed", reason: "given up" }));
    return promise;
  }
}

interface Sent {
  readonly message: string;
  readonly resolver?: StaticResolver;
  readonly clock?: FakeClock;
  readonly from?: string;
}

async function inspect({ message, ...sent }: Sent): Promise<Verdict & { readonly top: string }> {
  const { resolver = new StaticResolver(BANK), clock = new FakeClock(NOW * 1000), from = "a@evil.example" } =
    sent;
  const inspector = new MailInspector({
    hostname: "mx.example.com",
    checks: {
      ...{ spf: true, dkim: true, arc: true, dmarc: "enforce", trustedSealers: [], timeoutMs: 10_000 },
      ...{ greylist: "off", filterFailure: "accept" },
    },
    isOwnDomain: () => false,
    resolver,
    clock,
    logger: silentLogger,
  });
  const [localPart = "", domain = ""] = from.split("@");
  const inspection = await inspector.begin(
    { ...envelope("alice@example.com"), reversePath: { localPart, domain, text: from } },
    {
      id: "s1",
      remote: { address: IP, port: 1 },
      local: { address: "192.0.2.200", port: 25 },
      hello: { verb: "EHLO", domain: "mail.evil.example" },
      errorCount: 0,
      messageCount: 0,
      refusedRecipientCount: 0,
    },
  );
  const budget = new MemoryBudget(3 * 1024 ** 2);
  let verdict: Verdict;
  {
    using data = new InspectedData(inspection, budget);
    const bytes = bytesOf(message);
    for (let at = 0; at < bytes.length; at += 65_536) await data.push(bytes.subarray(at, at + 65_536));
    assert.equal(data.refusal, undefined);
    verdict = await data.verdict();
  }
  assert.equal(budget.take(3 * 1024 ** 2), true, "memory that is not released");
  return { ...verdict, top: verdict.fields.map(({ name, value }) => `${name}: ${value}\r\n`).join("") };
}

/** The octets that are hashed for signatures meanwhile. */
async function countOctets<T>(work: () => Promise<T>): Promise<{ all: number; result: T }> {
  const { subtle } = crypto;
  const { digest } = subtle;
  let all = 0;
  subtle.digest = (algorithm, data) => {
    all += data.byteLength;
    return digest.call(subtle, algorithm, data);
  };
  try {
    return { result: await work(), all };
  } finally {
    subtle.digest = digest;
  }
}

Deno.test("a thousand signatures cost as much as ten", async () => {
  let message = MESSAGE;
  for (let i = 0; i < 1000; i++) {
    message = `${
      signByTheBook({ message: MESSAGE, key, tags: { ...TAGS, d: `e${i}.example` } }).split("From:", 1)
    }${message}`;
  }
  const resolver = new StaticResolver(BANK);
  const { refuse } = await inspect({ message, resolver });
  assert.equal(refuse?.code, 550);
  assert.equal(resolver.asked.filter((question) => question.includes("_domainkey")).length, 10);
  assert.ok(resolver.asked.length < 20, resolver.asked.join());
});

Deno.test("signatures of a long header section are verified as far as is reasonable", async () => {
  for (const [octets, word] of [[250_000, "pass"], [270_000, "policy"], [1_800_000, "policy"]] as const) {
    let message = `X: ${"y ".repeat(octets / 2)}\r\n${MESSAGE}`;
    for (let i = 0; i < 10; i++) message = signByTheBook({ message, key, tags: { ...TAGS, h: "from:x" } });
    const { all, result } = await countOctets(() => inspect({ message }));
    assert.ok(all <= 4 * 1024 ** 2, String(all));
    assert.deepEqual(result.log["dkim"], Array(10).fill(`${word} evil.example`));
  }
});

Deno.test("signatures with thousands of tags or of names to sign are not read", async () => {
  const many = (text: string, count: number) => Array.from({ length: count }, (_, i) => `${text}${i}`);
  const signature = (tags: string) => `DKIM-Signature: v=1; d=evil.example; ${tags}\r\n`;
  const usual = "a=ed25519-sha256; s=s; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA";
  for (
    const tags of [
      `${many("t", 5000).join("=1; ")}=1`,
      `${usual}; h=from:${many("x", 600).join(":")}`,
      `${usual}; h=from; z=${"x".repeat(70_000)}`,
    ]
  ) {
    const { log } = await inspect({ message: `${signature(tags).repeat(10)}${MESSAGE}` });
    assert.ok((log["dkim"] as string[]).every((word) => word.startsWith("permerror")), tags.slice(0, 50));
  }
});

Deno.test("a chain of fifty seals, each over all before it, costs a few times what it has", async () => {
  const names: Record<string, StaticName> = { ...BANK };
  const results = `example.com; dmarc=pass (${"x".repeat(30_000)})`;
  let message = MESSAGE;
  for (let instance = 1; instance <= 50; instance++) {
    const seal = { a: "ed25519-sha256", d: `e${instance}.example` };
    names[`s._domainkey.${seal.d}`] = { txt: [key.record] };
    message = sealByTheBook({ message, key, instance, results, signature: seal, seal });
  }
  const resolver = new StaticResolver(names);
  const { all, result } = await countOctets(() => inspect({ message, resolver }));
  assert.ok(all <= 4 * 1024 ** 2, String(all));
  assert.equal(result.log["arc"], "fail");
  assert.ok(resolver.asked.length <= 60, resolver.asked.join());
});

Deno.test("keys whose names are aliases of each other cannot be found", async () => {
  const message = signByTheBook({
    message: "From: <a@evil.example>\r\n\r\nx\r\n",
    key,
    tags: { ...TAGS, s: "l" },
  });
  const resolver = new StaticResolver({
    ...BANK,
    "l._domainkey.evil.example": { cname: "m._domainkey.evil.example" },
    "m._domainkey.evil.example": { cname: "l._domainkey.evil.example" },
  });
  const { refuse, top } = await inspect({ message, resolver });
  assert.equal(refuse, undefined);
  assert.match(top, /dkim=temperror/);
});

Deno.test("DNS that never answers about the sender does not keep the author's domain from having its say", async () => {
  const late = { from: "a@silent.example", message: MESSAGE };
  const key1 = signByTheBook({ message: MESSAGE, key, tags: { ...TAGS, d: "silent.example" } });
  const authors = MESSAGE.replace("From: ", "From: a@silent.example, ");
  for (
    const [what, sent] of Object.entries({
      "the reverse-path": late,
      "a key": { message: key1 },
      "the client's name": { message: MESSAGE, silentAboutAddresses: true },
      "another author": { message: authors },
      "all of it": { ...late, message: `${key1.split("From:", 1)}${authors}`, silentAboutAddresses: true },
    })
  ) {
    const clock = new FakeClock(NOW * 1000);
    const resolver = new PartlySilentResolver(BANK);
    resolver.silentAboutAddresses = "silentAboutAddresses" in sent;
    const done = inspect({ ...sent, resolver, clock });
    await settle();
    await clock.advance(10_000);
    const { refuse } = await done;
    assert.equal(refuse?.code, 550, what);
    assert.match(refuse.lines.join(), /DMARC policy of bank\.example/, what);
  }
});

Deno.test("while DNS does not answer about many messages, others are inspected without a wait", async () => {
  const clock = new FakeClock(NOW * 1000);
  const resolver = new PartlySilentResolver(BANK);
  let over = 0;
  const waiting = Array.from({ length: 200 }, async (_, i) => {
    const from = `a@e${i}.silent.example`;
    await inspect({ message: MESSAGE.replace("info@bank.example", from), from, resolver, clock });
    over++;
  });
  await settle();
  const { refuse } = await inspect({ message: MESSAGE, resolver, clock });
  assert.equal(refuse?.code, 550);
  assert.equal(over, 0);
  await clock.advance(10_000);
  await Promise.all(waiting);
});
