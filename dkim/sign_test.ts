import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, createPrivateKey, createPublicKey, verify } from "node:crypto";
import { fc } from "../tests/support/property.ts";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { RelaxedBodyHash } from "./body.ts";
import { HeaderSection } from "../message/header_section.ts";
import { createSign, type DkimKey, makeDkimKey, parseDkimKey } from "./keys.ts";
import { DkimSigner } from "./sign.ts";
import { SignedFields } from "./signed_fields.ts";

const NOW = Date.UTC(2026, 10, 24, 6, 0, 0);
const rsaPem = await makeDkimKey("rsa-sha256");
const edPem = await makeDkimKey("ed25519-sha256");
const rsa = await parseDkimKey(rsaPem, { domain: "example.com", selector: "r" });
const ed = await parseDkimKey(edPem, { domain: "example.com", selector: "e" });

// The message of RFC 8463 Appendix A and RFC 6376 Appendix A.
const HEADER = "From: Joe SixPack <joe@football.example.com>\r\n" +
  "To: Suzie Q <suzie@shopping.example.net>\r\n" +
  "Subject: Is dinner ready?\r\n" +
  "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n" +
  "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n";
const BODY = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

/** What `b=` must be for this DKIM-Signature field, its `b=` left empty at the end. */
async function signatureOf(
  { header, signature, sign }: { header: string; signature: string; sign: DkimKey["sign"] },
): Promise<string> {
  const names = (/h=([^;]*)/.exec(signature)?.[1] ?? "").split(":").map((name) => name.trim());
  const input = new SignedFields(HeaderSection.of(header)).input({
    names: names.map((name) => name.toLowerCase()),
    canonicalization: "relaxed",
    signature: { name: "dkim-signature", text: signature },
  });
  return Buffer.from(await sign(input)).toString("base64");
}

Deno.test("the Ed25519 signature of RFC 8463 Appendix A comes out to the bit", async () => {
  const seed = Buffer.from("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=", "base64");
  const der = Uint8Array.from(Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]));
  assert.equal(
    await signatureOf({
      header: HEADER,
      signature: "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n" +
        " d=football.example.com; i=@football.example.com;\r\n" +
        " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n" +
        " subject : date : message-id : from : subject : date;\r\n" +
        " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=",
      sign: await createSign(der, "ed25519-sha256"),
    }),
    "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==",
  );
  const pem = `-----BEGIN PRIVATE KEY-----\n${
    Buffer.from(der).toString("base64")
  }\n-----END PRIVATE KEY-----\n`;
  assert.equal(
    (await parseDkimKey(pem, { domain: "football.example.com", selector: "brisbane" })).record,
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
  );
});

const RFC8463_RSA = `-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
`;

function pkcs8(pem: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(createPrivateKey(pem).export({ type: "pkcs8", format: "der" }));
}

Deno.test("the RSA signature of RFC 8463 Appendix A comes out to the bit", async () => {
  assert.equal(
    await signatureOf({
      header: HEADER,
      signature: "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n" +
        " d=football.example.com; i=@football.example.com;\r\n" +
        " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n" +
        " date : message-id : from : subject : date;\r\n" +
        " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=",
      sign: await createSign(pkcs8(RFC8463_RSA), "rsa-sha256"),
    }),
    "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeef" +
      "Osk2JzdA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=",
  );
});

