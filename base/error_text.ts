/**
 * The text of an error.
 *
 * @module
 */

/** What the runtime adds to the system's words: the number of the error, the call, and its paths. */
const SYSTEM = /^([^\n]{1,200}?) \(os error \d+\)(?:: \w+ '([^]*)')?$/;

/**
 * The message of whatever was thrown, without the name of its class; the name where there is no message. Of an error
 * of the system its words and the path, such as `No such file or directory: /etc/x`.
 */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [, words, paths] = SYSTEM.exec(error.message) ?? [];
  if (words === undefined) return error.message || error.name;
  return paths === undefined ? words : `${words}: ${paths.replace("' -> '", " -> ")}`;
}
