/**
 * Completion for zsh.
 *
 * @module
 */
import { shellWord } from "../../base/shell_word.ts";
import type { CompletedCommand, DescribedWord, Values } from "./word_tree.ts";

/** The script, for a file `_mailapp` in `fpath`. */
export function zshCompletion(commands: readonly CompletedCommand[]): string {
  const steps = commands.filter(({ path }) => path !== "").map(({ path }) => shellWord(path));
  const cases = commands.map(({ path, subcommands, options, values }) => {
    const inner = options.flatMap(({ names, values }) =>
      values === undefined ? [] : [`        ${names.join("|")}) ${offer(values)}; return ;;\n`]
    ).join("");
    const words = options.flatMap(({ names, description }) => names.map((word) => ({ word, description })));
    return `    ${shellWord(path)})
${inner === "" ? "" : `      case $prev in\n${inner}      esac\n`}      case $cur in
        -*) ${describe(words)} ;;
        *) ${subcommands.length > 0 ? describe(subcommands) : offer(values ?? "any")} ;;
      esac ;;
`;
  }).join("");
  return `#compdef mailapp
# Completion of mailapp for zsh, made by mailapp completion zsh.
_mailapp() {
  local cur=\${words[CURRENT]} prev=\${words[CURRENT-1]} at word way=
  local -a found shown
  for ((at = 2; at < CURRENT; at++)); do
    word=\${words[at]}
    [[ $at == 2 && $word == help ]] && continue
    case "\${way:+$way }$word" in
      ${steps.join("|")}) way="\${way:+$way }$word" ;;
    esac
  done
  # --flag=value is one word.
  if [[ $cur == --*=* ]]; then
    prev=\${cur%%=*}
    compset -P '*='
    cur=\${cur#*=}
  fi
  case $way in
${cases}  esac
}
if [[ \${funcstack[1]-} == _mailapp ]]; then _mailapp "$@"; else compdef _mailapp mailapp; fi
`;
}

function offer(values: Values): string {
  if (values === "any") return ":";
  if (values === "file") return "_files";
  return values === "directory" ? "_files -/" : `compadd -- ${values.map(shellWord).join(" ")}`;
}

function describe(words: readonly DescribedWord[]): string {
  const found = words.map(({ word }) => shellWord(word)).join(" ");
  const shown = words.map(({ word, description }) => shellWord(`${word}  ${description}`)).join(" ");
  return `found=(${found}); shown=(${shown}); compadd -l -d shown -a found`;
}
