// mailapp certificate killed between any two of its file calls: the pair in use is the one before or the new one, never
// a mixture, and the next renewal works and leaves nothing of it behind.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { join } from "@std/path";
import { CertificateFiles } from "../../acme/certificate_files.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { run } from "../support/peers/process.ts";

const SAVING = fileURLToPath(new URL("../support/saving_certificate.ts", import.meta.url));

Deno.test("a certificate whose storing is killed at any step leaves the pair before or the new one", async () => {
  await using folder = await makeFolder("certificate-crash");
  const seen = new Set<string>();
  let step = 1;
  for (; step < 200; step++) {
    const directory = folder.at(`step-${step}`);
    const files = new CertificateFiles(directory);
    await files.save({ cert: "first", key: "first" }, { now: 1_000 });
    await files.save({ cert: "old", key: "old" }, { now: 2_000 });
    const { stdout, stderr, code } = await run(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--frozen", SAVING, directory, "new", String(step)],
    });
    const pair = await files.read();
    assert.ok(pair !== undefined && pair.cert === pair.key, `step ${step}: ${JSON.stringify(pair)}`);
    assert.ok(["old", "new"].includes(pair.cert), `step ${step}: ${pair.cert}`);
    assert.equal(await files.state(), "issued");
    seen.add(pair.cert);
    await files.save({ cert: "next", key: "next" }, { now: Date.now() + 1_000 });
    assert.deepEqual(await files.read(), { cert: "next", key: "next" });
    const left = Array.from(Deno.readDirSync(directory), ({ name }) => name);
    const current = Deno.readLinkSync(join(directory, "current"));
    // The pair in use, the one before it, and the link.
    assert.equal(left.length, 3, `step ${step}: ${left.join(", ")}`);
    assert.ok(left.includes(current));
    if (code === 0) {
      assert.equal(stdout, "saved\n", stderr);
      break;
    }
    assert.equal(stdout, "", stderr);
  }
  assert.ok(step > 10, `${step} steps`);
  assert.deepEqual([...seen].sort(), ["new", "old"]);
});
