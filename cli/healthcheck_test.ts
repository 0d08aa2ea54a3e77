import assert from "node:assert/strict";
import { run } from "./command_line/run.ts";

/** What `mailapp healthcheck serve-out` says of a server that says this and closes. */
async function check(greeting: string): Promise<{ code: number; said: string }> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const config = await Deno.makeTempFile();
  await Deno.writeTextFile(
    config,
    `hostname = "out.example.test"\n[serve-out]\nlisten = ["127.0.0.1"]\nport = ${listener.addr.port}\n`,
  );
  const server = (async () => {
    using conn = await listener.accept();
    await conn.write(new TextEncoder().encode(greeting));
  })();
  let said = "";
  const code = await run(["healthcheck", "serve-out", "--config", config], {
    env: { get: () => undefined },
    isTerminal: false,
    out: (text) => void (said += text),
    err: (text) => void (said += text),
    onSignal: () => {},
    confine: () => Promise.reject(new Error("no server is started here")),
    exitNow: () => {},
  });
  await server;
  await Deno.remove(config);
  return { code, said };
}

Deno.test("mailapp healthcheck repeats what a server says that takes no mail", async () => {
  const { code, said } = await check("421 4.3.2 too many connections\r\n");
  assert.equal(code, 69);
  assert.match(said, /does not answer: it says 421 4\.3\.2 too many connections\n$/);
});
