/**
 * Settings of a configuration file by their keys.
 *
 * @module
 */
import { parse, stringify, type TomlTable, type TomlValue } from "smol-toml";

/** Whether the value is a table. */
export function isTable(value: TomlValue | undefined): value is TomlTable {
  return typeof value === "object" && !Array.isArray(value) && !(value instanceof Date);
}

/** The parts of a key as TOML writes it, such as `serve-in.port`; `undefined` if it is none. */
export function keyParts(key: string): string[] | undefined {
  let value: TomlValue | undefined;
  try {
    value = parse(`${key} = 0`);
  } catch {
    return undefined;
  }
  const parts: string[] = [];
  while (isTable(value)) {
    const [name, ...more]: string[] = Object.keys(value);
    if (name === undefined || more.length > 0) return undefined;
    parts.push(name);
    value = value[name];
  }
  return value === 0 ? parts : undefined;
}

/** The value of a key; `undefined` if the settings do not have it. */
export function valueOf(settings: TomlTable, parts: readonly string[]): TomlValue | undefined {
  let value: TomlValue | undefined = settings;
  for (const part of parts) {
    if (!isTable(value) || !Object.hasOwn(value, part)) return undefined;
    value = value[part];
  }
  return value;
}

/** Tables that turn something on by being there, even without a key. */
export const SWITCHES: readonly string[] = [
  "serve-submit",
  "serve-policy",
  "mta_sts",
  "dashboard",
  "tls.acme",
];

/**
 * The settings that differ from those of `others`. Tables without any are left out, except {@linkcode SWITCHES}.
 * @param options `prefix`: the table that these settings are in, with a final dot
 */
export function differing(
  settings: TomlTable,
  others: TomlTable,
  { prefix = "" }: { readonly prefix?: string } = {},
): TomlTable {
  const result: TomlTable = {};
  for (const [name, value] of Object.entries(settings)) {
    const other = Object.hasOwn(others, name) ? others[name] : undefined;
    if (isTable(value)) {
      const table = `${prefix}${name}`;
      const inside = differing(value, isTable(other) ? other : {}, { prefix: `${table}.` });
      if (Object.keys(inside).length > 0 || SWITCHES.includes(table)) result[name] = inside;
    } else if (other === undefined || toToml(value) !== toToml(other)) result[name] = value;
  }
  return result;
}

/** Both settings in one; those of the first count. */
export function merged(settings: TomlTable, others: TomlTable): TomlTable {
  const result: TomlTable = { ...others };
  for (const [name, value] of Object.entries(settings)) {
    const other = Object.hasOwn(others, name) ? others[name] : undefined;
    result[name] = isTable(value) && isTable(other) ? merged(value, other) : value;
  }
  return result;
}

/** A value as TOML has it, in one line; a table in one line for each key. */
export function toToml(value: TomlValue): string {
  return isTable(value) ? stringify(value).trim() : stringify({ x: value }).trim().slice("x = ".length);
}

/** Settings as a file. */
export function settingsText(settings: TomlTable): string {
  const text = stringify(settings).trim();
  return text === "" ? "" : `${text}\n`;
}
