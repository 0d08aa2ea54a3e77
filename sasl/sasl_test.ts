import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { fc } from "../tests/support/property.ts";
import type { SaslExchange, SaslStep } from "../smtp/authenticator.ts";
import type { Credentials, ScramAccount } from "./credentials.ts";
import { SaslAuthenticator } from "./mod.ts";
import { LoginExchange, PlainExchange } from "./plain.ts";
import { prepareLogin, preparePassword } from "./prepare.ts";
import { deriveScramKeys, ScramExchange } from "./scram.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (step: SaslStep) => step.kind === "challenge" ? Buffer.from(step.data).toString() : step.kind;

// The example of RFC 7677 §3.
const SALT = Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64");
const CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST = `r=${CLIENT_NONCE}${SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`;
const CLIENT_FINAL = `c=biws,r=${CLIENT_NONCE}${SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`;

/** One account `user` with the passwords given. */
async function account(...passwords: string[]): Promise<Credentials> {
  const parameters = { salt: SALT, iterations: 4096 };
  const keys = await Promise.all(passwords.map((password) => deriveScramKeys(password, parameters)));
  const scram: ScramAccount = { login: "user", ...parameters, keys };
  return {
    check: (login, password) =>
      Promise.resolve(
        login === "user" && passwords.includes(password)
          ? { kind: "right", login }
          : { kind: "wrong", why: "wrong password" },
      ),
    scram: (login) => Promise.resolve(login === "user" ? scram : { ...scram, login, keys: [] }),
  };
}

const unavailable: Credentials = {
  check: () => Promise.resolve({ kind: "unavailable", why: "no accounts" }),
  scram: () => Promise.resolve(undefined),
};

async function play(exchange: SaslExchange, ...responses: (string | undefined)[]): Promise<string[]> {
  const steps: string[] = [];
  for (const response of responses) {
    const step = await exchange.next(response === undefined ? undefined : bytes(response));
    steps.push(step.kind === "failure" ? `${step.kind} ${step.reason}` : text(step));
    if (step.kind !== "challenge") break;
  }
  return steps;
}

Deno.test("PlainExchange takes login and password, with or without an initial response (RFC 4616)", async () => {
  const credentials = await account("pencil");
  const plain = (...responses: (string | undefined)[]) => play(new PlainExchange(credentials), ...responses);
  assert.deepEqual(await plain("\0user\0pencil"), ["success"]);
  assert.deepEqual(await plain(undefined, "\0USER\0pencil"), ["", "success"]);
  assert.deepEqual(await plain("user\0user\0pencil"), ["success"]);
  assert.deepEqual(await plain("admin\0user\0pencil"), ["failure credentials"]);
  assert.deepEqual(await plain("\0user\0Pencil"), ["failure credentials"]);
  assert.deepEqual(await plain("\0nobody\0pencil"), ["failure credentials"]);
  for (const wrong of ["", "user", "user\0pencil", "\0\0pencil", "\0user\0", "\0user\0a\0b"]) {
    assert.deepEqual(await plain(wrong), ["failure malformed"], JSON.stringify(wrong));
  }
  const step = await new PlainExchange(credentials).next(Uint8Array.of(0, 0xff, 0, 0x61));
  assert.equal(step.kind === "failure" && step.reason, "malformed");
});

Deno.test("LoginExchange asks for login and password in turn", async () => {
  const credentials = await account("pencil");
  const login = (...responses: (string | undefined)[]) => play(new LoginExchange(credentials), ...responses);
  assert.deepEqual(await login(undefined, "user", "pencil"), ["Username:", "Password:", "success"]);
  assert.deepEqual(await login("user", "pencil"), ["Password:", "success"]);
  assert.deepEqual(await login(undefined, "user", "wrong"), [
    "Username:",
    "Password:",
    "failure credentials",
  ]);
  assert.deepEqual(await login(undefined, ""), ["Username:", "failure malformed"]);
});

Deno.test("ScramExchange keeps to the example of RFC 7677", async () => {
  const exchange = new ScramExchange(await account("pencil"), { nonce: () => SERVER_NONCE });
  assert.deepEqual(await play(exchange, `n,,n=user,r=${CLIENT_NONCE}`, CLIENT_FINAL, ""), [
    SERVER_FIRST,
    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    "success",
  ]);
});

