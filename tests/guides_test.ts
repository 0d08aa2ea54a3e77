// What README.md and the documentation tell people to type and to look up: it is there.
import assert from "node:assert/strict";
import { Command, CommanderError } from "commander";
import { SUBCOMMANDS } from "../cli/command_line/command_line.ts";
import { parseSendmailOptions } from "../cli/sendmail/options.ts";
import deno from "../deno.json" with { type: "json" };

const ROOT = new URL("../", import.meta.url);

interface Page {
  readonly url: URL;
  readonly text: string;
}

async function readPages(): Promise<Page[]> {
  const urls = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map((name) =>
    new URL(name, ROOT)
  );
  for (const directory of [new URL("docs/", ROOT), new URL("docs/guide/", ROOT)]) {
    for await (const { name } of Deno.readDir(directory)) {
      if (name.endsWith(".md")) urls.push(new URL(name, directory));
    }
  }
  return await Promise.all(urls.map(async (url) => ({ url, text: await Deno.readTextFile(url) })));
}

/** Those that say what to do, not how it is made. */
async function readGuides(): Promise<Page[]> {
  return (await readPages()).filter((page) => /^(?:README\.md|docs\/guide\/.*)$/.test(nameOf(page)));
}

function nameOf({ url }: Page): string {
  return url.href.slice(ROOT.href.length);
}

const FENCE = /^( *)```(\w*)\n([^]*?)^\1```$/gm;

