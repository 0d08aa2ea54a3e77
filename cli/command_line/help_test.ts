import assert from "node:assert/strict";
import type { Command } from "commander";
import { describeProgram } from "./command_line.ts";
import { runInProcess } from "../../tests/support/in_process.ts";

/** The command and all below it. */
function all(command: Command): Command[] {
  return [command, ...command.commands.flatMap(all)];
}

function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({ writeOut: (more) => void (text += more) }).outputHelp();
  return text;
}

Deno.test("each --help fits a terminal of 80 columns, without defaults that say nothing", async () => {
  for (const command of all(await describeProgram())) {
    const help = helpOf(command);
    const [options = ""] = help.split("\nExample");
    // A term that is longer than the line cannot be wrapped; what follows it is, and so is all else.
    const wide = options.split("\n").filter((line) => line.length > 80 && !/^ {2}\S/.test(line));
    assert.deepEqual(wide, [], command.name());
    assert.doesNotMatch(help, /default: \[\]|\n\n\n/, command.name());
  }
});

/** What the command line prints, which must succeed. */
async function said(...words: readonly string[]): Promise<string> {
  const { code, out, err } = await runInProcess(words);
  assert.deepEqual([code, err], [0, ""], words.join(" "));
  return out;
}

Deno.test("help, with the words of each command, is what the command says of itself with --help", async () => {
  const paths = (command: Command): string[][] =>
    command.commands.flatMap((sub) => [[sub.name()], ...paths(sub).map((words) => [sub.name(), ...words])]);
  const all = paths(await describeProgram());
  assert.ok(all.filter((words) => words.length === 2).length > 15, all.join("; "));
  for (const words of all) {
    const help = await said("help", ...words);
    assert.equal(help, await said(...words, "--help"));
    assert.ok(help.startsWith(`Usage: mailapp ${words.join(" ")}`), help);
  }
});

Deno.test("help for a mistyped command names the nearest right one, and fails", async () => {
  for (
    const [typed, meant] of [
      ["help qeue", "queue"],
      ["qeue list --help", "queue"],
      ["help queue rtry", "retry"],
      ["queue rtry --help", "retry"],
      ["queue help rtry", "retry"],
      ["certificate shw -h", "show"],
    ] as const
  ) {
    const { code, out, err } = await runInProcess(typed.split(" "));
    assert.deepEqual([code, out], [64, ""], typed);
    assert.match(err, new RegExp(`Did you mean ${meant}\\?`), typed);
  }
});
