/**
 * Completion for bash.
 *
 * @module
 */
import { shellWord } from "../../base/shell_word.ts";
import type { CompletedCommand, Values } from "./word_tree.ts";

/** The script; needs no bash-completion. */
export function bashCompletion(commands: readonly CompletedCommand[]): string {
  const steps = commands.filter(({ path }) => path !== "").map(({ path }) => shellWord(path));
  const cases = commands.map(({ path, subcommands, options, values }) => {
    const taking = options.filter(({ values }) => values !== undefined);
    const plain = subcommands.map(({ word }) => word);
    const inner = taking.map(({ names, values = "any" }) =>
      `        ${names.join("|")}) ${reply(values)}; return ;;\n`
    ).join("");
    const words = options.flatMap(({ names }) => names);
    return `    ${shellWord(path)})
${inner === "" ? "" : `      case $prev in\n${inner}      esac\n`}      case $cur in
        -*) ${reply(words)} ;;
        *) ${reply(plain.length > 0 ? plain : values ?? "any")} ;;
      esac ;;
`;
  }).join("");
  return `# Completion of mailapp for bash, made by mailapp completion bash.
_mailapp() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} path= word at
  COMPREPLY=()
  # --flag=value comes in three words.
  if [ "$cur" = "=" ]; then cur=
  elif [ "$prev" = "=" ] && [ "$COMP_CWORD" -ge 2 ]; then prev=\${COMP_WORDS[COMP_CWORD-2]}; fi
  for ((at = 1; at < COMP_CWORD; at++)); do
    word=\${COMP_WORDS[at]}
    [ "$at" = 1 ] && [ "$word" = help ] && continue
    case "\${path:+$path }$word" in ${steps.join("|")}) path="\${path:+$path }$word" ;; esac
  done
  case $path in
${cases}  esac
}
complete -o filenames -F _mailapp mailapp
`;
}

/** A command that sets the reply. */
function reply(values: Values): string {
  if (values === "any") return ":";
  const generate = values === "file"
    ? "-f"
    : values === "directory"
    ? "-d"
    : `-W ${shellWord(values.join(" "))}`;
  return `mapfile -t COMPREPLY < <(compgen ${generate} -- "$cur")`;
}
