import assert from "node:assert/strict";
import { probeName, probeOf } from "./own_probe.ts";

Deno.test("probeOf() knows probes of this machine, and takes nobody else at their word", () => {
  const session = (domain: string, remote: string, local = "192.0.2.1") => ({
    hello: { verb: "EHLO", domain } as const,
    remote: { address: remote, port: 40_000 },
    local: { address: local, port: 25 },
  });
  for (const probe of ["dashboard", "doctor", "explain", "healthcheck"] as const) {
    const name = probeName(probe);
    assert.equal(probeOf(session(name, "127.0.0.1", "127.0.0.1")), probe);
    assert.equal(probeOf(session(name.toUpperCase(), "192.0.2.1")), probe);
    assert.equal(probeOf(session(name, "::1", "::1")), probe);
    assert.equal(probeOf(session(name, "198.51.100.9")), undefined);
  }
  assert.equal(probeOf(session("mx.example.com", "127.0.0.1")), undefined);
  assert.equal(probeOf(session("other.probe.localhost", "127.0.0.1")), undefined);
  assert.equal(probeOf({ ...session("x.test", "127.0.0.1"), hello: undefined }), undefined);
});
