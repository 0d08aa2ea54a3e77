import assert from "node:assert/strict";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { Guard } from "./guard.ts";

const SECRET = "a-token-of-enough-length";

function guard(hosts: readonly string[] = []) {
  const clock = new FakeClock();
  return {
    clock,
    guard: new Guard({ tokens: [{ name: "ann", secret: SECRET }], browserKey: "key", hosts, clock }),
  };
}

const fields = (headers: Record<string, string>, peer = "127.0.0.1") => ({
  header: (name: string) => headers[name],
  peer,
});

function logIn(guard: Guard): string {
  return logInAs(guard)[0];
}

/** The cookies of the session and of the browser. */
function logInAs(guard: Guard, from = fields({}), secret = SECRET): [string, string] {
  const result = guard.logIn(secret, from);
  assert(typeof result === "object");
  const [session = "", browser = ""] = result.cookies.map((cookie) => cookie.split(";", 1)[0] ?? "");
  return [session, browser];
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

Deno.test("Guard looks at no token of a client for a minute after ten wrong ones, and lets go on who is logged in", async () => {
  const { guard: asked, clock } = guard();
  const cookie = logIn(asked);
  const guesser = fields({}, "192.0.2.7");
  for (let guess = 0; guess < 10; guess++) assert.equal(asked.logIn(`guess ${guess}`, guesser), "wrong");
  assert.equal(asked.logIn(SECRET, guesser), "later");
  const bearer = { authorization: `Bearer ${SECRET}` };
  assert.equal(asked.visitor(fields(bearer, "192.0.2.7")), undefined);
  assert.equal(asked.visitor(fields({ cookie }, "192.0.2.7"))?.who, "ann");
  assert.equal(typeof asked.logIn(SECRET, fields({}, "192.0.2.8")), "object");
  assert.equal(asked.visitor(fields(bearer))?.who, "ann");
  await clock.advance(60_000);
  assert.equal(typeof asked.logIn(SECRET, guesser), "object");
});

Deno.test("Guard lets no guesses of others keep out a browser that has been logged in", () => {
  const { guard: asked } = guard();
  const [, browser] = logInAs(asked);
  // All loopback addresses are one client, and of strangers no more than a hundred guesses are looked at.
  for (let guess = 0; guess < 10; guess++) asked.logIn("wrong", fields({}, `127.0.0.${guess + 2}`));
  assert.equal(asked.logIn(SECRET, fields({})), "later");
  for (let guess = 0; guess < 90; guess++) {
    assert.equal(asked.logIn("wrong", fields({}, `192.0.2.${guess}`)), "wrong");
  }
  assert.equal(asked.logIn(SECRET, fields({}, "198.51.100.1")), "later");
  assert.equal(typeof asked.logIn(SECRET, fields({ cookie: `a=b; ${browser}` })), "object");
  // Such a browser guesses no faster, and what is not such a cookie says nothing.
  for (let guess = 0; guess < 10; guess++) {
    assert.equal(asked.logIn(`other ${guess}`, fields({ cookie: browser })), "wrong");
  }
  assert.equal(asked.logIn(SECRET, fields({ cookie: browser })), "later");
  const forged = `mailapp_dashboard_browser=${"A".repeat(43)}`;
  assert.equal(asked.logIn(SECRET, fields({ cookie: forged })), "later");
});

Deno.test("Guard knows a browser after a restart, until its token or the key is replaced", () => {
  const [, browser] = logInAs(guard().guard);
  const flooded = (tokens: { name: string; secret: string }[], browserKey = "key") => {
    const asked = new Guard({ tokens, browserKey, hosts: [], clock: new FakeClock() });
    for (let guess = 0; guess < 10; guess++) asked.logIn("wrong", fields({}));
    return asked;
  };
  const ann = { name: "ann", secret: SECRET };
  assert.equal(typeof flooded([ann]).logIn(SECRET, fields({ cookie: browser })), "object");
  assert.equal(flooded([ann], "other").logIn(SECRET, fields({ cookie: browser })), "later");
  const renewed = { name: "ann", secret: `${SECRET}-renewed` };
  assert.equal(flooded([renewed]).logIn(renewed.secret, fields({ cookie: browser })), "later");
});

Deno.test("Guard keeps a hundred sessions, the latest ones", () => {
  const { guard: asked } = guard();
  const cookies = Array.from({ length: 101 }, () => logIn(asked));
  const known = cookies.filter((cookie) => asked.visitor(fields({ cookie })) !== undefined);
  assert.deepEqual(known, cookies.slice(1));
});