Deno.test("bh= of RFC 8463 Appendix A comes out to the bit", () => {
  const hash = new RelaxedBodyHash();
  hash.push(Buffer.from(BODY));
  assert.equal(hash.digest(), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
});

const RFC6376_RSA = `-----BEGIN RSA PRIVATE KEY-----
MIICXwIBAAKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFC
jxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gb
to/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB
AoGBALmn+XwWk7akvkUlqb+dOxyLB9i5VBVfje89Teolwc9YJT36BGN/l4e0l6QX
/1//6DWUTB3KI6wFcm7TWJcxbS0tcKZX7FsJvUz1SbQnkS54DJck1EZO/BLa5ckJ
gAYIaqlA9C0ZwM6i58lLlPadX/rtHb7pWzeNcZHjKrjM461ZAkEA+itss2nRlmyO
n1/5yDyCluST4dQfO8kAB3toSEVc7DeFeDhnC1mZdjASZNvdHS4gbLIA1hUGEF9m
3hKsGUMMPwJBAPW5v/U+AWTADFCS22t72NUurgzeAbzb1HWMqO4y4+9Hpjk5wvL/
eVYizyuce3/fGke7aRYw/ADKygMJdW8H/OcCQQDz5OQb4j2QDpPZc0Nc4QlbvMsj
7p7otWRO5xRa6SzXqqV3+F0VpqvDmshEBkoCydaYwc2o6WQ5EBmExeV8124XAkEA
qZzGsIxVP+sEVRWZmW6KNFSdVUpk3qzK0Tz/WjQMe5z0UunY9Ax9/4PVhp/j61bf
eAYXunajbBSOLlx4D+TunwJBANkPI5S9iylsbLs6NkaMHV6k5ioHBBmgCak95JGX
GMot/L2x0IYyMLAz6oLWh2hm7zwtb0CgOrPo1ke44hFYnfc=
-----END RSA PRIVATE KEY-----
`;
const RFC6376_PUBLIC = `-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkM
oGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/R
tdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToI
MmPSPDdQPNUYckcQ2QIDAQAB
-----END PUBLIC KEY-----
`;

Deno.test("the RSA signature of RFC 6376 Appendix A comes out to the bit", async () => {
  // c=simple/simple: the text as it stands. Folded lines begin with six spaces, of which the RFC, as printed, shows five.
  const input = "Received: from client1.football.example.com  [192.0.2.1]\r\n" +
    "      by submitserver.example.com with SUBMISSION;\r\n" +
    "      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\n" +
    HEADER +
    "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n" +
    "      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n" +
    "      h=Received : From : To : Subject : Date : Message-ID;\r\n" +
    "      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n" +
    "      b=;";
  const sign = await createSign(pkcs8(RFC6376_RSA), "rsa-sha256");
  assert.equal(
    Buffer.from(await sign(Uint8Array.from(Buffer.from(input)))).toString("base64"),
    "AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHutKVdk" +
      "LLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV4bmp/YzhwvcubU4=",
  );
});

Deno.test("the message of RFC 6376 Appendix A, signed as we do with its key, verifies with its public key", async () => {
  const key: DkimKey = {
    ...rsa,
    domain: "example.com",
    selector: "brisbane",
    sign: await createSign(pkcs8(RFC6376_RSA), "rsa-sha256"),
  };
  const message = await signed([key], HEADER + "\r\n" + BODY);
  assertVerifies(message, { brisbane: RFC6376_PUBLIC });
  assert.match(message, /bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;/);
});

function signer(keys: readonly DkimKey[], logger = silentLogger): DkimSigner {
  return new DkimSigner({ keys, logger, clock: new FakeClock(NOW) });
}

/** The message, one character a byte, with its signatures. */
async function signed(keys: readonly DkimKey[], message: string): Promise<string> {
  const bytes = await signer(keys).sign("id", Buffer.from(message, "latin1"));
  return Buffer.from(bytes).toString("latin1");
}

const publicKeys = {
  r: createPublicKey(createPrivateKey(rsaPem)).export({ type: "spki", format: "pem" }).toString(),
  e: createPublicKey(createPrivateKey(edPem)).export({ type: "spki", format: "pem" }).toString(),
};

/** A verifier on whole texts, from RFC 6376 §3.4 and §6.1 alone: checks the signatures on top, gives their tags. */
function assertVerifies(
  message: string,
  keys: Readonly<Record<string, string>> = publicKeys,
): Record<string, string>[] {
  const end = message.indexOf("\r\n\r\n");
  const header = end < 0 ? message.replace(/\r\n$/, "") : message.slice(0, end);
  const body = end < 0 ? "" : message.slice(end + 4);
  const fields = header.split(/\r\n(?![ \t])/);
  const relax = (field: string) => {
    const [, name = "", value = ""] = /^([^:]*):([^]*)$/.exec(field) ?? [];
    const flat = value.replace(/\r\n/g, "").replace(/[ \t]+/g, " ").replace(/^[ \t]+|[ \t]+$/g, "");
    return `${name.toLowerCase().replace(/[ \t]+$/, "")}:${flat}`;
  };
  const lines = body.split("\r\n").map((line) => line.replace(/[ \t]+/g, " ").replace(/ $/, ""));
  const kept = lines.join("\r\n").replace(/(\r\n)+$/, "");
  const bodyHash = createHash("sha256").update(kept === "" ? "" : `${kept}\r\n`, "latin1").digest("base64");
  const signatures = fields.filter((field) => field.startsWith("DKIM-Signature:"));
  return signatures.map((signature) => {
    const tags = Object.fromEntries(
      signature.slice("DKIM-Signature:".length).split(";").map((tag) => {
        const [, name = "", value = ""] = /^\s*([a-z]+)\s*=([^]*)$/.exec(tag) ?? [];
        return [name, value.replace(/\s/g, "")];
      }),
    );
    assert.equal(tags["bh"], bodyHash);
    const left = [...fields];
    const parts = (tags["h"] ?? "").split(":").map((name) => {
      const at = left.findLastIndex((field) => relax(field).startsWith(`${name.toLowerCase()}:`));
      return at < 0 ? "" : `${relax(left.splice(at, 1)[0] ?? "")}\r\n`;
    });
    const empty = signature.replace(/(;\s*b=)[^;]*$/, "$1");
    assert.notEqual(empty, signature);
    const input = Buffer.from(parts.join("") + relax(empty), "latin1");
    const value = Buffer.from(tags["b"] ?? "", "base64");
    const key = keys[tags["s"] ?? ""] ?? "";
    assert.ok(
      tags["a"] === "rsa-sha256"
        ? verify("sha256", input, key, value)
        : verify(null, createHash("sha256").update(input).digest(), key, value),
      `${tags["s"]} does not verify`,
    );
    return tags;
  });
}

Deno.test("DkimSigner signs with every key of the domain, in their order, and says when", async () => {
  const message = await signed([rsa, ed], `From: a@example.com\r\nTo: b@c.example\r\n\r\nHello\r\n`);
  const [first, second, ...more] = assertVerifies(message);
  assert.deepEqual(more, []);
  assert.equal(first?.["a"], "rsa-sha256");
  assert.equal(second?.["a"], "ed25519-sha256");
  assert.deepEqual([first["s"], second["s"], first["d"]], ["r", "e", "example.com"]);
  assert.equal(first["t"], String(NOW / 1000));
  assert.match(first["h"] ?? "", /^From:From:Sender:Reply-To:To:To:Cc:Subject:Date:Message-ID:/);
  assert.deepEqual(Object.keys(first), ["v", "a", "c", "d", "s", "t", "h", "bh", "b"]);
  for (const line of message.split("\r\n")) assert.ok(line.length < 78, line);
});

Deno.test("DkimSigner signs by Ed25519 alone where the domain has no other key", async () => {
  const message = await signed([ed], "From: a@example.com\r\n\r\nHello\r\n");
  const tags = assertVerifies(message);
  assert.deepEqual(tags.map(({ a, s, d }) => [a, s, d]), [["ed25519-sha256", "e", "example.com"]]);
});

Deno.test("DkimSigner signs bytes, odd spacing and long fields as they are", async () => {
  const messages = [
    "From: a@example.com\r\n\r\n",
    "From: a@example.com\r\n",
    "From: a@example.com",
    "From: a@example.com\r\n\r\nno line end",
    "From: a@example.com\r\nSubject: \xe4\xa0\xff \t x \r\n\t y\t\r\n\r\n\xe9\xa0 \t\0\r\n  \r\n\r\n",
    "Subject :\t\r\n x\r\nFROM \t: <a@example.com>\r\nTo:" + "\r\n\tb@c.example,".repeat(3000) +
    "\r\n\r\nx\r\n",
    "To: a\r\nTo: b\r\nFrom: a@example.com\r\nList-Id: 1\r\nList-Id: 2\r\nX: y\r\n\r\nx\r\n",
    "DKIM-Signature: v=1; b=\r\nFrom: a@example.com\r\n\r\nx\r\n".replace("DKIM", "X-DKIM"),
    `From: a@example.com\r\nX-Long: ${"x".repeat(600_000)}\r\n\r\nx\r\n`,
    "From: a@example.com\r\n\r\n" + " \r\n".repeat(3000) + "x" + "\r\n".repeat(3000),
  ];
  for (const message of messages) {
    const result = await signed([ed], message);
    assert.ok(result.endsWith(message));
    assert.equal(assertVerifies(result).length, 1, message.slice(0, 60));
  }
});

Deno.test("DkimSigner signs fields and body that are given apart, wherever the body is cut", async () => {
  const header = "Message-ID: <x@y>\r\nFrom: a@example.com\r\nSubject: x\r\n";
  const body = Buffer.from("Hello \r\n\r\nworld\r\n\r\n");
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(body.length), { maxLength: 6 }), async (cuts) => {
      const signature = signer([ed]).begin("id", HeaderSection.of(header));
      let from = 0;
      for (const to of [...cuts.sort((a, b) => a - b), body.length]) {
        signature?.push(body.subarray(from, to));
        from = to;
      }
      const fields = await signature?.finish() ?? [];
      const top = fields.map(({ name, value }) => `${name}: ${value}\r\n`).join("");
      const [tags] = assertVerifies(`${top}${header}\r\n${body.toString("latin1")}`);
      assert.match(tags?.["h"] ?? "", /:Message-ID:Message-ID:/);
    }),
    { numRuns: 50 },
  );
});

