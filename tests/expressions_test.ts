import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { relative } from "@std/path";
import { analyse } from "scslre";

/**
 * Text from outside may hold any character, and U+2028 and U+2029 end a line for `.`, `^` and `$` unless told
 * otherwise. So a dot says `s`, and nothing says `m`.
 */
Deno.test("expressions treat line separators of Unicode as text", async () => {
  const found: string[] = [];
  for await (const path of sources(ROOT)) {
    for (const { pattern, flags } of expressionsOf(path, await Deno.readTextFile(path))) {
      const dotted = withoutClasses(pattern).includes(".");
      if ((dotted && !flags.includes("s")) || flags.includes("m")) {
        found.push(`${relative(ROOT, path)}: /${pattern}/${flags}`);
      }
    }
  }
  assert.deepEqual(found, []);
});

/**
 * An expression that goes back over what it has read takes time that grows with the square of its input, or worse.
 * docs/security.md has what each reads and what bounds it.
 */
Deno.test("expressions take no more than linear time", async () => {
  const found: string[] = [];
  for await (const path of sources(ROOT)) {
    const source = await Deno.readTextFile(path);
    const literals = expressionsOf(path, source).filter(({ built }) => !built);
    const built = source.includes("new RegExp(") ? await builtOnImport(path) : [];
    for (const { pattern, flags } of [...literals, ...built]) {
      const { reports } = analyse(new RegExp(pattern, flags));
      if (reports.length > 0) found.push(`${relative(ROOT, path)}: /${pattern}/${flags}`);
    }
  }
  assert.deepEqual(found, []);
});

const ROOT = new URL("..", import.meta.url).pathname;
const NO_ROOMS = /^(?:\..*|bench|build|dist|docs|node_modules|tests)$/s;

async function* sources(directory: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    const path = `${directory}${directory.endsWith("/") ? "" : "/"}${name}`;
    if (isDirectory) {
      if (directory !== ROOT || !NO_ROOMS.test(name)) yield* sources(path);
    } else if (/\.ts$/.test(name) && !/_test\.ts$|\.d\.ts$/.test(name)) yield path;
  }
}

/** The expressions that a module puts together as it is loaded. */
async function builtOnImport(path: string): Promise<Expression[]> {
  const found: Expression[] = [];
  const { RegExp: original } = globalThis;
  globalThis.RegExp = new Proxy(original, {
    construct(target, [pattern, flags = ""]: [string | RegExp, string?]) {
      const made = new target(pattern, flags);
      found.push({ pattern: made.source, flags: made.flags, built: true });
      return made;
    },
  });
  try {
    await import(`${pathToFileURL(path)}?expressions`);
  } finally {
    globalThis.RegExp = original;
  }
  return found;
}

interface Expression {
  readonly pattern: string;
  readonly flags: string;
  /** Put together by `new RegExp`; its pattern may be a part of it. */
  readonly built?: boolean;
}

/** Literals, and what is put together as `new RegExp(String.raw…, "flags")`, whose pattern is the source text. */
function expressionsOf(path: string, source: string): Expression[] {
  const found: Expression[] = [];
  const plugin: Deno.lint.Plugin = {
    name: "expressions",
    rules: {
      list: {
        create: () => ({
          Literal(node) {
            const { regex } = node as { regex?: Expression };
            if (regex) found.push({ pattern: regex.pattern, flags: regex.flags });
          },
          NewExpression({ callee, arguments: [pattern, flags] }) {
            if (callee.type !== "Identifier" || callee.name !== "RegExp" || pattern === undefined) return;
            const text = pattern.type === "TaggedTemplateExpression"
              ? pattern.quasi.quasis.map(({ raw }) => raw).join("")
              : "";
            found.push({
              pattern: text,
              flags: flags?.type === "Literal" ? String(flags.value) : "",
              built: true,
            });
          },
        }),
      },
    },
  };
  Deno.lint.runPlugin(plugin, path, source);
  return found;
}

/** The pattern without its classes and escapes. */
function withoutClasses(pattern: string): string {
  return pattern.replaceAll(/\\.|\[(?:[^\]\\]|\\.)*\]/gs, "");
}
