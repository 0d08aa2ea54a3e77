/**
 * Completion for fish.
 *
 * @module
 */
import type { CompletedCommand, Values } from "./word_tree.ts";

/** The script. */
export function fishCompletion(commands: readonly CompletedCommand[]): string {
  const paths = commands.filter(({ path }) => path !== "").map(({ path }) => quoted(path));
  const lines = commands.flatMap(({ path, subcommands, options, values }) => {
    const here = `complete -c mailapp -n ${quoted(`__mailapp_at ${quoted(path)}`)}`;
    return [
      ...subcommands.map(({ word, description }) => `${here} -f -a ${word} -d ${quoted(description)}`),
      ...(subcommands.length === 0 && values !== undefined ? [`${here} ${offered(values)}`] : []),
      ...options.map(({ names, description, values }) => {
        const flags = names.map((name) =>
          name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`
        );
        const value = values === undefined ? "" : ` -r ${offered(values)}`;
        return `${here} ${flags.join(" ")}${value} -d ${quoted(description)}`;
      }),
    ];
  });
  return `# Completion of mailapp for fish, made by mailapp completion fish.
function __mailapp_at
    set -l path
    for word in (commandline -opc)[2..-1]
        if contains -- (string join -- ' ' $path $word) ${paths.join(" ")}
            set -a path $word
        end
    end
    set -l here (string join -- ' ' $path)
    test "$here" = "$argv"
end
complete -c mailapp -f
${lines.join("\n")}
`;
}

function offered(values: Values): string {
  if (values === "file") return "-F";
  if (values === "any") return "-f";
  return values === "directory"
    ? "-f -a '(__fish_complete_directories)'"
    : `-f -a ${quoted(values.join(" "))}`;
}

/** A word in single quotes; fish has other rules for these than a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
