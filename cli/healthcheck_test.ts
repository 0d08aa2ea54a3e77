import assert from "node:assert/strict";
import { runInProcess } from "../tests/support/in_process.ts";

/** What `mailapp healthcheck serve-out` says of a server that answers so. */
async function check(
  replies: Readonly<Record<string, string>>,
  { args = [] as string[], listensAfter = 0, configAfter = 0 } = {},
): Promise<{ code: number; said: string; commands: string[] }> {
  let listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const config = await Deno.makeTempFile();
  const settings = `hostname = "out.example.test"\n[serve-out]\nlisten = ["127.0.0.1"]\nport = ${port}\n`;
  if (configAfter === 0) await Deno.writeTextFile(config, settings);
  else await Deno.remove(config);
  if (configAfter > 0 && configAfter < Infinity) {
    setTimeout(() => Deno.writeTextFileSync(config, settings), configAfter);
  }
  const commands: string[] = [];
  const serve = async () => {
    for await (const conn of listener) {
      const say = (text: string) => conn.write(new TextEncoder().encode(text));
      await say(replies["greeting"] ?? "220 out.example.test\r\n");
      const buffer = new Uint8Array(1024);
      for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
        const command = new TextDecoder().decode(buffer.subarray(0, count)).trim();
        commands.push(command);
        await say(replies[command.slice(0, 4)] ?? "250 Ok\r\n");
      }
      conn.close();
    }
  };
  if (listensAfter > 0) listener.close();
  if (listensAfter > 0 && listensAfter < Infinity) {
    setTimeout(() => {
      listener = Deno.listen({ hostname: "127.0.0.1", port });
      serve();
    }, listensAfter);
  } else if (listensAfter === 0) serve();
  const { code, out, err } = await runInProcess(["healthcheck", "serve-out", ...args, "--config", config]);
  if (listensAfter < Infinity) listener.close();
  await Deno.remove(config).catch(() => {});
  return { code, said: out + err, commands };
}

Deno.test("mailapp healthcheck sees that a server takes mail, and sends none", async () => {
  const { code, said, commands } = await check({});
  assert.equal(code, 0);
  assert.match(said, /: answers, and accepts mail\n$/);
  assert.deepEqual(commands, [
    "EHLO healthcheck.probe.localhost",
    "MAIL FROM:<>",
    "RCPT TO:<postmaster>",
    "RSET",
    "QUIT",
  ]);
});

Deno.test("mailapp healthcheck repeats what a server says that takes no mail", async () => {
  const busy = await check({ greeting: "421 4.3.2 too many connections\r\n" });
  assert.equal(busy.code, 69);
  assert.match(busy.said, /does not answer: it says 421 4\.3\.2 too many connections\n$/);
  for (const command of ["MAIL", "RCPT"]) {
    const full = await check({ [command]: "452 4.3.1 Insufficient system storage\r\n" });
    assert.equal(full.code, 69, command);
    assert.match(full.said, /answers, but accepts no mail now: 452 4\.3\.1 Insufficient system storage\n$/);
  }
  assert.equal((await check({ MAIL: "530 5.7.0 Authentication required\r\n" })).code, 0);
});

Deno.test("mailapp healthcheck --wait waits until a server answers, whatever it says, and no longer than told", async () => {
  const late = await check({ greeting: "421 4.3.2 busy\r\n" }, { args: ["--wait", "60"], listensAfter: 600 });
  assert.deepEqual([late.code, late.said], [0, ""]);
  const never = await check({}, { args: ["--wait", "1"], listensAfter: Infinity });
  assert.equal(never.code, 69);
  assert.match(never.said, /does not answer: connection refused/);
  assert.equal((await check({}, { args: ["--wait", "soon"] })).code, 64);
});

Deno.test("mailapp healthcheck --wait waits for a configuration that a container has yet to make", async () => {
  const made = await check({}, { args: ["--wait", "60"], configAfter: 600 });
  assert.deepEqual([made.code, made.said], [0, ""]);
  const never = await check({}, { args: ["--wait", "1"], configAfter: Infinity });
  assert.equal(never.code, 66);
  assert.match(never.said, /no such configuration file/);
});

Deno.test("mailapp healthcheck says what is missing for a server that is not configured", async () => {
  const config = await Deno.makeTempFile();
  await Deno.writeTextFile(config, 'hostname = "mx.example.test"\n');
  for (const server of ["serve-policy", "serve-submit"]) {
    const { code, out, err } = await runInProcess(["healthcheck", server, "--config", config]);
    assert.deepEqual([code, out], [78, ""], server);
    assert.match(err, new RegExp(`: ${server}: the table must be there`));
  }
  await Deno.remove(config);
});
