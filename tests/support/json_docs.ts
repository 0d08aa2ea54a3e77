/**
 * What docs/json.md says of `--json`, to compare with what is printed.
 *
 * @module
 */

/** The names that docs/json.md has for each command, by its heading. */
export async function documentedJson(): Promise<Map<string, Set<string>>> {
  const text = await Deno.readTextFile(new URL("../../docs/json.md", import.meta.url));
  const sections = text.split(/^## /m).slice(1).map((section) => {
    const [heading = "", ...lines] = section.split("\n");
    const names = lines.flatMap((line) => {
      const [, cell = ""] = /^\| (`.*?)\|/.exec(line) ?? [];
      return [...cell.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name);
    });
    return [heading, new Set(names)] as const;
  });
  return new Map(sections);
}

/** The names in a value with all that is below them, and what breaks the style. */
export function namesIn(
  value: unknown,
  path = "",
  wrong: string[] = [],
): { names: Set<string>; wrong: string[] } {
  const names = new Set<string>();
  const visit = (value: unknown, path: string, name: string) => {
    if (value === null) wrong.push(`${path} is null`);
    if (Array.isArray(value)) {
      for (const item of value) visit(item, path === "" ? "" : `${path}[]`, name);
      return;
    }
    if (typeof value === "object" && value !== null) {
      for (const [name, item] of Object.entries(value)) {
        if (!/^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$/.test(name)) wrong.push(`${path}.${name} is not in snake case`);
        visit(item, path === "" ? name : `${path}.${name}`, name);
      }
      return;
    }
    const isMoment = /^(?:at|.*_at)$/.test(name);
    const looksLikeMoment = typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value);
    if (isMoment !== looksLikeMoment) {
      wrong.push(`${path}: ${value} is no moment by its name, or no name of one`);
    }
    if (looksLikeMoment && new Date(value).toISOString() !== value) wrong.push(`${path}: ${value}`);
    if (/(?:_ms|octets)$/.test(name) && !Number.isSafeInteger(value)) wrong.push(`${path}: ${value}`);
    if (typeof value === "number" && value > 1e11) wrong.push(`${path}: ${value} may be a time`);
    if (path !== "") names.add(path);
  };
  visit(value, path, "");
  return { names, wrong };
}
