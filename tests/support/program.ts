/**
 * How tests start the program, and write its configuration.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { v8FlagsOf } from "../../build/v8_flags.ts";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));

/** A module run as `main.ts` is. */
export function fromSource(module: string, denoFlags: readonly string[] = []): readonly string[] {
  return [Deno.execPath(), "run", "-A", "--quiet", "--frozen", "--no-prompt", ...denoFlags, module];
}

/** The program from its source; `denoFlags` are for Deno itself, such as `--inspect=127.0.0.1:9229`. */
export function program(denoFlags: readonly string[] = []): readonly string[] {
  return fromSource(MAIN, denoFlags);
}

/** The environment that a command is started in, by its name. */
export function environmentOf(command: string | undefined): Record<string, string> {
  return { NO_COLOR: "1", MAILAPP_CONFIG: "", DENO_V8_FLAGS: v8FlagsOf(command) };
}

/** What the servers say where Deno has denied them something: as an event of the log, or as text. */
const DENIED = /"event":"permission\.denied"|\bpermission\.denied access=|: permission denied: \w+ access/;

/**
 * Fails where a server was denied something. Tests of its parts have all permissions, so that one that is missing shows
 * only here: every test that starts a server is one of its grants, too.
 */
export function assertNoDenials(lines: Iterable<string>): void {
  const denials = [...lines].filter((line) => DENIED.test(line));
  // An error while disposing may be shown without its message, as one that was suppressed.
  if (denials.length > 0) console.error(denials.join("\n"));
  assert.deepEqual(denials, [], "a server lacked a permission (server/grants.ts)");
}

/** A configuration of these tables; the one without a name comes first. */
export function toml(tables: Readonly<Record<string, Readonly<Record<string, unknown>>>>): string {
  return Object.entries(tables).map(([name, settings]) =>
    (name === "" ? "" : `\n[${name}]\n`) +
    Object.entries(settings).map(([key, value]) => `${tomlKey(key)} = ${tomlValue(value)}\n`).join("")
  ).join("");
}

const tomlKey = (key: string) => /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key);

/** JSON's texts, numbers, booleans and lists are TOML too; objects are not. */
function tomlValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{ ${
    Object.entries(value).map(([key, inner]) => `${tomlKey(key)} = ${tomlValue(inner)}`).join(", ")
  } }`;
}
