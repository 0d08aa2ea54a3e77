/**
 * Reads the small files that the program keeps for itself.
 *
 * @module
 */

/**
 * The text of a file. A pipe in its place is not read: that would wait for whoever writes into it.
 * @param options `most`: octets; a longer file is not read
 * @throws {Deno.errors.NotFound} among others; {@linkcode Error} when it is no regular file, or too long
 */
export async function readOwnFile(
  path: string,
  { most = Infinity }: { readonly most?: number } = {},
): Promise<string> {
  const { isFile, size } = await Deno.stat(path);
  if (!isFile) throw new Error(`${path} is not a regular file`);
  if (size > most) throw new Error(`${path} is longer than ${most} octets`);
  return await Deno.readTextFile(path);
}
