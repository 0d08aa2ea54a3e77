import assert from "node:assert/strict";
import { bind, BindError, excludeEachOther, explainBind, reachableAddress } from "./listen.ts";

function refusal(bound: () => unknown): BindError {
  try {
    bound();
  } catch (error) {
    assert.ok(error instanceof BindError, String(error));
    return error;
  }
  throw new Error("no error");
}

Deno.test("bind() listens, on both loopback addresses side by side", () => {
  using ipv4 = bind("127.0.0.1", 0);
  using ipv6 = bind("::1", ipv4.addr.port);
  assert.deepEqual([ipv4.addr.hostname, ipv6.addr.hostname], ["127.0.0.1", "::1"]);
});

Deno.test("bind() says how to find who has the port", () => {
  using taken = bind("::1", 0);
  const { port } = taken.addr;
  const error = refusal(() => bind("::1", port));
  assert.equal(error.kind, "in-use");
  assert.equal(error.exitCode, 69);
  assert.ok(error.message.includes(`[::1]:${port}`));
  assert.ok(error.message.includes(`ss -ltnp 'sport = :${port}'`));
  assert.ok(error.cause instanceof Deno.errors.AddrInUse);
});

Deno.test("bind() says that the machine has no such address", () => {
  // TEST-NET-3 (RFC 5737) is not routed.
  const error = refusal(() => bind("203.0.113.77", 0));
  assert.equal(error.kind, "not-available");
  assert.equal(error.exitCode, 69);
  assert.match(error.message, /203\.0\.113\.77:0/);
});

Deno.test("explainBind() says how to be allowed a low port", () => {
  const endpoint = { address: "192.0.2.1", port: 25 };
  const error = explainBind(new Deno.errors.PermissionDenied("Permission denied (os error 13)"), endpoint);
  assert.ok(error instanceof BindError);
  assert.equal(error.kind, "forbidden");
  assert.equal(error.exitCode, 77);
  assert.match(error.message, /192\.0\.2\.1:25.*mailapp install.*ip_unprivileged_port_start=25/);
});

Deno.test("explainBind() tells a permission of the running server from one of its account", () => {
  const endpoint = { address: "192.0.2.1", port: 25 };
  const error = explainBind(new Deno.errors.NotCapable('Requires net access to "192.0.2.1:25"'), endpoint);
  assert.ok(error instanceof BindError);
  assert.equal(error.kind, "forbidden");
  assert.match(error.message, /192\.0\.2\.1:25: outside the permissions of the running server\. Restart it$/);
});

Deno.test("explainBind() leaves other errors as they are", () => {
  const endpoint = { address: "::1", port: 25 };
  const error = Object.assign(new Error("Too many open files (os error 24)"), { code: "EMFILE" });
  assert.equal(explainBind(error, endpoint), error);
  const off = explainBind(Object.assign(new Error("os error 97"), { code: "EAFNOSUPPORT" }), endpoint);
  assert.match(String(off), /IPv6 is off/);
});

Deno.test("excludeEachOther() knows which addresses share a port", () => {
  for (
    const [a, b] of [["::", "127.0.0.1"], ["::1", "::"], ["0.0.0.0", "192.0.2.1"], ["::1", "::1"], [
      "::",
      "0.0.0.0",
    ]] as const
  ) {
    assert.ok(excludeEachOther(a, b), `${a} ${b}`);
  }
  for (const [a, b] of [["127.0.0.1", "::1"], ["0.0.0.0", "::1"], ["192.0.2.1", "192.0.2.2"]] as const) {
    assert.ok(!excludeEachOther(a, b), `${a} ${b}`);
  }
});

Deno.test("reachableAddress() is loopback for a server that listens on all addresses", () => {
  const addresses = ["::", "0.0.0.0", "192.0.2.1", "2001:db8::1", "127.0.0.2"];
  assert.deepEqual(
    addresses.map(reachableAddress),
    ["::1", "127.0.0.1", "192.0.2.1", "2001:db8::1", "127.0.0.2"],
  );
});
