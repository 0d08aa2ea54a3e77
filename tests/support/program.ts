/**
 * How tests start the program, and write its configuration.
 *
 * @module
 */
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
