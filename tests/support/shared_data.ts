/**
 * Test data that others made. It lies in ../shared beside the repository and is read from there, never copied.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

const SHARED = new URL("../../../shared/", import.meta.url);

/**
 * Registers a test that reads a file of ../shared. Without the file the test is ignored, and its name says so; in CI
 * (`MAILAPP_CI=1`) it fails.
 * @param path below ../shared
 */
export function testWithShared(
  path: string,
  name: string,
  run: (file: string, t: Deno.TestContext) => void | Promise<void>,
): void {
  const file = fileURLToPath(new URL(path, SHARED));
  if (isFile(file)) return Deno.test(name, (t) => run(file, t));
  const titled = `${name} (needs ../shared/${path})`;
  if (Deno.env.get("MAILAPP_CI") !== "1") return Deno.test.ignore(titled, () => {});
  Deno.test(titled, () => {
    throw new Error(`../shared/${path} must be there in CI`);
  });
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
