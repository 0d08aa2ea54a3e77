import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { hostDomain } from "./host_pauses.ts";
import type { HostSlot } from "./host_slot.ts";
import { HostTable } from "./host_table.ts";

const A = { host: "mx1.example.com", address: "192.0.2.1", port: 25 };
const REFUSED = { error: "connection refused", status: "4.4.1" };
const TOO_FAST = { reply: "421 4.7.28 slow down", status: "4.7.28" };

function table(maxConnectionsPerHost = 2) {
  const clock = new FakeClock();
  return { clock, hosts: new HostTable({ clock, logger: silentLogger, maxConnectionsPerHost }) };
}

function admitted(hosts: HostTable, target = A): HostSlot {
  const admission = hosts.admit(target);
  assert.equal(admission.kind, "admitted");
  return (admission as { slot: HostSlot }).slot;
}

Deno.test("HostTable.admit() caps connections by host name and by address", () => {
  const { hosts } = table();
  const first = admitted(hosts);
  admitted(hosts, { ...A, address: "192.0.2.2" });
  const full = hosts.admit({ ...A, address: "192.0.2.3" });
  assert.equal(full.kind, "wait");
  admitted(hosts, { ...A, host: "mx.example.org" });
  assert.equal(hosts.admit({ ...A, host: "mx.example.net" }).kind, "wait");
  first.release();
  first.release();
  admitted(hosts, { ...A, address: "192.0.2.3" });
  assert.equal(hosts.admit({ ...A, address: "192.0.2.4" }).kind, "wait");
});

Deno.test("HostTable.wait() calls back as many as there is room for, and wakeNext() the next", () => {
  const { hosts } = table(1);
  const slot = admitted(hosts);
  const admission = hosts.admit(A);
  assert(admission.kind === "wait");
  const woken: string[] = [];
  hosts.wait(admission.key, () => woken.push("first"));
  hosts.wait(admission.key, () => woken.push("second"));
  assert.deepEqual(woken, []);
  slot.release();
  assert.deepEqual(woken, ["first"]);
  hosts.wakeNext(admission.key);
  assert.deepEqual(woken, ["first", "second"]);
});

Deno.test("HostTable shares what was learnt about a dead address, and lets one connection probe it", async () => {
  const { hosts, clock } = table();
  const slot = admitted(hosts);
  slot.unreachable(REFUSED, true);
  slot.release();
  const dead = hosts.admit(A);
  assert(dead.kind === "dead");
  assert.equal(dead.failure.error, "connection refused");
  assert.equal(hosts.inspect(A)?.forMs, 5000);
  await clock.advance(5000);
  const probe = admitted(hosts);
  const waiting = hosts.admit(A);
  assert(waiting.kind === "wait");
  let woken = 0;
  hosts.wait(waiting.key, () => woken++);
  hosts.wait(waiting.key, () => woken++);
  probe.unreachable(REFUSED, true);
  assert.equal(woken, 2, "all get the failure");
  probe.release();
  await clock.advance(9999);
  assert.equal(hosts.admit(A).kind, "dead", "the pause doubles");
  await clock.advance(1);
  const second = admitted(hosts);
  second.connected();
  admitted(hosts);
});

Deno.test("HostTable.clearBackoff() lets a dead address be asked again", () => {
  const { hosts } = table();
  const slot = admitted(hosts);
  slot.unreachable(REFUSED, false);
  slot.release();
  assert.equal(hosts.admit(A).kind, "dead");
  hosts.clearBackoff();
  assert.equal(hosts.admit(A).kind, "admitted");
});

Deno.test("HostTable slows down all hosts of a domain for ten minutes after 4.7.28, then returns with care", async () => {
  const { hosts, clock } = table(5);
  const other = { host: "mx2.example.com", address: "192.0.2.9", port: 25 };
  const slot = admitted(hosts);
  slot.slowDown(TOO_FAST, "rate");
  assert.equal(slot.resting(), true);
  slot.release();
  const waiting = hosts.admit(other);
  assert(waiting.kind === "wait");
  assert.equal(waiting.failure?.status, "4.7.28");
  let woken = 0;
  for (let i = 0; i < 3; i++) hosts.wait(waiting.key, () => woken++);
  await clock.advance(599_999);
  assert.equal(woken, 0);
  await clock.advance(1);
  assert.equal(woken, 1, "one connection");
  const probe = admitted(hosts, other);
  assert.equal(hosts.admit(A).kind, "wait");
  probe.relayed();
  admitted(hosts);
  assert.equal(hosts.admit({ ...A, address: "192.0.2.3" }).kind, "wait", "then one more at a time");
});

Deno.test("HostTable slows down one host after 421, longer each time", async () => {
  const { hosts, clock } = table();
  const busy = { reply: "421 4.3.2 busy", status: "4.3.2" };
  const slot = admitted(hosts);
  slot.slowDown(busy, "busy");
  slot.release();
  assert.equal(hosts.admit(A).kind, "wait");
  admitted(hosts, { host: "mx2.example.com", address: "192.0.2.9", port: 25 });
  await clock.advance(60_000);
  const again = admitted(hosts);
  again.slowDown(busy, "busy");
  again.release();
  await clock.advance(119_999);
  assert.equal(hosts.admit(A).kind, "wait");
  await clock.advance(1);
  const probe = admitted(hosts);
  probe.relayed();
  probe.relayed();
  admitted(hosts);
  assert.equal(hosts.admit(A).kind, "wait", "the cap itself");
});

Deno.test("HostTable forgets the oldest hosts, not those in use", () => {
  const { hosts } = table();
  const used = admitted(hosts);
  for (let i = 0; i < 12_000; i++) {
    const slot = admitted(hosts, { host: `mx.d${i}.test`, address: `2001:db8::${i.toString(16)}`, port: 25 });
    slot.unreachable(REFUSED, true);
    slot.release();
  }
  assert.equal(hosts.admit({ host: "mx.d1.test", address: "2001:db8::1", port: 25 }).kind, "admitted");
  assert.equal(hosts.admit({ host: "mx.d11999.test", address: "2001:db8::2edf", port: 25 }).kind, "dead");
  admitted(hosts);
  assert.equal(hosts.admit(A).kind, "wait");
  used.release();
});

Deno.test("hostDomain() is the domain by which a receiver's hosts are counted", () => {
  assert.equal(hostDomain("alt1.gmail-smtp-in.l.google.com"), "google.com");
  assert.equal(hostDomain("mx.foo.co.uk"), "foo.co.uk");
  assert.equal(hostDomain("mx.example.de"), "example.de");
  assert.equal(hostDomain("localhost"), "localhost");
  assert.equal(hostDomain("192.0.2.1"), "192.0.2.1");
});
