import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { PeerMemory } from "./peer_memory.ts";

const MX = { address: "192.0.2.1", port: 25 };

Deno.test("PeerMemory tells a refusal of TLS that lasts from one that passes", async () => {
  const clock = new FakeClock();
  const peers = new PeerMemory(clock);
  assert.equal(peers.refusesTlsStill(MX), false);
  await clock.advance(29_000);
  assert.equal(peers.refusesTlsStill(MX), false);
  await clock.advance(1_000);
  assert.equal(peers.refusesTlsStill(MX), true);
  peers.noteTls(MX);
  assert.equal(peers.refusesTlsStill(MX), false);
});

Deno.test("PeerMemory forgets a lost group after a day and a lost EHLO after an hour, for each port by itself", async () => {
  const clock = new FakeClock();
  const peers = new PeerMemory(clock);
  const bears = () => [peers.takesPipelining(MX), peers.takeEhlo(MX)];
  assert.deepEqual(bears(), [true, true]);
  peers.noteGroupLost(MX);
  peers.noteEhloLost(MX);
  assert.deepEqual(bears(), [false, false]);
  // Once it may have been a mishap.
  assert.deepEqual(bears(), [false, true]);
  peers.noteEhloLost(MX);
  assert.deepEqual([bears(), bears()], [[false, false], [false, false]]);
  assert.equal(peers.takesPipelining({ ...MX, port: 587 }), true);
  await clock.advance(3_600_000);
  assert.deepEqual(bears(), [false, true]);
  await clock.advance(82_800_000);
  assert.deepEqual(bears(), [true, true]);
  peers.noteEhloLost(MX);
  peers.forgetEhlo(MX);
  assert.deepEqual(bears(), [true, true]);
  peers.noteEhloLost(MX);
  assert.deepEqual(bears(), [true, false]);
  assert.deepEqual(bears(), [true, true]);
});

Deno.test("PeerMemory keeps a thousand peers", () => {
  const peers = new PeerMemory(new FakeClock());
  const peer = (i: number) => ({ address: `192.0.2.${i}`, port: 25 });
  for (let i = 0; i < 1001; i++) peers.noteGroupLost(peer(i));
  assert.equal(peers.takesPipelining(peer(0)), true);
  assert.equal(peers.takesPipelining(peer(1)), false);
});