/** Code within the text; where it was wrapped, in one line. */
function inlineCode({ text }: Page): string[] {
  return [...text.replace(FENCE, "").matchAll(/`([^`]+)`/g)].map(([, code = ""]) =>
    code.replace(/\s+/g, " ")
  );
}

/** The commands of a shell that a page shows, as words, without their comments. */
function shellCommands(page: Page): string[][] {
  const blocks = [...page.text.matchAll(FENCE)].flatMap(([, , language = "", code = ""]) =>
    ["sh", "console"].includes(language) ? code.split("\n") : []
  );
  return [...blocks, ...inlineCode(page)]
    .flatMap((line) => line.replace(/(^|\s)#.*$/, "").split(/&&|[|;]/))
    .map((command) =>
      (command.match(/'[^']*'|"[^"]*"|[^\s'"]+/g) ?? []).map((word) => word.replace(/^(['"])(.*)\1$/, "$2"))
    );
}

/** Arguments of mailapp, where this runs it: not where it is named alone, as an account or a file. */
function mailappArguments(words: readonly string[]): string[] | undefined {
  const at = words.findIndex((word) => /^(?:\.\/|dist\/|\/usr\/local\/bin\/)?mailapp$/.test(word));
  const before = words.slice(0, at).join(" ");
  if (at < 0 || !/^(?:sudo(?: -u \S+)?|deno task|setpriv .*|)$/.test(before)) return undefined;
  const args = words.slice(at + 1).filter((word) => word !== "…" && word !== "--");
  return args.length === 0 ? undefined : args;
}

/** Why mailapp would not take these arguments; runs nothing. */
async function refusal(args: readonly string[]): Promise<string | undefined> {
  const [name = "", ...rest] = args.map((arg) => arg === "SERVER" ? "serve-in" : arg);
  try {
    if (name === "sendmail") {
      parseSendmailOptions(rest);
      return undefined;
    }
    let said = "";
    const program = new Command("mailapp").version("", "-V, --version").exitOverride()
      .configureOutput({ writeOut: () => {}, writeErr: (text) => said += text });
    const nothing = {
      io: { env: { get: () => undefined } } as never,
      action: () => () => Promise.resolve(),
      describeProgram: () => Promise.reject(new Error("not here")),
    };
    const load = Object.hasOwn(SUBCOMMANDS, name) ? SUBCOMMANDS[name] : undefined;
    (await load?.())?.(program, nothing);
    if (load === undefined && !name.startsWith("-")) return "there is no such command";
    try {
      await program.parseAsync([name, ...rest], { from: "user" });
    } catch (error) {
      if (!(error instanceof CommanderError) || error.exitCode !== 0) return said || String(error);
    }
    return undefined;
  } catch (error) {
    return String(error);
  }
}

function slug(heading: string): string {
  return heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").trim().replaceAll(" ", "-");
}

Deno.test("each command line of mailapp in the guides is one that it takes", async () => {
  assert.match(await refusal(["queue", "lst"]) ?? "", /lst|list/);
  assert.match(await refusal(["doctor", "--jsn"]) ?? "", /--json/);
  assert.match(await refusal(["check-message"]) ?? "", /missing/);
  assert.equal(await refusal(["nothing"]), "there is no such command");
  const refused: string[] = [];
  let count = 0;
  for (const page of await readGuides()) {
    const commands = shellCommands(page).map(mailappArguments);
    // Tables name them without the program.
    const short = inlineCode(page).map((code) => code.split(" "))
      .filter((words) => words.length > 1 && Object.hasOwn(SUBCOMMANDS, words[0] ?? ""));
    for (const args of [...commands, ...short]) {
      if (args === undefined) continue;
      count++;
      const reason = await refusal(args);
      if (reason !== undefined) refused.push(`${nameOf(page)}: mailapp ${args.join(" ")}: ${reason}`);
    }
  }
  assert.deepEqual(refused, []);
  assert.ok(count > 60, `${count} command lines were found`);
});

Deno.test("each task in the documentation is one of deno.json", async () => {
  const missing = (await readPages()).flatMap((page) =>
    shellCommands(page).flatMap(([program, command, task = ""]) =>
      program === "deno" && command === "task" && task !== "" && !Object.hasOwn(deno.tasks, task)
        ? [`${nameOf(page)}: deno task ${task}`]
        : []
    )
  );
  assert.deepEqual(missing, []);
});

Deno.test("each link in the documentation leads to a file, and to a heading in it", async () => {
  const broken: string[] = [];
  for (const page of await readPages()) {
    for (const [, target = ""] of page.text.replace(FENCE, "").matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const url = new URL(target, page.url);
      const fragment = decodeURIComponent(url.hash.slice(1));
      url.hash = "";
      const text = await Deno.stat(url).then(
        ({ isFile }) => isFile ? Deno.readTextFile(url) : "",
        () => undefined,
      );
      const headings = [...(text ?? "").matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => slug(heading));
      if (text === undefined || (fragment !== "" && !headings.includes(fragment))) {
        broken.push(`${nameOf(page)}: ${target}`);
      }
    }
  }
  assert.deepEqual(broken, []);
});

Deno.test("docs/README.md is an index of all pages", async () => {
  const pages = await readPages();
  const index = pages.find((page) => nameOf(page) === "docs/README.md");
  assert.ok(index !== undefined);
  const listed = [...index.text.matchAll(/\]\(([^)#\s]+)/g)].map(([, target = ""]) =>
    new URL(target, index.url).href
  );
  const missing = pages.filter((page) => page !== index && !listed.includes(page.url.href)).map(nameOf);
  assert.deepEqual(missing.sort(), []);
});

Deno.test("each file of ours that the guides name is there", async () => {
  const missing: string[] = [];
  for (const page of await readPages()) {
    for (const code of inlineCode(page)) {
      if (!/^(?:tests|docs|bench|build|cli|smtp|relay)\/[\w./-]+\.(?:ts|md|txt|sh)$/.test(code)) continue;
      if (!await Deno.stat(new URL(code, ROOT)).then(() => true, () => false)) {
        missing.push(`${nameOf(page)}: ${code}`);
      }
    }
  }
  assert.deepEqual(missing, []);
});

Deno.test("each event of the log that the guides name is in docs/logs.md", async () => {
  const logs = await Deno.readTextFile(new URL("docs/logs.md", ROOT));
  const events = [...logs.matchAll(/`([a-z]+(?:\.[a-z_]+)+)`/g)].flatMap(([, event]) => event ?? []);
  const families = new Set(events.map((event) => event.split(".")[0]));
  const named = (await readGuides()).flatMap((page) =>
    inlineCode(page)
      .filter((code) => /^[a-z]+(?:\.[a-z_]+)+$/.test(code) && families.has(code.split(".")[0]))
      .filter((code) => !/\.(?:ts|md|toml|sh|com)$/.test(code))
      .map((event) => ({ event, where: `${nameOf(page)}: ${event}` }))
  );
  assert.deepEqual(named.filter(({ event }) => !events.includes(event)).map(({ where }) => where), []);
  assert.ok(named.length >= 8, `${named.length} events were found`);
});

Deno.test("each setting that the guides name is in config.example.toml", async () => {
  const sections = new Map<string, string>();
  const example = await Deno.readTextFile(new URL("config.example.toml", ROOT));
  for (const section of `[]\n${example}`.split(/^(?:# )?(?=\[[\w.-]*\])/m)) {
    const [, name = ""] = /^\[([\w.-]*)\]/.exec(section) ?? [];
    sections.set(name, section);
  }
  const has = (section: string, key: string) =>
    new RegExp(`^(?:# )?${key} = `, "m").test(sections.get(section) ?? "");
  assert.ok(has("", "hostname") && has("serve-in", "domains") && has("serve-out.timeouts", "connect"));
  assert.ok(!has("serve-in", "domain") && !has("nothing", "domains"));
  let count = 0;
  const missing = (await readGuides()).flatMap((page) =>
    inlineCode(page).flatMap((code) => {
      const [, section, key] = /^\[([\w.-]+)\](?: (\w+))?(?: = .*)?$/.exec(code) ?? [];
      if (section === undefined || /^[A-Z]/.test(section)) return [];
      count++;
      const known = key === undefined ? sections.has(section) : has(section, key);
      return known ? [] : [`${nameOf(page)}: ${code}`];
    })
  );
  assert.deepEqual(missing, []);
  assert.ok(count > 40, `${count} settings were found`);
});
