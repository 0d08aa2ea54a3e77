/**
 * The place in docs/performance.md where the tables of a comparison stand.
 *
 * @module
 */

/** The line above the tables. */
export const BEGIN = "<!-- The tables of deno task compare --page: begin -->";
/** The line below them. */
export const END = "<!-- The tables of deno task compare --page: end -->";

/** The page with these tables in place of those that it had. @throws {Error} when it has no place for them */
export function withTables(page: string, tables: string): string {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`the page has no lines ${BEGIN} and ${END}`);
  return `${page.slice(0, begin)}${BEGIN}\n\n${tables.trim()}\n\n${page.slice(end)}`;
}
