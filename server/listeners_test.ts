import assert from "node:assert/strict";
import { bind, explainBind } from "../net/listen.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { type Endpoint, openListeners } from "./listeners.ts";

const HERE: Endpoint = { address: "127.0.0.1", port: 0, tls: "off", tentative: false };
const SOON: Endpoint = { address: "2001:db8::1", port: 0, tls: "off", tentative: true };

Deno.test("openListeners() tries a missing address again, whatever stands in the way meanwhile", async () => {
  const log = new RecordingLog();
  const obstacles: Error[] = [
    new Deno.errors.AddrNotAvailable("Cannot assign requested address (os error 99)"),
    Object.assign(new Error("Too many open files (os error 24)"), { code: "EMFILE" }),
    new Deno.errors.AddrInUse("Address already in use (os error 98)"),
  ];
  const served: string[] = [];
  const listeners = openListeners([HERE, SOON], {
    log,
    retryAfter: 0,
    serve: (listener, { address }) => {
      served.push(address);
      listener.close();
      return Promise.resolve();
    },
    bind(address, port) {
      const obstacle = address === SOON.address ? obstacles.shift() : undefined;
      if (obstacle !== undefined) throw explainBind(obstacle, { address, port });
      return bind("127.0.0.1", 0);
    },
  });
  await log.saw("listener.ready", 2);
  listeners.stopRetrying();
  await listeners.closed;
  assert.deepEqual(served, [HERE.address, SOON.address]);
  assert.deepEqual(log.named("listener.missing").map(({ level }) => level), ["warn", "debug", "debug"]);
});
