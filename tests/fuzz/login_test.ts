// Logins by chance, over the real server, mechanisms and throttle; the long form is `deno task fuzz`.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fc } from "../support/property.ts";
import type { Credentials } from "../../sasl/credentials.ts";
import { LoginThrottle } from "../../sasl/login_throttle.ts";
import { SaslAuthenticator } from "../../sasl/mod.ts";
import { deriveScramKeys } from "../../sasl/scram.ts";
import { SmtpServer } from "../../smtp/server.ts";
import { bytesOf, textOf } from "../support/bytes.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { MemoryTransport } from "../support/memory_transport.ts";
import { RecordingDelivery } from "../support/recording_delivery.ts";
import { RecordingLog } from "../support/recording_log.ts";

const LOGIN = "user";
const PASSWORD = "correct pencil";
/** Looks like it, and is none. */
const SECRETS = ["wrong pencil", "pencil of somebody", "Correct pencil"];
const PARAMETERS = { salt: new Uint8Array(16), iterations: 4096 };
const KEYS = await deriveScramKeys(PASSWORD, PARAMETERS);

const CREDENTIALS: Credentials = {
  check: (login, password) =>
    Promise.resolve(
      login === LOGIN && password === PASSWORD
        ? { kind: "right", login }
        : login === "broken"
        ? { kind: "unavailable", why: "no accounts" }
        : { kind: "wrong", why: "wrong password" },
    ),
  scram: (login) => Promise.resolve({ login, ...PARAMETERS, keys: login === LOGIN ? [KEYS] : [] }),
};

const base64 = (text: string) => Buffer.from(text).toString("base64");
const any = <T>(...values: T[]) => fc.constantFrom(...values);

const logins = any(
  LOGIN,
  "USER",
  "ｕｓｅｒ",
  "other",
  "broken",
  "",
  "a b",
  "user\u200b",
  "x".repeat(400),
  "=2C",
  "u,=er",
);
const secrets = any(...SECRETS, "", "\t", "x".repeat(2000), "é", "\ufffd");
const messages = fc.oneof(
  fc.tuple(any("", LOGIN, "admin"), logins, secrets).map((parts) => parts.join("\0")),
  logins,
  secrets,
  fc.tuple(any("n,,", "y,,", "p=x,,", "n,a=user,", ""), logins, any(",r=abc", ",r=", ",r=a b", ",m=x,r=a"))
    .map(([head, login, tail]) => `${head}n=${login}${tail}`),
  any("c=biws,r=abc,p=AAAA", "c=biws,r=,p=", `c=biws,r=abc,p=${base64("x".repeat(32))}`),
  fc.string({ unit: "binary", maxLength: 40 }),
);
const responses = fc.oneof(
  { weight: 8, arbitrary: messages.map(base64) },
  {
    weight: 2,
    arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString("base64")),
  },
  any(
    "*",
    "=",
    "",
    "====",
    "A",
    "AA=A",
    "AAAA\0",
    " ",
    "\xff",
    "A".repeat(13_000),
    "MAIL FROM:<canary@evil.test>",
    "QUIT",
  ),
);
const mechanisms = any("PLAIN", "plain", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5", "PLAIN ", "", "X".repeat(30));
const lines = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(mechanisms, responses).map(([name, text]) => `AUTH ${name} ${text}`) },
  { weight: 4, arbitrary: mechanisms.map((name) => `AUTH ${name}`) },
  { weight: 8, arbitrary: responses },
  any(
    "MAIL FROM:<a@here.example>",
    "RCPT TO:<alice@here.example>",
    "DATA",
    "RSET",
    "NOOP",
    "EHLO x",
    "STARTTLS",
  ),
);

