import assert from "node:assert/strict";
import { allMetrics } from "../base/counters.ts";
import type { LogFields } from "../base/log.ts";
import { silentLogger } from "../base/log.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import type { PasswordVerdict } from "./credentials.ts";
import { LoginThrottle } from "./login_throttle.ts";

const LOGIN = "alice@example.com";

/** A throttle over one account, whose password is `right`. */
class Place {
  readonly clock = new FakeClock();
  readonly paused: LogFields[] = [];
  readonly throttle = new LoginThrottle({
    clock: this.clock,
    logger: { ...silentLogger, warn: (_event, fields = {}) => void this.paused.push(fields) },
  });
  checks = 0;

  /** What happens to an attempt, and how many milliseconds that took. */
  async attempt(
    address: string,
    { password = "wrong", login = LOGIN }: { readonly password?: string; readonly login?: string } = {},
  ): Promise<{ readonly kind: PasswordVerdict["kind"]; readonly why: string; readonly waited: number }> {
    const before = this.clock.monotonic();
    let verdict: PasswordVerdict | undefined;
    this.start(address, { password, login }).then((found) => verdict = found);
    for (let turns = 0; verdict === undefined; turns++) {
      assert.ok(turns < 1000, "no verdict");
      await this.clock.advance(verdict === undefined && turns > 0 ? 100 : 0);
    }
    const why = verdict.kind === "right" ? "" : verdict.why;
    return { kind: verdict.kind, why, waited: this.clock.monotonic() - before };
  }

  start(address: string, { password, login }: { password: string; login: string }): Promise<PasswordVerdict> {
    return this.throttle.attempt({ login, password, origin: { address, session: "s" } }, () => {
      this.checks++;
      return Promise.resolve<PasswordVerdict>(
        password === "right" ? { kind: "right", login } : { kind: "wrong", why: "wrong password" },
      );
    });
  }

  async kinds(address: string, count: number): Promise<string[]> {
    const kinds: string[] = [];
    for (let n = 0; n < count; n++) {
      kinds.push((await this.attempt(address, { password: `guess ${this.checks} ${n}` })).kind);
    }
    return kinds;
  }
}

Deno.test("LoginThrottle delays failures more and more, then pauses the address, longer each time", async () => {
  const place = new Place();
  const delays: number[] = [];
  for (let n = 0; n < 6; n++) {
    delays.push((await place.attempt("192.0.2.1", { password: `guess ${n}` })).waited);
  }
  assert.deepEqual(delays, [500, 1000, 2000, 4000, 5000, 5000]);
  assert.deepEqual(await place.kinds("192.0.2.1", 2), ["paused", "paused"]);
  assert.equal(place.checks, 6, "what is paused is not checked");
  assert.deepEqual(await place.attempt("192.0.2.1"), {
    kind: "paused",
    why: "too many failed logins of 192.0.2.1; paused for 6 s more",
    waited: 2000,
  });
  await place.clock.advance(15_000);
  assert.deepEqual(await place.kinds("192.0.2.1", 2), ["wrong", "paused"]);
  await place.clock.advance(15_000);
  assert.deepEqual(await place.kinds("192.0.2.1", 1), ["paused"], "now it is twice as long");
  assert.deepEqual(place.paused.map(({ scope, what, seconds }) => [scope, what, seconds]), [
    ["address", "192.0.2.1", 15],
    ["address", "192.0.2.1", 30],
  ]);
  await place.clock.advance(60 * 60_000);
  assert.equal((await place.attempt("192.0.2.1")).waited, 500, "after an hour it is forgotten");
});

Deno.test("LoginThrottle takes the /64 of an IPv6 client for one address, and IPv4 in IPv6 for IPv4", async () => {
  const place = new Place();
  for (let n = 0; n < 6; n++) await place.attempt(`2001:db8:1:2::${n}`, { password: `guess ${n}` });
  assert.deepEqual(await place.kinds("2001:db8:1:2:ffff::1", 1), ["paused"]);
  assert.deepEqual(await place.kinds("2001:db8:1:3::1", 1), ["wrong"]);
  for (let n = 0; n < 6; n++) await place.attempt("::ffff:192.0.2.1", { password: `guess ${n}` });
  assert.deepEqual(await place.kinds("192.0.2.1", 1), ["paused"]);
});

