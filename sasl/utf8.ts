/**
 * What clients send in an exchange, as text.
 *
 * @module
 */

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of a response; `undefined` where it is not UTF-8. */
export function decodeUtf8(response: Uint8Array): string | undefined {
  try {
    return utf8.decode(response);
  } catch {
    return undefined;
  }
}
