/**
 * `mailapp completion`: prints a script that completes commands, flags and their values.
 *
 * @module
 */
import { Argument, type Command } from "commander";
import { EXIT } from "../../server/exit_codes.ts";
import { examples, type Registrar } from "../command_line/subcommand.ts";
import { bashCompletion } from "./bash.ts";
import { fishCompletion } from "./fish.ts";
import { type CompletedCommand, completedCommands } from "./word_tree.ts";
import { zshCompletion } from "./zsh.ts";

/** The shells, and how each gets its script. */
export const SHELLS: Readonly<Record<string, (commands: readonly CompletedCommand[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** Registers the subcommand. */
export function registerCompletion(program: Command, { io, action, describeProgram }: Registrar): void {
  program.command("completion")
    .description("print a script for your shell that completes commands, flags and their values")
    .addArgument(new Argument("<shell>", "your shell").choices(Object.keys(SHELLS)))
    .addHelpText(
      "after",
      examples(
        "source <(mailapp completion bash)",
        "mailapp completion zsh >/usr/local/share/zsh/site-functions/_mailapp",
        "mailapp completion fish >~/.config/fish/completions/mailapp.fish",
      ),
    )
    .action(action(async (shell: string) => {
      io.out(SHELLS[shell]?.(completedCommands(await describeProgram())) ?? "");
      return EXIT.ok;
    }));
}
