/**
 * Tests that need a program, or data that others made, which may not be there.
 *
 * @module
 */
import { delimiter, join } from "@std/path";
import { sharedPath } from "./shared.ts";

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

/**
 * Registers a test that reads `../shared/NAME`, and needs these programs besides. Without the data the test is ignored,
 * in CI too unless it is `required` there, and its name says so: the data is not part of the repository.
 *
 * @example
 * ```ts ignore
 * testWithData("corpus", { name: "the corpus is parsed" }, async (path) => {});
 * ```
 */
export function testWithData(
  data: string,
  { programs = [], name, required = false }: {
    readonly programs?: readonly string[];
    readonly name: string;
    readonly required?: boolean;
  },
  run: (path: string, t: Deno.TestContext) => void | Promise<void>,
): void {
  const path = sharedPath(data);
  const titled = `${name} (needs ../shared/${data})`;
  if (path === undefined && required && Deno.env.get("MAILAPP_CI") === "1") {
    return Deno.test(titled, () => {
      throw new Error(`../shared/${data} must be there in CI`);
    });
  }
  if (path === undefined) return Deno.test.ignore(titled, () => {});
  testWith(programs, name, (t) => run(path, t));
}

/**
 * Whether to skip a step that needs the program. In CI (`MAILAPP_CI=1`) it never says so: nothing may be skipped there for
 * a missing program, and the step that starts it fails.
 */
export function isMissing(program: string): boolean {
  return Deno.env.get("MAILAPP_CI") !== "1" && !isInstalled(program);
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
