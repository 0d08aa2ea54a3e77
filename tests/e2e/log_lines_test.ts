// Standard error of a server holds its log and nothing else, whatever comes from DNS.
import assert from "node:assert/strict";
import { FakeDns } from "../support/fake_dns.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";

/** An answer to another question with this id, as a forger or a confused server sends it. */
function withAnotherId(answer: Uint8Array): Uint8Array {
  return answer.map((byte, i) => i < 2 ? byte ^ 0xff : byte);
}

Deno.test("serve-out logs JSON only, also where DNS answers do not fit their questions", async () => {
  await using dns = await FakeDns.start({
    "d.test MX": {
      answers: [{ name: "d.test", type: "MX", ttl: 60, data: { preference: 0, exchange: "." } }],
      before: withAnotherId,
    },
  });
  await using workspace = await Workspace.create();
  const config = await workspace.configure({
    dns: { servers: [dns.server] },
    "serve-out": { listen: ["127.0.0.1"], port: 0, min_free_space: 0 },
  });
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  const { port } = await serveOut.event("listener.ready");
  await submit(Number(port), [
    "MAIL FROM:<>",
    "RCPT TO:<x@d.test>",
    "DATA",
    "Subject: x\r\n\r\nx\r\n.",
    "QUIT",
  ]);
  const { status } = await serveOut.event("attempt.failed");
  assert.equal(status, "5.1.10");
  assert.ok(dns.asked.length > 0);
  assert.equal(await serveOut.stop(), 0);
  assert.deepEqual(serveOut.other, []);
});

/** Says EHLO and these commands, each once the one before is answered well. */
async function submit(port: number, commands: readonly string[]): Promise<void> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const buffer = new Uint8Array(4096);
  for (const command of ["", "EHLO client.test", ...commands]) {
    if (command !== "") await conn.write(new TextEncoder().encode(`${command}\r\n`));
    const size = await conn.read(buffer) ?? 0;
    assert.match(new TextDecoder().decode(buffer.subarray(0, size)), /^[23]/);
  }
}
