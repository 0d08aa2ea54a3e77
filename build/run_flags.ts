/**
 * How the built program is run, in every form: one table, from which build.ts, portable.sh and the Debian package get
 * the same flags, permissions and files.
 *
 * @module
 */
import { V8_FLAGS, V8_FLAGS_SERVE_OUT } from "./v8_flags.ts";

/** What the program may do when it starts (it gives up what it does not need), and what it needs of Deno. */
export const RUN_FLAGS: readonly string[] = ["--allow-all", "--unstable-worker-options", "--no-prompt"];

/** The arguments of `deno compile` before the entry module. */
export function compileArguments(
  { target, output }: { readonly target: string; readonly output: string },
): string[] {
  return [
    ...["compile", "--quiet", "--frozen", ...RUN_FLAGS, `--v8-flags=${V8_FLAGS}`],
    ...["--target", target, "--config", "deno.json", "--output", output],
  ];
}

/** What of the runtime does not apply to a program whose modules are all beside it. */
const OFFLINE = ["--no-config", "--no-lock", "--cached-only"];

/** A shell script that runs the bundled program in `home` (as the shell writes it), with `$@` as its arguments. */
export function launcherEnd(home: string): string {
  return `case \${1:-} in serve-out) v8_flags=${V8_FLAGS_SERVE_OUT} ;; *) v8_flags=${V8_FLAGS} ;; esac
exec "${home}/deno" run --quiet ${[...OFFLINE, ...RUN_FLAGS].join(" ")} "--v8-flags=$v8_flags" \\
  "${home}/app/entry.js" "$@"
`;
}

/** The names of links by which the program is another one; main.ts has the same for the compiled form. */
export const LINK_NAMES: Readonly<Record<string, readonly string[]>> = {
  sendmail: ["sendmail"],
  mailq: ["sendmail", "-bp"],
  newaliases: ["sendmail", "-bi"],
};

/** A part of a shell script that puts what a link's name stands for before the arguments. */
export function linkNameCases(): string {
  const cases = Object.entries(LINK_NAMES).map(([name, words]) =>
    `  ${name}) set -- ${words.join(" ")} "$@" ;;\n`
  );
  return `case \${0##*/} in\n${cases.join("")}esac\n`;
}
