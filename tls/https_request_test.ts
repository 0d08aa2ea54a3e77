import assert from "node:assert/strict";
import { createSecureContext } from "node:tls";
import { systemClock } from "../base/clock.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { HttpError, httpsRequest } from "./https_request.ts";
import { serverUpgrade } from "./server_upgrade.ts";
import { TlsError } from "./tls_transport.ts";

/** A server that answers each connection with these octets, whatever is asked, and then ends it. */
async function answering(answer: string) {
  const authority = await createTestAuthority();
  const { cert, key } = await authority.issue({ names: ["h.test"] });
  const upgrade = serverUpgrade({ certificates: { secureContext: createSecureContext({ cert, key }) } });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const requests: string[] = [];
  const serving = (async () => {
    for await (const conn of listener) {
      const plain = new ConnTransport(conn, { clock: systemClock });
      try {
        const { transport } = await upgrade(plain);
        const buffer = new Uint8Array(65_536);
        const size = await transport.read(buffer);
        if (size !== null) requests.push(new TextDecoder().decode(buffer.subarray(0, size)));
        await transport.write(new TextEncoder().encode(answer));
        transport.close();
      } catch {
        // The client has had enough.
      }
      plain.close();
    }
  })();
  return {
    requests,
    ask: (more: Partial<Parameters<typeof httpsRequest>[0]> = {}) =>
      httpsRequest({
        host: "h.test",
        addresses: ["127.0.0.1"],
        port: listener.addr.port,
        path: "/p",
        trusted: [authority.cert],
        maxBody: 10,
        timeout: 5_000,
        clock: systemClock,
        ...more,
      }),
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

const GOOD: Readonly<Record<string, readonly [answer: string, body: string, status?: number]>> = {
  "a length": ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", "hello"],
  "chunks": [
    "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhe\r\n003;x=y\r\nllo\r\n0\r\n\r\n",
    "hello",
  ],
  "the end of the connection": ["HTTP/1.0 404 no\r\nX: y\r\n\r\nhello", "hello", 404],
  "interim responses": ["HTTP/1.1 100 go on\r\n\r\nHTTP/1.1 201 ok\r\ncontent-length: 0\r\n\r\n", "", 201],
  "no body": ["HTTP/1.1 204 ok\r\n\r\n", "", 204],
};

for (const [name, [answer, body, status = 200]] of Object.entries(GOOD)) {
  Deno.test(`httpsRequest() takes a response by ${name}`, async () => {
    await using server = await answering(answer);
    const response = await server.ask();
    assert.equal(response.status, status);
    assert.equal(new TextDecoder().decode(response.body), body);
  });
}

const BAD: Readonly<Record<string, string>> = {
  "no HTTP": "220 smtp\r\n\r\n",
  "a header without end": `HTTP/1.1 200 ok\r\n${"x: y\r\n".repeat(4000)}`,
  "a header line without a name": "HTTP/1.1 200 ok\r\n: y\r\n\r\n",
  "a folded header line": "HTTP/1.1 200 ok\r\nx: y\r\n z\r\n\r\n",
  "a length that is too long": "HTTP/1.1 200 ok\r\ncontent-length: 11\r\n\r\nhello world",
  "a length that is none": "HTTP/1.1 200 ok\r\ncontent-length: -1\r\n\r\n",
  "fewer octets than said": "HTTP/1.1 200 ok\r\ncontent-length: 9\r\n\r\nhello",
  "too much up to the end": "HTTP/1.1 200 ok\r\n\r\nhello world",
  "too much in chunks":
    "HTTP/1.1 200 ok\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
  "a chunk without a size": "HTTP/1.1 200 ok\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
  "a chunk that is longer than said": "HTTP/1.1 200 ok\r\ntransfer-encoding: chunked\r\n\r\n1\r\nhe\r\n",
  "an unknown coding": "HTTP/1.1 200 ok\r\ntransfer-encoding: gzip\r\n\r\n",
  "nothing but interim responses": "HTTP/1.1 100 go on\r\n\r\n".repeat(50),
};

for (const [name, answer] of Object.entries(BAD)) {
  Deno.test(`httpsRequest() refuses ${name}`, async () => {
    await using server = await answering(answer);
    await assert.rejects(() => server.ask(), HttpError);
  });
}

Deno.test("httpsRequest() sends a body, and the fields that it is given", async () => {
  await using server = await answering("HTTP/1.1 200 ok\r\ncontent-length: 0\r\n\r\n");
  await server.ask({ body: new TextEncoder().encode("abc"), headers: { "content-type": "text/x" } });
  const [request = ""] = server.requests;
  assert.match(request, /^POST \/p HTTP\/1\.1\r\nhost: h\.test:\d+\r\n/);
  assert.match(request, /\r\ncontent-type: text\/x\r\ncontent-length: 3\r\nconnection: close\r\n\r\n/);
});

Deno.test("httpsRequest() sends nothing to a server without a certificate for the name, tries the next address, and gives up when told", async () => {
  await using server = await answering("HTTP/1.1 200 ok\r\ncontent-length: 0\r\n\r\n");
  await assert.rejects(() => server.ask({ host: "other.test" }), TlsError);
  await assert.rejects(() => server.ask({ trusted: [] }), TlsError);
  assert.deepEqual(server.requests, []);
  assert.equal((await server.ask({ addresses: ["127.0.0.99", "127.0.0.1"] })).status, 200);
  await assert.rejects(() => server.ask({ signal: AbortSignal.abort() }));
});
