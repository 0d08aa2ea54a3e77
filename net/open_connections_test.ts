import assert from "node:assert/strict";
import { countConnections } from "./open_connections.ts";

const tables = () =>
  ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((path) => {
    try {
      return [Deno.readTextFileSync(path)];
    } catch {
      return [];
    }
  });

Deno.test({
  name:
    "countConnections() counts the established connections of each listener, of both families, and no others",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const listeners = [
      Deno.listen({ hostname: "127.0.0.1", port: 0 }),
      Deno.listen({ hostname: "::1", port: 0 }),
      Deno.listen({ hostname: "::", port: 0 }),
      Deno.listen({ hostname: "127.0.0.1", port: 0 }),
    ];
    const places = listeners.map(({ addr: { hostname, port } }, index) => ({
      server: `s${index}`,
      address: hostname,
      port,
    }));
    const open: Deno.Conn[] = [];
    const connect = async (hostname: string, index: number) => {
      const listener = listeners[index] ?? assert.fail();
      const accepted = listener.accept();
      open.push(await Deno.connect({ hostname, port: listener.addr.port }), await accepted);
    };
    try {
      await connect("127.0.0.1", 0);
      await connect("127.0.0.1", 0);
      await connect("::1", 1);
      // A socket for both families.
      await connect("::1", 2);
      await connect("127.0.0.1", 2);
      assert.deepEqual(Object.fromEntries(countConnections(places, tables())), {
        s0: 2,
        s1: 1,
        s2: 2,
        s3: 0,
      });
      open.splice(0, 2).forEach((conn) => conn.close());
      assert.equal(countConnections(places, tables()).get("s0"), 1);
    } finally {
      for (const conn of open) conn.close();
      for (const listener of listeners) listener.close();
    }
  },
});

Deno.test("countConnections() of what is no such table counts nothing", () => {
  const places = [{ server: "s", address: "0.0.0.0", port: 25 }];
  for (const text of ["", "\n", "sl local rem st\n", "0: x 01 01", "0: :0019 x 01\n0: 0100007F: x 01"]) {
    assert.equal(countConnections(places, [text]).get("s"), text.includes(":0019") ? 1 : 0, text);
  }
});
