import assert from "node:assert/strict";
import { systemClock } from "../base/clock.ts";
import { ConnectionError } from "./conn_transport.ts";
import { DeadlineError } from "./transport.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { createDial } from "./dial.ts";
import { FamilyHealth } from "./family_health.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

for (const source of [undefined, "127.0.0.9"]) {
  const from = source === undefined ? {} : { sourceIpv4: source, sourceIpv6: "::1" };
  const name = source === undefined ? "any address" : "a chosen address";

  Deno.test(`createDial() connects from ${name}, and both sides talk`, async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const dial = createDial({ clock: systemClock, timeout: 10_000, ...from });
    const [conn, transport] = await Promise.all([
      listener.accept(),
      dial({ address: "127.0.0.1", port: listener.addr.port }),
    ]);
    assert.equal((conn.remoteAddr as Deno.NetAddr).hostname, source ?? "127.0.0.1");
    assert.equal(transport.local.address, source ?? "127.0.0.1");
    assert.deepEqual(transport.remote, { address: "127.0.0.1", port: listener.addr.port });
    const buffer = new Uint8Array(4);
    await conn.write(new TextEncoder().encode("220 hello"));
    let received = "";
    while (received.length < 9) received += text(buffer.subarray(0, await transport.read(buffer) ?? 0));
    assert.equal(received, "220 hello");
    await transport.write(new TextEncoder().encode("EHLO"));
    assert.equal(text(buffer.subarray(0, await conn.read(buffer) ?? 0)), "EHLO");
    conn.close();
    assert.equal(await transport.read(buffer), null);
    transport.close();
    transport.close();
    await assert.rejects(transport.write(new Uint8Array(1)));
    listener.close();
  });

  Deno.test(`createDial() from ${name} tells a refused connection`, async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    const dial = createDial({ clock: systemClock, timeout: 10_000, ...from });
    await assert.rejects(
      dial({ address: "127.0.0.1", port }),
      (error) =>
        error instanceof ConnectionError && error.code === "ECONNREFUSED" &&
        error.message === "connection refused",
    );
  });

  Deno.test(`createDial() from ${name} ends a read at the deadline`, async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const clock = new FakeClock();
    const dial = createDial({ clock, timeout: 10_000, ...from });
    const [conn, transport] = await Promise.all([
      listener.accept(),
      dial({ address: "127.0.0.1", port: listener.addr.port }),
    ]);
    transport.deadline = clock.monotonic() + 300_000;
    const reading = assert.rejects(transport.read(new Uint8Array(10)), DeadlineError);
    await clock.advance(300_000);
    await reading;
    assert.equal(clock.pending, 0);
    conn.close();
    listener.close();
  });
}

Deno.test("createDial() never resolves a name", async () => {
  const dial = createDial({ clock: systemClock, timeout: 10_000 });
  await assert.rejects(dial({ address: "localhost", port: 25 }), ConnectionError);
});

Deno.test("createDial() tells of a source address that is not ours", async () => {
  const dial = createDial({ clock: systemClock, timeout: 10_000, sourceIpv4: "192.0.2.77" });
  await assert.rejects(
    dial({ address: "127.0.0.1", port: 9 }),
    (error) =>
      error instanceof ConnectionError && error.code === "EADDRNOTAVAIL" &&
      /source address/.test(error.message),
  );
});

for (const source of [{}, { sourceIpv4: "127.0.0.9" }]) {
  Deno.test(`createDial() gives up by signal, ${JSON.stringify(source)}`, async () => {
    const clock = new FakeClock();
    const dial = createDial({ clock, timeout: 10_000, ...source });
    await assert.rejects(
      dial({ address: "127.0.0.1", port: 9 }, { signal: AbortSignal.abort() }),
      (error) => error instanceof ConnectionError && error.message === "given up",
    );
    assert.equal(clock.pending, 0);
  });
}

Deno.test("createDial() learns whether a family works", async () => {
  const clock = new FakeClock();
  const health = new FamilyHealth(clock);
  const dial = createDial({ clock, timeout: 30_000, health });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  health.failed(4);
  const [conn, transport] = await Promise.all([listener.accept(), dial({ address: "127.0.0.1", port })]);
  assert.equal(health.suspect(4), false);
  transport.close();
  conn.close();
  listener.close();
  health.failed(4);
  await assert.rejects(dial({ address: "127.0.0.1", port }), /refused/);
  assert.equal(health.suspect(4), false);
  assert.equal(clock.pending, 0);
});
