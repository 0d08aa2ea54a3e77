/**
 * The programs in C that lie beside this file.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { Folder } from "../tests/support/peers/folder.ts";
import { runOk } from "../tests/support/peers/process.ts";

/** Builds one of them into a folder, with gcc and more arguments of it, such as libraries; where it is then. */
export async function buildC(name: string, folder: Folder, more: readonly string[] = []): Promise<string> {
  const program = folder.at(name);
  const source = fileURLToPath(new URL(`${name}.c`, import.meta.url));
  await runOk("gcc", { args: ["-O2", "-pthread", "-o", program, source, ...more] });
  return program;
}
