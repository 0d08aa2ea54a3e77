import assert from "node:assert/strict";
import { relative } from "@std/path";

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

const ROOT = new URL("..", import.meta.url).pathname;
const ROOMS =
  /^(?:arc|base|checks|cli|config|dkim|dmarc|dns|doctor|maildir|message|net|observe|relay|sasl|server|smtp|spf|storage|tls)$/;

async function* sources(directory: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    const path = `${directory}${directory.endsWith("/") ? "" : "/"}${name}`;
    if (isDirectory) {
      if (directory !== ROOT || ROOMS.test(name)) yield* sources(path);
    } else if (/\.ts$/.test(name) && !/_test\.ts$|\.d\.ts$/.test(name)) yield path;
  }
}

interface Expression {
  readonly pattern: string;
  readonly flags: string;
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
            if (regex) found.push(regex);
          },
          NewExpression({ callee, arguments: [pattern, flags] }) {
            if (callee.type !== "Identifier" || callee.name !== "RegExp" || pattern === undefined) return;
            const text = pattern.type === "TaggedTemplateExpression"
              ? pattern.quasi.quasis.map(({ raw }) => raw).join("")
              : "";
            found.push({ pattern: text, flags: flags?.type === "Literal" ? String(flags.value) : "" });
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