for (
  const [network, address] of [
    ["192.0.2.0/24", (n: number) => `192.0.2.${n + 1}`],
    ["2001:db8:1::/48", (n: number) => `2001:db8:1:${n.toString(16)}::1`],
  ] as const
) {
  Deno.test(`LoginThrottle pauses a network of failing addresses: ${network}`, async () => {
    const place = new Place();
    for (let n = 0; n < 21; n++) {
      await place.attempt(address(n), { password: `guess ${n}`, login: `user${n}` });
    }
    assert.equal((await place.attempt(address(100), { login: "other" })).kind, "paused");
    assert.equal((await place.attempt("198.51.100.1", { login: "other" })).kind, "wrong");
    assert.deepEqual(place.paused.map(({ scope, what }) => [scope, what]), [["network", network]]);
  });
}

Deno.test("LoginThrottle never locks the owner out, neither at the owner's address nor elsewhere", async () => {
  const place = new Place();
  const owner = "203.0.113.5";
  assert.equal((await place.attempt(owner, { password: "right" })).kind, "right");
  // An attacker behind the same address, with its own logins, gets address and network paused.
  for (let n = 0; n < 30; n++) await place.attempt(owner, { password: `guess ${n}`, login: `user${n}` });
  assert.equal((await place.attempt(owner, { login: "user1" })).kind, "paused");
  assert.equal((await place.attempt(owner, { password: "right" })).kind, "right");
  // And from all over the world, at the login itself.
  for (let n = 0; n < 60; n++) await place.attempt(`198.51.${n}.1`, { password: `guess ${n}` });
  assert.deepEqual(place.paused.at(-1)?.scope, "login");
  assert.equal((await place.attempt(owner, { password: "right" })).kind, "right");
  assert.equal((await place.attempt("192.0.2.77", { password: "right" })).kind, "right", "from a new place");
});

Deno.test("LoginThrottle lets an address that has failed try a login under attack once a minute", async () => {
  const place = new Place();
  for (let n = 0; n < 20; n++) await place.attempt(`198.51.${n}.1`, { password: `guess ${n}` });
  await place.clock.advance(60_000);
  assert.deepEqual(await place.kinds("198.51.3.1", 1), ["wrong"]);
  assert.deepEqual(await place.kinds("198.51.3.1", 1), ["paused"]);
  assert.equal((await place.attempt("198.51.3.1", { login: "bob", password: "b" })).kind, "wrong");
  await place.clock.advance(60_000);
  assert.deepEqual(await place.kinds("198.51.3.1", 2), ["wrong", "paused"]);
});

Deno.test("LoginThrottle counts few failures of each network against a login: one attacker does not make an attack", async () => {
  const place = new Place();
  for (let n = 0; n < 18; n++) await place.attempt(`198.51.100.${n}`, { password: `guess ${n}` });
  assert.equal(place.paused.some(({ scope }) => scope === "login"), false);
});

Deno.test("LoginThrottle counts failures where the login is known, too, and forgets them when it is right", async () => {
  const place = new Place();
  const known = () => place.attempt("192.0.2.1", { password: "right" });
  await known();
  assert.deepEqual(await place.kinds("192.0.2.1", 11), Array(11).fill("wrong"));
  assert.equal((await known()).kind, "paused");
  await place.clock.advance(15_000);
  assert.equal((await known()).kind, "right");
  assert.equal((await place.attempt("192.0.2.1", { password: "typo" })).waited, 500);
});

Deno.test("LoginThrottle counts the same wrong password once: a phone with an old one causes no pause", async () => {
  const place = new Place();
  for (let n = 0; n < 50; n++) {
    const verdict = await place.attempt("192.0.2.1", { password: "old" });
    assert.deepEqual([verdict.kind, verdict.why], [
      "wrong",
      `wrong password${n === 0 ? "" : ", the same again"}`,
    ]);
    await place.clock.advance(60_000);
  }
  assert.equal((await place.attempt("192.0.2.1", { login: "bob", password: "right" })).kind, "right");
  assert.deepEqual(place.paused, []);
});

Deno.test("LoginThrottle does not let a login of the attacker's own reset what it has failed", async () => {
  const place = new Place();
  const kinds: string[] = [];
  for (let n = 0; n < 8; n++) {
    kinds.push((await place.attempt("192.0.2.1", { password: `guess ${n}` })).kind);
    await place.attempt("192.0.2.1", { password: "right", login: "mallory" });
  }
  assert.deepEqual(kinds.slice(-2), ["paused", "paused"]);
});

