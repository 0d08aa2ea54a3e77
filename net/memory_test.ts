// What strangers spell must not stay in memory. A process of its own, whose garbage can be collected at will.
import assert from "node:assert/strict";

/** Runs a script in its own process; resolves to the octets that its heap holds more than at its beginning. */
async function heldBy(script: string): Promise<number> {
  const code = `
    const heap = () => { gc(); gc(); return Deno.memoryUsage().heapUsed; };
    ${script}
    console.log(after - before);
  `;
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--v8-flags=--expose-gc", "--no-check", code],
    cwd: new URL("..", import.meta.url),
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return Number(new TextDecoder().decode(stdout));
}

const MIB = 1024 ** 2;
const module = JSON.stringify(new URL("./domain_name.ts", import.meta.url).href);

for (
  const [what, name] of Object.entries({
    "a name out of a long text": "`d${i}.a-rather-long-name.example.org`",
    "a name with a dot at its end": "`d${i}.a-rather-long-name.example.org.`",
    "a name in upper case out of a long text": "`D${i}.A-RATHER-LONG-NAME.EXAMPLE.ORG`",
    "a name with 100,000 soft hyphens": "`d${i}${'\\u00ad'.repeat(100_000)}.a-rather-long-name.example.org`",
    "a name with 900 soft hyphens": "`d${i}${'\\u00ad'.repeat(900)}.a-rather-long-name.example.org`",
    "a name with 300 accents apart": "`d${i}${'e\\u0301'.repeat(200)}.a-rather-long-name.example.org`",
  })
) {
  Deno.test(`normalizeDomain() keeps little of ${what}`, async () => {
    const held = await heldBy(`
      const { normalizeDomain } = await import(${module});
      const ask = (i) => {
        const name = ${name};
        // As in a message, in text of one byte or two.
        const text = name + "x".repeat(100_000);
        const [found] = /^[^x]*/.exec(text);
        normalizeDomain(text.slice(0, name.length));
      };
      for (let i = 0; i < 10; i++) ask(i);
      const before = heap();
      for (let i = 10; i < 2000; i++) ask(i);
      const after = heap();
    `);
    assert.ok(held < 4 * MIB, `${(held / MIB).toFixed(1)} MiB`);
  });
}
