import assert from "node:assert/strict";
import type { Command } from "commander";
import { describeProgram } from "./command_line.ts";

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
    // A term that is longer than the line cannot be wrapped; what follows it is.
    const wide = options.split("\n").filter((line) => line.length > 80 && /^ {20}/.test(line));
    assert.deepEqual(wide, [], command.name());
    assert.doesNotMatch(help, /default: \[\]|\n\n\n/, command.name());
  }
});