Deno.test("ScramExchange keeps to the example of RFC 5802, which is of SHA-1", async () => {
  // §5.
  const parameters = { salt: Buffer.from("QSXCR+Q6sek8bf92", "base64"), iterations: 4096 };
  const keys = [await deriveScramKeys("pencil", { ...parameters, hash: "sha1" })];
  const credentials: Credentials = {
    check: unavailable.check,
    scram: (login) => Promise.resolve({ login, ...parameters, keys }),
  };
  const clientNonce = "fyko+d2lbbFgONRv9qkxdawL";
  const serverNonce = "3rfcNHYJY1ZVvWVs7j";
  const exchange = (hash: "sha1" | "sha256") =>
    new ScramExchange(credentials, { hash, nonce: () => serverNonce });
  const first = `n,,n=user,r=${clientNonce}`;
  const final = `c=biws,r=${clientNonce}${serverNonce},p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=`;
  assert.deepEqual(await play(exchange("sha1"), first, final, ""), [
    `r=${clientNonce}${serverNonce},s=QSXCR+Q6sek8bf92,i=4096`,
    "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    "success",
  ]);
  const other = final.replace("p=v0", "p=w0");
  assert.equal((await play(exchange("sha1"), first, other)).at(-1), "failure credentials");
  assert.equal((await play(exchange("sha256"), first, final)).at(-1), "failure malformed");
});

Deno.test("ScramExchange takes any of an account's passwords, and no other", async () => {
  const credentials = await account("main", "for the phone");
  for (
    const [password, result] of [["main", "success"], ["for the phone", "success"], ["other", "failure"]]
  ) {
    const { last } = await scramLogin(credentials, "user", password ?? "");
    assert.equal(last, result, password);
  }
});

Deno.test("ScramExchange tells an unknown login from a wrong password in nothing", async () => {
  const credentials = await account("pencil");
  const unknown = await scramLogin(credentials, "nobody", "pencil");
  const wrong = await scramLogin(credentials, "user", "wrong");
  assert.equal(unknown.last, "failure");
  assert.equal(unknown.reason, wrong.reason);
  assert.equal(unknown.steps, wrong.steps);
});

Deno.test("ScramExchange tells the log why an account has no keys", async () => {
  const credentials = await account("pencil");
  const hinting: Credentials = {
    ...credentials,
    scram: async (login) => {
      const found = await credentials.scram?.(login);
      return found && { ...found, why: "it has no domain" };
    },
  };
  for (const [login, expected] of [["eve", "it has no domain"], ["user", "wrong password"]] as const) {
    const { last, why } = await scramLogin(hinting, login, "wrong");
    assert.deepEqual([last, why], ["failure", expected]);
  }
});

Deno.test("ScramExchange refuses other nonces, bindings, identities and forms", async () => {
  const credentials = await account("pencil");
  const scram = (...responses: (string | undefined)[]) =>
    play(new ScramExchange(credentials, { nonce: () => SERVER_NONCE }), ...responses);
  const first = `n,,n=user,r=${CLIENT_NONCE}`;
  assert.deepEqual(await scram(undefined, first), ["", SERVER_FIRST]);
  assert.deepEqual(await scram(`y,a=user,n=user,r=x`), [
    `r=x${SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`,
  ]);
  assert.deepEqual(await scram(first, CLIENT_FINAL.replace("c=biws", "c=eSws")), [
    SERVER_FIRST,
    "failure malformed",
  ]);
  assert.deepEqual(await scram(first, CLIENT_FINAL.replace("hvYD", "hvYE")), [
    SERVER_FIRST,
    "failure credentials",
  ]);
  assert.deepEqual(await scram(first, CLIENT_FINAL.replace("p=dH", "p=eH")), [
    SERVER_FIRST,
    "failure credentials",
  ]);
  assert.deepEqual(await scram(first, CLIENT_FINAL, "more"), [
    SERVER_FIRST,
    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    "failure malformed",
  ]);
  assert.deepEqual(await scram("n,a=admin,n=user,r=x"), ["failure credentials"]);
  const malformed = [
    "",
    "n=user,r=x",
    "p=tls-unique,,n=user,r=x",
    "n,,m=ext,n=user,r=x",
    "n,,n=,r=x",
    "n,,n=user,r=",
    "n,,n=us=er,r=x",
    `n,,n=user,r=${"x".repeat(257)}`,
    "n,,n=user,r=a b",
  ];
  for (const wrong of malformed) assert.deepEqual(await scram(wrong), ["failure malformed"], wrong);
});

