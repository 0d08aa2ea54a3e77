import assert from "node:assert/strict";
import { counter } from "../base/counters.ts";
import { type MetricsServerOptions, serveMetrics } from "./metrics_server.ts";

const asked = counter("test_metrics_server_total", "What this test counts");

/** A server on loopback while `use` runs. */
async function served(
  options: MetricsServerOptions,
  use: (port: number) => Promise<void>,
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = serveMetrics(listener, options);
  try {
    await use(listener.addr.port);
  } finally {
    listener.close();
    await serving;
  }
}

/** All that the server says to these octets. */
async function say(port: number, text: string): Promise<string> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await conn.write(new TextEncoder().encode(text));
  return await new Response(conn.readable).text();
}

Deno.test("serveMetrics() answers GET /metrics with what is counted", async () => {
  await served({}, async (port) => {
    asked.add(7);
    const response = await fetch(`http://127.0.0.1:${port}/metrics`);
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
    assert.match(await response.text(), /^test_metrics_server_total 7$/m);
  });
});

Deno.test("serveMetrics() speaks OpenMetrics with who asks for it", async () => {
  await served({}, async (port) => {
    const headers = { accept: "application/openmetrics-text;version=1.0.0,text/plain;q=0.5" };
    const response = await fetch(`http://localhost:${port}/metrics`, { headers });
    assert.match(response.headers.get("content-type") ?? "", /^application\/openmetrics-text/);
    assert.match(await response.text(), /# EOF\n$/);
  });
});

Deno.test("serveMetrics() refuses other paths and methods", async () => {
  await served({}, async (port) => {
    for (const [method, path, status] of [["GET", "/", 404], ["POST", "/metrics", 405]] as const) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
      await response.body?.cancel();
      assert.equal(response.status, status, `${method} ${path}`);
    }
  });
});

Deno.test("serveMetrics() refuses a name that somebody's DNS leads to loopback", async () => {
  await served({}, async (port) => {
    for (const host of ["evil.example", `evil.example:${port}`, "127.0.0.1.evil.example", "192.0.2.1", ""]) {
      const reply = await say(port, `GET /metrics HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      assert.match(reply, /^HTTP\/1\.1 403 /, host);
      assert.doesNotMatch(reply, /test_metrics_server_total/);
    }
  });
});

Deno.test("serveMetrics() wants the token, where there is one, whatever the name", async () => {
  const token = "0123456789abcdef";
  await served({ token }, async (port) => {
    const ask = async (authorization?: string) => {
      const response = await fetch(`http://127.0.0.1:${port}/metrics`, {
        headers: authorization === undefined ? {} : { authorization },
      });
      await response.body?.cancel();
      return response.status;
    };
    assert.equal(await ask(), 401);
    assert.equal(await ask("Bearer 0123456789abcdeX"), 401);
    assert.equal(await ask("Bearer 0123456789abcde"), 401);
    assert.equal(await ask(`Basic ${token}`), 401);
    assert.equal(await ask(`Bearer ${token}`), 200);
  });
});

Deno.test("serveMetrics() closes on a request without an end, and on one that is too slow", async () => {
  await served({ timeout: 50 }, async (port) => {
    assert.equal(await say(port, `GET /metrics HTTP/1.1\r\nX: ${"x".repeat(8 * 1024)}`), "");
    using silent = await Deno.connect({ hostname: "127.0.0.1", port });
    assert.equal(await silent.read(new Uint8Array(1)), null);
  });
});

Deno.test("serveMetrics() holds at most eight connections open", async () => {
  await served({}, async (port) => {
    const held = await Promise.all(
      Array.from({ length: 8 }, () => Deno.connect({ hostname: "127.0.0.1", port })),
    );
    using ninth = await Deno.connect({ hostname: "127.0.0.1", port });
    assert.equal(await ninth.read(new Uint8Array(1)).catch(() => null), null);
    for (const conn of held) conn.close();
  });
});
