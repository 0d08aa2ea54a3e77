/**
 * Test data that others made. It is not part of the repository: it is read from `../shared` beside the checkout.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

/** Where such data is, with a slash at the end. */
const SHARED = fileURLToPath(new URL("../../../shared/", import.meta.url));

/** The path of a file or directory of the shared data; `undefined` where it is missing. */
export function sharedPath(name: string): string | undefined {
  const path = `${SHARED}${name}`;
  try {
    Deno.statSync(path);
    return path;
  } catch {
    return undefined;
  }
}