Deno.test("every mechanism says so where accounts cannot be read", async () => {
  assert.deepEqual(await play(new PlainExchange(unavailable), "\0user\0pencil"), ["failure temporary"]);
  assert.deepEqual(await play(new ScramExchange(unavailable), "n,,n=user,r=x"), ["failure temporary"]);
});

Deno.test("no response makes an exchange reject, or a login of it", async () => {
  const credentials = await account("pencil");
  const origin = { address: "192.0.2.1", session: "s" };
  const authenticator = new SaslAuthenticator(() => credentials, { scram: true });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...authenticator.mechanisms),
      fc.array(fc.oneof(fc.uint8Array({ maxLength: 64 }), fc.string({ unit: "grapheme" }).map(bytes)), {
        maxLength: 4,
      }),
      async (mechanism, responses) => {
        const exchange = authenticator.start(mechanism, origin);
        assert.ok(exchange);
        for (const response of responses) {
          const step = await exchange.next(response);
          assert.notEqual(step.kind, "success");
          if (step.kind === "failure") return;
        }
      },
    ),
    { seed: 5802, numRuns: 500 },
  );
});

Deno.test("SaslAuthenticator offers SCRAM only where there are keys", () => {
  const origin = { address: "192.0.2.1", session: "s" };
  const without = new SaslAuthenticator(() => unavailable, { scram: false });
  assert.deepEqual(without.mechanisms, ["PLAIN", "LOGIN"]);
  assert.equal(without.start("SCRAM-SHA-256", origin), undefined);
  const withKeys = new SaslAuthenticator(() => unavailable, { scram: true });
  assert.deepEqual(withKeys.mechanisms, ["SCRAM-SHA-256", "PLAIN", "LOGIN"]);
  assert.equal(withKeys.start("GSSAPI", origin), undefined);
  for (const mechanism of withKeys.mechanisms) assert.ok(withKeys.start(mechanism, origin));
});

Deno.test("prepareLogin() and preparePassword() bring spellings of one name to one form (RFC 8265)", () => {
  assert.equal(prepareLogin("Alice@Example.COM"), "alice@example.com");
  assert.equal(prepareLogin("Ａｌｉｃｅ"), "alice");
  assert.equal(prepareLogin("JU\u0308RGEN"), "jürgen");
  assert.equal(prepareLogin("σ"), prepareLogin("Σ"));
  for (const wrong of ["", "a b", "a\0b", "a\u200db", "a\u00adb", "henry\u2163", "♚", "a".repeat(321)]) {
    assert.equal(prepareLogin(wrong), undefined, JSON.stringify(wrong));
  }
  assert.equal(preparePassword("correct horse battery staple"), "correct horse battery staple");
  assert.equal(preparePassword("Correct\u00a0Horse"), "Correct Horse");
  assert.equal(preparePassword("e\u0301"), "é");
  assert.equal(preparePassword("πß๙"), "πß๙");
  assert.equal(preparePassword("Jack of ♦s"), "Jack of ♦s");
  for (const wrong of ["", "my cat is a\tby", "a\u200bb", "a\u2028b", "x".repeat(1025)]) {
    assert.equal(preparePassword(wrong), undefined, JSON.stringify(wrong));
  }
});

/** A client of SCRAM, written after RFC 5802 §3 for the tests alone. */
async function scramLogin(
  credentials: Credentials,
  login: string,
  password: string,
): Promise<{ last: string; reason: string; why: string | undefined; steps: number }> {
  const exchange = new ScramExchange(credentials);
  const bare = `n=${login},r=abcdef`;
  const challenge = text(await exchange.next(bytes(`n,,${bare}`)));
  const [, nonce = "", salt = "", iterations = ""] = /^r=(.*),s=(.*),i=(\d+)$/.exec(challenge) ?? [];
  const salted = pbkdf2Sync(password, Buffer.from(salt, "base64"), Number(iterations), 32, "sha256");
  const key = createHmac("sha256", salted).update("Client Key").digest();
  const without = `c=biws,r=${nonce}`;
  const signature = createHmac("sha256", createHash("sha256").update(key).digest())
    .update(`${bare},${challenge},${without}`).digest();
  const proof = key.map((byte, i) => byte ^ (signature[i] ?? 0));
  let step = await exchange.next(bytes(`${without},p=${Buffer.from(proof).toString("base64")}`));
  let steps = 2;
  if (step.kind === "challenge") {
    step = await exchange.next(new Uint8Array(0));
    steps++;
  }
  const { reason, why } = step.kind === "failure" ? step : { reason: "", why: undefined };
  return { last: step.kind, reason, why, steps };
}