Deno.test("LoginThrottle counts by login alone on the machine itself, where a webmail logs in for all", async () => {
  const place = new Place();
  for (const address of ["127.0.0.1", "::1"]) {
    for (let n = 0; n < 6; n++) await place.attempt(address, { password: `guess ${n}` });
    assert.equal((await place.attempt(address)).kind, "paused");
    assert.equal((await place.attempt(address, { login: "bob", password: "right" })).kind, "right");
  }
});

Deno.test("LoginThrottle finds out no more for who tries many at once", async () => {
  const place = new Place();
  const verdicts: string[] = [];
  for (let n = 0; n < 40; n++) {
    place.start("192.0.2.1", { password: `guess ${n}`, login: LOGIN }).then(({ kind }) =>
      verdicts.push(kind)
    );
  }
  for (let seconds = 0; seconds < 60; seconds++) await place.clock.advance(1000);
  assert.ok(place.checks <= 9, `${place.checks} checks`);
  assert.equal(verdicts.length, 40);
  assert.equal(verdicts.filter((kind) => kind === "paused").length, 40 - place.checks);
});

Deno.test("LoginThrottle lets who has failed least be checked first", async () => {
  const place = new Place();
  await place.attempt("198.51.100.1", { password: "a" });
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const begin = (address: string) =>
    place.throttle.attempt(
      { login: LOGIN, password: address, origin: { address, session: "s" } },
      async () => {
        order.push(address);
        await gate.promise;
        return { kind: "right", login: LOGIN };
      },
    );
  const all = ["203.0.113.1", "203.0.113.2", "198.51.100.1", "203.0.113.3", "192.0.2.1"].map(begin);
  await settle();
  gate.resolve();
  await Promise.all(all);
  assert.deepEqual(order, ["203.0.113.1", "203.0.113.2", "203.0.113.3", "192.0.2.1", "198.51.100.1"]);
});

Deno.test("LoginThrottle lets networks take turns, however many of one wait", async () => {
  const place = new Place();
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const begin = (address: string) =>
    place.throttle.attempt({ login: LOGIN, origin: { address, session: "s" } }, async () => {
      order.push(address);
      await gate.promise;
      return { kind: "right", login: LOGIN };
    });
  const all = Array.from({ length: 90 }, (_, n) => begin(`203.0.113.${n}`));
  const others = ["192.0.2.1", "198.51.100.1"].map(begin);
  await settle();
  gate.resolve();
  await Promise.all([...all, ...others]);
  assert.deepEqual(order.slice(0, 5), [
    "203.0.113.0",
    "203.0.113.1",
    "203.0.113.2",
    "192.0.2.1",
    "198.51.100.1",
  ]);
});

Deno.test("LoginThrottle holds a bounded number of entries, whoever tries whatever", async () => {
  const place = new Place();
  place.throttle[Symbol.dispose]();
  const attempts = 70_000;
  for (let n = 0; n < attempts; n++) {
    const address = `2001:db8:${(n & 0xffff).toString(16)}:${(n >> 16).toString(16)}::1`;
    await place.start(address, { password: n % 3 === 0 ? "right" : `${n}`, login: `user${n}` });
  }
  assert.ok(place.throttle.size <= 65_000, `${place.throttle.size}`);
});

Deno.test("LoginThrottle ends its waits when it is disposed", async () => {
  const place = new Place();
  const verdict = place.start("192.0.2.1", { password: "x", login: LOGIN });
  await settle();
  place.throttle[Symbol.dispose]();
  assert.equal((await verdict).kind, "wrong");
  assert.equal(place.clock.pending, 0);
});

Deno.test("LoginThrottle counts pauses by what is paused", async () => {
  const pauses = () =>
    Object.fromEntries(
      Array.from(
        allMetrics().find(({ name }) => name === "mailapp_login_pauses_total")?.series() ?? [],
        ({ labels, metric }) => [labels.join(), "value" in metric ? metric.value : NaN],
      ),
    );
  const place = new Place();
  const before = pauses();
  await place.kinds("198.51.100.7", 7);
  const after = pauses();
  assert.equal(place.paused.length, 1);
  assert.equal((after["address"] ?? 0) - (before["address"] ?? 0), 1);
  assert.equal((after["network"] ?? 0) - (before["network"] ?? 0), 0);
});
