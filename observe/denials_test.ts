import assert from "node:assert/strict";
import type { Denial } from "./denials.ts";

const DENIALS = JSON.stringify(new URL("./denials.ts", import.meta.url).href);

/** What is denied to this code in a thread without permissions. */
async function denialsOf(code: string): Promise<Denial[]> {
  const module = `
    import { onDenial, watchDenials } from ${DENIALS};
    watchDenials();
    watchDenials();
    ${code}
    const denials = [];
    onDenial((denial) => denials.push(denial));
    postMessage(denials);
  `;
  const file = await Deno.makeTempFile({ suffix: ".mjs" });
  await Deno.writeTextFile(file, module);
  const worker = new Worker(`file://${file}`, {
    type: "module",
    deno: { permissions: "none" },
  } as WorkerOptions);
  const { promise, resolve, reject } = Promise.withResolvers<Denial[]>();
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(event.message));
  };
  try {
    return await promise;
  } finally {
    worker.terminate();
    await Deno.remove(file);
  }
}

for (
  const { title, code, access } of [
    { title: "a file", code: 'Deno.readTextFileSync("/etc/shells")', access: 'read access to "/etc/shells"' },
    {
      title: "a file, later",
      code: 'await Deno.stat("/etc/shells")',
      access: 'read access to "/etc/shells"',
    },
    {
      title: "a connection",
      code: "await Deno.connect({ port: 9 })",
      access: 'net access to "127.0.0.1:9"',
    },
    {
      title: "a connection by node:net",
      code:
        '(await import("node:net")).connect(9, "127.0.0.1").on("error", () => {}); await new Promise((resolve) => setTimeout(resolve, 50))',
      access: 'net access to "127.0.0.1:9"',
    },
    {
      title: "a variable that a library reads",
      code: '(await import("node:process")).env.PGHOST',
      access: 'env access to "PGHOST"',
    },
    { title: "the system", code: "Deno.uid()", access: 'sys access to "uid"' },
  ]
) {
  Deno.test(`watchDenials() notices ${title} whose error is caught`, async () => {
    const denials = await denialsOf(`for (const _ of [1, 2]) try { ${code} } catch {}`);
    assert.deepEqual(denials.map(({ access }) => access), [access]);
  });
}

Deno.test("watchDenials() leaves the error as it is", async () => {
  const [denial] = await denialsOf(`
    try { Deno.uid() } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable && error instanceof Error)) throw new Error("another class");
      if (error.name !== "NotCapable" || !error.message.startsWith("Requires sys access")) throw error;
    }
  `);
  assert.match(denial?.at ?? "", /\.mjs:\d+$/);
});

Deno.test("watchDenials() keeps a bounded number of denials, of bounded length", async () => {
  const denials = await denialsOf(`
    for (let index = 0; index < 200; index++) {
      try { Deno.statSync("/" + index + "x".repeat(1000)) } catch {}
    }
  `);
  assert.equal(denials.length, 50);
  assert.ok(denials.every(({ access }) => access.length === 300));
});

Deno.test("watchDenials() notices nothing where nothing is denied", async () => {
  assert.deepEqual(await denialsOf('try { throw new Deno.errors.NotFound("x") } catch {}'), []);
});
