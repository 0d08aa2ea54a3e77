/**
 * Configurations of tests, given as text.
 *
 * @module
 */
import assert from "node:assert/strict";
import { ConfigError } from "../../config/errors.ts";
import { parseConfig } from "../../config/load.ts";

/** The machine's name, fully qualified. */
export const systemHostname = () => "mx.system.test";

/** The configuration of a file `c.toml`. */
export const parse = (text: string) => parseConfig(text, { file: "c.toml", systemHostname });

/** The lines of the error about an invalid configuration. */
export function issuesOf(text: string, options: Parameters<typeof parseConfig>[1] = {}): string[] {
  try {
    parseConfig(text, { file: "c.toml", systemHostname, ...options });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message.split("\n");
  }
  assert.fail("taken as valid");
}
