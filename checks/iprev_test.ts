import assert from "node:assert/strict";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { checkIprev } from "./iprev.ts";

Deno.test("checkIprev() looks for a name that leads back to the address", async () => {
  const many = Array.from({ length: 40 }, (_, i) => `n${i}.test`);
  const resolver = new StaticResolver({
    "mx.test": { a: ["192.0.2.9", "192.0.2.1"], aaaa: ["2001:db8:0:0::1"] },
    "other.test": { a: ["192.0.2.2"] },
    "broken.test": { fails: ["a"] },
    "n39.test": { a: ["192.0.2.6"] },
  }, {
    ptr: {
      "192.0.2.1": ["other.test", "gone.test", "mx.test"],
      "192.0.2.3": ["other.test", "gone.test"],
      "192.0.2.4": ["broken.test", "other.test"],
      "192.0.2.6": many,
      "2001:db8::1": ["mx.test"],
    },
  });
  const check = (ip: string) => checkIprev(ip, { resolver });
  assert.deepEqual(await check("192.0.2.1"), { result: "pass", name: "mx.test" });
  assert.deepEqual(await check("2001:db8::1"), { result: "pass", name: "mx.test" });
  assert.deepEqual(await check("192.0.2.3"), { result: "fail" });
  assert.deepEqual(await check("192.0.2.4"), { result: "temperror" });
  assert.deepEqual(await check("192.0.2.5"), { result: "permerror" });
  const before = resolver.asked.length;
  assert.deepEqual(await check("192.0.2.6"), { result: "fail" });
  assert.equal(resolver.asked.length - before, 11);
});
