import assert from "node:assert/strict";
import { freePort } from "../tests/support/peers/ports.ts";
import { HttpResponder } from "./http_responder.ts";

const ASKED = { type: "http-01", name: "mx.test", token: "t", keyAuthorization: "t.key" } as const;

Deno.test("HttpResponder serves the page of the challenge while it is asked, and nothing else", async () => {
  const port = freePort();
  await using responder = HttpResponder.listen({ addresses: ["127.0.0.1"], port });
  const get = async (path: string, method = "GET") => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return [response.status, await response.text()];
  };
  {
    await using _asked = await responder.respond(ASKED);
    assert.deepEqual(await get("/.well-known/acme-challenge/t"), [200, "t.key"]);
    for (const path of ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/u", "//t"]) {
      assert.deepEqual(await get(path), [404, "Not found\n"], path);
    }
    assert.equal((await get("/.well-known/acme-challenge/t", "POST"))[0], 404);
  }
  assert.equal((await get("/.well-known/acme-challenge/t"))[0], 404);
});

for (
  const [what, said] of Object.entries({
    "nothing": "",
    "half of a header": "GET / HTTP/1.1\r\nHost: x\r\nX-A:",
    "half of a body": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
    "the beginning of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  })
) {
  Deno.test(`HttpResponder ends though a client has sent ${what} and waits`, async () => {
    const port = freePort();
    const responder = HttpResponder.listen({ addresses: ["127.0.0.1"], port });
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    await client.write(new TextEncoder().encode(said));
    // It is there once others are answered.
    await (await fetch(`http://127.0.0.1:${port}/`)).text();
    await responder[Symbol.asyncDispose]();
    const buffer = new Uint8Array(10_000);
    while (await client.read(buffer).catch(() => null) !== null);
  });
}
