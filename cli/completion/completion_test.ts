import assert from "node:assert/strict";
import { runOk } from "../../tests/support/peers/process.ts";
import { testWith } from "../../tests/support/requires.ts";
import { describeProgram } from "../command_line/command_line.ts";
import { SHELLS } from "./completion.ts";
import { completedCommands } from "./word_tree.ts";

/** What is typed, the last word unfinished; what is offered, or what must be among it. */
const CASES: readonly { typed: string[]; offered?: string[]; among?: string[] }[] = [
  { typed: ["que"], among: ["queue"] },
  { typed: ["queue", "re"], offered: ["release", "remove", "retry"] },
  { typed: ["queue", "list", "--group", ""], offered: ["domain", "reason", "sender"] },
  { typed: ["queue", "list", "--so"], offered: ["--sort"] },
  { typed: ["help", "queue", "sh"], offered: ["show"] },
  { typed: ["healthcheck", "serve-s"], offered: ["serve-submit"] },
  { typed: ["init", "--cert", "deno.js"], among: ["deno.json"] },
  { typed: ["completion", ""], offered: ["bash", "fish", "zsh"] },
];

async function script(shell: string): Promise<string> {
  return SHELLS[shell]?.(completedCommands(await describeProgram())) ?? "";
}

/** Compares what a shell offers, a word a line, with the cases that it was asked. */
function compare(offers: readonly string[]): void {
  for (const [index, { typed, offered, among = [] }] of CASES.entries()) {
    const found = (offers[index] ?? "").split("\n").filter((line) => line !== "").sort();
    if (offered !== undefined) assert.deepEqual(found, offered, typed.join(" "));
    for (const word of among) assert.ok(found.includes(word), `${typed.join(" ")}: ${found.join(" ")}`);
  }
}

testWith(["bash"], "bash completes commands, flags and their values", async () => {
  const ask = CASES.map(({ typed }) =>
    `COMP_WORDS=(mailapp ${typed.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${typed.length}
    _mailapp; printf '%s\\n' "\${COMPREPLY[@]}"; echo ──`
  );
  const told = await runOk("bash", { args: ["--norc", "-c", `${await script("bash")}\n${ask.join("\n")}`] });
  compare(told.split("──\n"));
  const equals = `COMP_WORDS=(mailapp queue list --group =); COMP_CWORD=4; _mailapp; echo "\${COMPREPLY[@]}"`;
  const after = await runOk("bash", { args: ["--norc", "-c", `${await script("bash")}\n${equals}`] });
  assert.equal(after, "domain reason sender\n");
});

testWith(["zsh"], "zsh completes commands, flags and their values", async () => {
  // Stands for the builtins, which work on a command line only.
  const builtins = `compdef() {}
  compadd() {
    local -a given
    while (( $# )); do
      case $1 in
        -d) shift ;;
        -a) given=(\${(P)2}); shift ;;
        --) given=(\${@:2}); break ;;
      esac
      shift
    done
    for word in $given; do [[ $word == $cur* ]] && print -r -- $word; done
  }
  _files() { print -rl -- $cur*(N) }
  `;
  const ask = CASES.map(({ typed }) =>
    `words=(mailapp ${typed.map((word) => `'${word}'`).join(" ")}); CURRENT=${
      typed.length + 1
    }; _mailapp; echo ──`
  );
  const told = await runOk("zsh", { args: ["-fc", `${builtins}${await script("zsh")}\n${ask.join("\n")}`] });
  compare(told.split("──\n"));
});

testWith(["fish"], "fish completes commands, flags and their values", async () => {
  const ask = CASES.map(({ typed }) => `complete -C 'mailapp ${typed.join(" ")}'; echo ──`);
  const told = await runOk("fish", {
    args: ["--no-config", "-c", `${await script("fish")}\n${ask.join("\n")}`],
  });
  compare(told.split("──\n").map((text) => text.replaceAll(/\t.*$/gm, "")));
});
