/**
 * The text of an error.
 *
 * @module
 */

/** The message of whatever was thrown, without the name of its class; the name where there is no message. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
