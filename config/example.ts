/**
 * config.example.toml, as the program has it with it.
 *
 * @module
 */
import { parse, type TomlTable } from "smol-toml";
import text from "../config.example.toml" with { type: "text" };

/** The text of config.example.toml: every key with its default and the reason. */
export const EXAMPLE: string = text;

/** Every key that has a default, with that. A test compares it with the schema. */
export function defaultSettings(): TomlTable {
  return parse(EXAMPLE);
}

/** Every key, also those that are comments because they have no default; for these the values mean nothing. */
export function knownSettings(): TomlTable {
  return parse(EXAMPLE.replaceAll(/(?<![^\n])# (?=\[[\w.-]+\]|[\w"*.-]+ = )/g, ""));
}
