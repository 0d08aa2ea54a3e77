import assert from "node:assert/strict";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { Guard } from "./guard.ts";

const SECRET = "a-token-of-enough-length";

function guard(hosts: readonly string[] = []) {
  const clock = new FakeClock();
  return { clock, guard: new Guard({ tokens: [{ name: "ann", secret: SECRET }], hosts, clock }) };
}

const fields = (headers: Record<string, string>) => ({ header: (name: string) => headers[name] });

function logIn(guard: Guard): string {
  const result = guard.logIn(SECRET);
  assert(typeof result === "object");
  return result.cookie.split(";", 1)[0] ?? "";
}

Deno.test("Guard takes loopback and the names of the configuration, and no name that was rebound", () => {
  const { guard: asked } = guard(["mail.example.com"]);
  for (const host of ["127.0.0.1:8025", "localhost", "LOCALHOST:9", "[::1]:8025", "mail.example.com:443"]) {
    assert(asked.allowsHost(host), host);
  }
  for (
    const host of [
      undefined,
      "",
      "evil.example",
      "127.0.0.1.evil.example",
      "localhost.evil.example:8025",
      "evil.example:8025",
      "xmail.example.com",
      "mail.example.com.",
      "127.0.0.1@evil.example",
      "127.0.0.1:8025:1",
      "0.0.0.0:8025",
      "[::ffff:127.0.0.1]:8025",
    ]
  ) assert(!asked.allowsHost(host), host);
});

Deno.test("Guard takes forms from its own page only", () => {
  const { guard: asked } = guard();
  const own = { host: "127.0.0.1:8025", origin: "http://127.0.0.1:8025" };
  assert(asked.isOwnForm(fields(own)));
  assert(asked.isOwnForm(fields({ ...own, "sec-fetch-site": "same-origin" })));
  for (
    const foreign of [
      { host: own.host },
      { ...own, origin: "null" },
      { ...own, origin: "http://evil.example" },
      { ...own, origin: "http://127.0.0.1:9999" },
      { ...own, origin: "http://127.0.0.1:8025.evil.example" },
      { ...own, "sec-fetch-site": "cross-site" },
      { ...own, "sec-fetch-site": "same-site" },
      { origin: "http://undefined" },
    ]
  ) assert(!asked.isOwnForm(fields(foreign)), JSON.stringify(foreign));
});

Deno.test("Guard knows a session until it ends, and whose it is", async () => {
  const { guard: asked, clock } = guard();
  const cookie = logIn(asked);
  const visitor = asked.visitor(fields({ cookie: `other=1; ${cookie}` }));
  assert.equal(visitor?.who, "ann");
  const other = asked.visitor(fields({ cookie: logIn(asked) }));
  assert(visitor !== undefined && other !== undefined);
  assert(asked.isFormOf(visitor, visitor.formToken));
  assert(!asked.isFormOf(visitor, other.formToken));
  assert(!asked.isFormOf(visitor, null));
  assert.equal(asked.visitor(fields({ cookie: `${cookie.slice(0, -1)}_` })), undefined);
  assert.equal(asked.visitor(fields({})), undefined);
  asked.logOut(fields({ cookie }));
  assert.equal(asked.visitor(fields({ cookie })), undefined);
  const late = logIn(asked);
  await clock.advance(12 * 3_600_000);
  assert.equal(asked.visitor(fields({ cookie: late })), undefined);
});

Deno.test("Guard takes a token as Bearer, for a proxy, with its own form token", () => {
  const { guard: asked } = guard();
  const visitor = asked.visitor(fields({ authorization: `Bearer ${SECRET}` }));
  assert.equal(visitor?.who, "ann");
  assert.notEqual(visitor?.formToken, undefined);
  assert.equal(asked.visitor(fields({ authorization: `Bearer ${SECRET}x` })), undefined);
  assert.equal(asked.visitor(fields({ authorization: `Basic ${SECRET}` })), undefined);
});

Deno.test("Guard looks at no token for a minute after ten wrong ones, and lets go on who is logged in", async () => {
  const { guard: asked, clock } = guard();
  const cookie = logIn(asked);
  for (let guess = 0; guess < 10; guess++) assert.equal(asked.logIn(`guess ${guess}`), "wrong");
  assert.equal(asked.logIn(SECRET), "later");
  assert.equal(asked.visitor(fields({ authorization: `Bearer ${SECRET}` })), undefined);
  assert.equal(asked.visitor(fields({ cookie }))?.who, "ann");
  await clock.advance(60_000);
  assert.equal(typeof asked.logIn(SECRET), "object");
});

Deno.test("Guard keeps a hundred sessions, the latest ones", () => {
  const { guard: asked } = guard();
  const cookies = Array.from({ length: 101 }, () => logIn(asked));
  const known = cookies.filter((cookie) => asked.visitor(fields({ cookie })) !== undefined);
  assert.deepEqual(known, cookies.slice(1));
});
