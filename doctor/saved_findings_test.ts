import assert from "node:assert/strict";
import { failure, ok } from "./finding.ts";
import { findingsFile, readFindings, saveFindings } from "./saved_findings.ts";

Deno.test("readFindings() reads what saveFindings() wrote, and of a damaged file what is whole", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mailapp-findings-" });
  try {
    const path = findingsFile(directory);
    assert.equal(await readFindings(path), undefined);
    const findings = [
      ok("mx.ok", "a.test", "it is there"),
      failure("smtp.closed", "[::1]:25", { what: "no answer", next: "Start it.", dialogue: ["S: 421"] }),
    ];
    await saveFindings(path, { at: 1, findings });
    await saveFindings(path, { at: 2, findings });
    assert.deepEqual(await readFindings(path), { at: 2, findings });
    assert.deepEqual(Array.from(Deno.readDirSync(directory), ({ name }) => name), ["doctor.json"]);
    for (const text of ["", "null", "[]", "7", `{"at":"x","findings":[]}`, `{"at":1,"findings":{}}`]) {
      await Deno.writeTextFile(path, text);
      assert.equal(await readFindings(path), undefined, text);
    }
    const odd = [null, 7, { id: 1 }, { ...findings[0], outcome: "toString" }, {
      ...findings[0],
      next: 7,
      dialogue: [7],
    }];
    await Deno.writeTextFile(path, JSON.stringify({ at: 3, findings: odd }));
    assert.deepEqual(await readFindings(path), { at: 3, findings: [{ ...findings[0], dialogue: [] }] });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