Deno.test("DkimSigner signs for the domain of the author, else for the nearest one above it", async () => {
  const parent = { ...ed, domain: "example.com", selector: "parent" };
  const child = { ...ed, domain: "mail.example.com", selector: "child" };
  const cases: readonly (readonly [from: string, selector: string | undefined])[] = [
    ["a@example.com", "parent"],
    ["a@mail.example.com", "child"],
    ["a@X.MAIL.Example.com", "child"],
    ["a@other.example.com", "parent"],
    ["a@notexample.com", undefined],
    ["a@com", undefined],
    ["root", undefined],
    ["x@elsewhere.test, a@example.com", "parent"],
  ];
  for (const [from, selector] of cases) {
    const message = await signed([parent, child], `From: ${from}\r\n\r\nx\r\n`);
    assert.equal(/s=(\w+);/.exec(message)?.[1], selector, from);
  }
});

Deno.test("DkimSigner does not sign what has no one author, and says so", async () => {
  const many = `From: a@example.com\r\n${"List-Id: x\r\n".repeat(300)}\r\nx\r\n`;
  const cases: readonly (readonly [string, RegExp, string])[] = [
    ["Subject: x\r\n\r\nFrom: a@example.com\r\n", /no From/, "warn"],
    ["\r\nFrom: a@example.com\r\n\r\n", /no From/, "warn"],
    ["From: a@example.com\r\nFrom: b@example.com\r\n\r\nx\r\n", /more than one From/, "warn"],
    ["From: a@elsewhere.test\r\n\r\nx\r\n", /no key for elsewhere\.test/, "warn"],
    [many, /\d{3} fields/, "warn"],
  ];
  for (const [message, reason, level] of cases) {
    const log = new RecordingLog();
    const bytes = Buffer.from(message);
    assert.equal(Buffer.compare(await signer([rsa], log).sign("q1", bytes), bytes), 0);
    const [event] = log.events;
    assert.equal(event?.event, "dkim.unsigned");
    assert.equal(event.level, level);
    assert.equal(event.fields["id"], "q1");
    assert.match(String(event.fields["reason"]), reason);
  }
});

Deno.test("DkimSigner warns once of each domain without a key, of a hundred at most, and again with other keys", async () => {
  const log = new RecordingLog();
  const it = signer([rsa], log);
  const send = async (domain: string) => {
    await it.sign("q1", Buffer.from(`From: a@${domain}\r\n\r\nx\r\n`));
    return log.events.at(-1)?.level;
  };
  assert.deepEqual([await send("one.test"), await send("one.test"), await send("two.test")], [
    "warn",
    "debug",
    "warn",
  ]);
  for (let i = 0; i < 98; i++) assert.equal(await send(`${i}.test`), "warn");
  assert.equal(await send("more.test"), "debug");
  it.replaceKeys([ed]);
  assert.deepEqual([await send("one.test"), await send("one.test")], ["warn", "debug"]);
});

Deno.test("DkimSigner takes new keys, and none", async () => {
  const it = signer([]);
  const message = Buffer.from("From: a@example.com\r\n\r\nx\r\n");
  assert.equal(it.begin("id", HeaderSection.of("From: a@example.com\r\n")), undefined);
  assert.equal(await it.sign("id", message), message);
  it.replaceKeys([ed]);
  assertVerifies(Buffer.from(await it.sign("id", message)).toString("latin1"));
});
