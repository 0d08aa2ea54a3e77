import assert from "node:assert/strict";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { freePort } from "../../tests/support/peers/ports.ts";
import { Machine } from "./machine.ts";

Deno.test("Machine.look() does not show what was found long ago as the state now", async () => {
  const port = freePort();
  const directory = await Deno.makeTempDir();
  const clock = new FakeClock();
  const machine = new Machine({
    hostname: "mx.example.com",
    probes: [{
      name: "serve-in",
      places: [{ address: "127.0.0.1", port, tls: false }],
      certificate: false,
    }],
    problemFiles: [],
    directory,
    minFree: 0,
    policies: `${directory}/none`,
    findings: `${directory}/none`,
  }, clock);
  const isUp = async () => (await machine.look()).servers[0]?.up;
  await machine.look();
  await machine.idle();
  assert.equal(await isUp(), false);
  {
    using listener = Deno.listen({ hostname: "127.0.0.1", port });
    const greeted = listener.accept().then(async (conn) => {
      await conn.write(new TextEncoder().encode("220 mx.example.com\r\n"));
      return conn;
    });
    await clock.advance(60_000);
    assert.equal(await isUp(), true);
    (await greeted).close();
    await machine.idle();
  }
  await Deno.remove(directory, { recursive: true });
});
