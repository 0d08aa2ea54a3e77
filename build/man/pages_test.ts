import assert from "node:assert/strict";
import { describeProgram } from "../../cli/command_line/command_line.ts";
import { knownSettings } from "../../config/example.ts";
import { makeFolder } from "../../tests/support/peers/folder.ts";
import { run, runOk } from "../../tests/support/peers/process.ts";
import { testWith } from "../../tests/support/requires.ts";
import { manualPages } from "./pages.ts";

const OPTIONS = { version: "9.9.9", date: "2026-11-30" };

Deno.test("there is a manual page for each command, with each of its options", async () => {
  const pages = new Map(
    (await manualPages(OPTIONS)).map(({ file, text }) => [file, text.replaceAll("\\-", "-")]),
  );
  const program = await describeProgram();
  for (const command of program.commands) {
    const text = pages.get(`mailapp-${command.name()}.1`) ?? assert.fail(command.name());
    for (const { options } of [command, ...command.commands]) {
      for (const { long, short } of options.filter(({ hidden }) => !hidden)) {
        assert.ok(text.includes(long ?? short ?? "?"), `${command.name()} ${long}`);
      }
    }
    for (const sub of command.commands) {
      assert.ok(text.includes(`.SS "mailapp ${command.name()} ${sub.name()}"`));
    }
  }
});

Deno.test("mailapp.toml(5) has each setting", async () => {
  const page = (await manualPages(OPTIONS)).find(({ file }) => file === "mailapp.toml.5");
  const text = page?.text.replaceAll("\\-", "-") ?? "";
  for (const [table, settings] of Object.entries(knownSettings())) {
    if (typeof settings !== "object" || Array.isArray(settings)) {
      assert.ok(text.includes(`\\fB${table}\\fR = `), table);
      continue;
    }
    assert.ok(text.includes(`.SS "[${table}]"`), table);
    for (const key of Object.keys(settings)) {
      assert.ok(
        text.includes(`\\fB${key.replaceAll('"', "")}`) || text.includes(`[${table}.${key}]`) ||
          text.includes(`"${key}"`),
        `${table}.${key}`,
      );
    }
  }
});

testWith(["man", "mandoc"], "the pages are well-formed, and read as --help does", async () => {
  await using folder = await makeFolder("manual");
  const pages = await manualPages(OPTIONS);
  await Deno.mkdir(folder.at("man1"));
  for (const { file, text } of pages) await Deno.writeTextFile(folder.at(`man1/${file}`), text);
  const files = pages.map(({ file }) => folder.at(`man1/${file}`));
  const { stdout } = await run("mandoc", { args: ["-T", "lint", "-W", "warning", ...files] });
  // Of mandoc's own taste: where a title is in capitals, and what is in the foot.
  const told = stdout.split("\n").filter((line) => /(?:WARNING|ERROR|FATAL|UNSUPP):/.test(line));
  assert.deepEqual(told, []);
  const env = { MANWIDTH: "80", LC_ALL: "C.UTF-8", MAN_KEEP_FORMATTING: "" };
  const warnings = await run("man", {
    args: ["--warnings", "-l", folder.at("man1/mailapp-queue.1")],
    env,
  });
  assert.equal(warnings.stderr, "");
  assert.match(warnings.stdout, /retry waiting messages now/i);
  const queue = await runOk("man", { args: ["-l", folder.at("man1/mailapp-queue.5")], env });
  assert.match(queue, /A +message +is +never +lost/);
  assert.doesNotMatch(queue, /\]\(|\*\*|```|_shard_/);
});
