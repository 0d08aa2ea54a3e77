/**
 * Tests that need a program which may not be there.
 *
 * @module
 */
import { delimiter, join } from "@std/path";

/**
 * Enters a test that needs these programs. Where one is missing the test is ignored, and its name says which; in
 * CI (`MAILAPP_CI=1`) nothing may be skipped for that, and it fails.
 *
 * @example
 * ```ts ignore
 * testWith(["swaks"], "swaks delivers over STARTTLS", async () => {});
 * ```
 */
export function testWith(
  programs: readonly string[],
  name: string,
  run: (t: Deno.TestContext) => void | Promise<void>,
): void {
  const missing = programs.filter((program) => !isInstalled(program));
  if (missing.length === 0) return Deno.test(name, run);
  const titled = `${name} (needs ${missing.join(", ")})`;
  if (Deno.env.get("MAILAPP_CI") !== "1") return Deno.test.ignore(titled, run);
  Deno.test(titled, () => {
    throw new Error(`${missing.join(", ")} must be installed in CI: see .ci/packages.txt`);
  });
}

/** Whether the program is to be found: by its path, or on PATH and in the system directories. */
export function isInstalled(program: string): boolean {
  const directories = [
    ...(Deno.env.get("PATH") ?? "").split(delimiter),
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
  ];
  const paths = program.includes("/") ? [program] : directories.map((directory) => join(directory, program));
  return paths.some((path) => {
    try {
      const { isFile, mode } = Deno.statSync(path);
      return isFile && ((mode ?? 0) & 0o111) !== 0;
    } catch {
      return false;
    }
  });
}
