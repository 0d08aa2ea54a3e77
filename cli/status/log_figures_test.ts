import assert from "node:assert/strict";
import { fileSource } from "../../observe/log_files.ts";
import { readFigures } from "./log_figures.ts";

const NOW = Date.parse("2026-11-30T12:30:00Z");

Deno.test("readFigures() counts a message once that serve-submit hands to serve-out", async () => {
  const line = (event: string, fields: Record<string, unknown>) =>
    JSON.stringify({ time: "2026-11-30T12:10:00.000Z", level: "info", event, ...fields }) + "\n";
  const directory = await Deno.makeTempDir({ prefix: "mailapp-figures-" });
  try {
    const path = `${directory}/mailapp.log`;
    await Deno.writeTextFile(
      path,
      line("message.accepted", { server: "serve-submit", id: "s1.1", queue_id: "mi1x0b2k00000a3f7c2q" }) +
        line("message.accepted", { server: "serve-out", id: "mi1x0b2k00000a3f7c2q" }),
    );
    const { hours } = await readFigures([fileSource(path)], NOW);
    assert.equal(hours.reduce((sum, { figures }) => sum + figures.submitted, 0), 1);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