/** Holds the dialogue a line at a time; each line with the code of its reply. */
async function hold(script: readonly string[], { guarded }: { readonly guarded: boolean }) {
  const clock = new FakeClock();
  const log = new RecordingLog();
  const delivery = new RecordingDelivery();
  const transport = new MemoryTransport({ clock });
  using throttle = new LoginThrottle({ clock });
  const server = new SmtpServer({
    hostname: "mx.here.example",
    delivery,
    logger: log,
    clock,
    limits: { maxErrors: 30 },
    upgradeToTls: () =>
      Promise.resolve({ transport, tls: { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" } }),
    authenticator: new SaslAuthenticator(() => CREDENTIALS, { scram: true, ...(guarded && { throttle }) }),
  });
  let over = false;
  const done = server.handle(transport, { implicitTls: true }).finally(() => over = true);
  const codes: string[] = [];
  let heard = "";
  const reply = async (): Promise<string | undefined> => {
    let text = "";
    for (let turn = 0; turn < 90; turn++) {
      text += textOf(transport.take());
      const [whole] = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3} [^\r\n]*\r\n/.exec(text) ?? [];
      if (whole !== undefined) {
        heard += text;
        return text.slice(0, 3);
      }
      if (over) return undefined;
      // Time passes only where the throttle waits for it.
      if (turn < 30) await Promise.resolve();
      else await clock.advance(turn < 32 ? 0 : 500);
    }
    throw new Error(`no reply: ${JSON.stringify(text)}`);
  };
  await reply();
  for (const line of ["EHLO client.test", ...script]) {
    if (over || transport.closed || transport.writeClosed) break;
    transport.send(bytesOf(`${line}\r\n`), []);
    codes.push(await reply() ?? "closed");
  }
  transport.end();
  for (let turn = 0; turn < 20 && !over; turn++) await clock.advance(1000);
  assert.ok(over, "the dialogue hangs");
  await done;
  return { codes: codes.slice(1), heard, log, delivery };
}

/** What may come after a challenge: nothing of a command. */
const IN_EXCHANGE = new Set(["334", "235", "500", "501", "535", "454", "421", "closed"]);

Deno.test("no random input logs in, no answer runs as a command, and no secret is repeated (property)", async () => {
  const scripts = fc.array(lines, { maxLength: 14 });
  await fc.assert(
    fc.asyncProperty(scripts, fc.boolean(), async (script, guarded) => {
      const { codes, heard, log, delivery } = await hold(script, { guarded });
      for (const [n, code] of codes.entries()) {
        if (n > 0 && codes[n - 1] === "334") assert.ok(IN_EXCHANGE.has(code), `${code} in an exchange`);
        assert.notEqual(code, "235");
        if (/^MAIL /.test(script[n] ?? "") && codes[n - 1] !== "334") {
          assert.match(code, /^(?:530|503|421|closed)$/);
        }
      }
      assert.deepEqual(delivery.stored, []);
      const events = log.events.map((event) => JSON.stringify(event)).join("\n");
      assert.doesNotMatch(events, /command\.failed/);
      for (const secret of SECRETS) {
        for (const form of [secret, base64(secret).slice(0, 12)]) {
          assert.ok(!heard.includes(form), `${form} in a reply`);
          assert.ok(!events.includes(form), `${form} in the log`);
        }
      }
    }),
    { numRuns: 400 },
  );
});

Deno.test("the right password logs in, whatever came before it in the session (property)", async () => {
  const right = base64(`\0${LOGIN}\0${PASSWORD}`);
  const scripts = fc.array(lines, { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(scripts, async (script) => {
      // An exchange that is still open, or a transaction, would take the line for its own.
      const { codes } = await hold([
        ...script,
        "*",
        "RSET",
        "EHLO x",
        `AUTH PLAIN ${right}`,
        "MAIL FROM:<a@here.example>",
      ], {
        guarded: false,
      });
      fc.pre(!codes.includes("closed") && !codes.includes("421") && !codes.includes("221"));
      assert.deepEqual(codes.slice(-2), ["235", "250"]);
    }),
    { numRuns: 200 },
  );
});
