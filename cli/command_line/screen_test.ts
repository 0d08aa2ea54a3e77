// deno-lint-ignore-file no-control-regex
import assert from "node:assert/strict";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { recordingIo } from "../../tests/support/in_process.ts";
import { coloured, fitted, Screen } from "./screen.ts";
const plain = (text: string) => text.replaceAll(/\u001b\[\d+m/g, "");

function fakeIo(
  { env = {}, columns, isTerminal = true }: {
    readonly env?: Readonly<Record<string, string>>;
    readonly columns?: number;
    readonly isTerminal?: boolean;
  } = {},
) {
  return recordingIo({
    env: { get: (name) => env[name] },
    isTerminal,
    ...(columns !== undefined && { columns: () => columns }),
  });
}

Deno.test("fitted() breaks lines between words, and indents what follows", () => {
  const text = "FAILURE: mx example.com: its MX leads to another machine, which takes none of it\n" +
    "    → Publish the record that mailapp dns prints, and wait for an hour\nshort\n";
  assert.equal(
    fitted(text, 50),
    "FAILURE: mx example.com: its MX leads to another\n    machine, which takes none of it\n" +
      "    → Publish the record that mailapp dns prints,\n      and wait for an hour\nshort\n",
  );
  for (const columns of [40, 60, 80, 133]) {
    const lines = fitted(text, columns).split("\n");
    assert.ok(lines.every((line) => line.length <= columns), lines.join("\n"));
    assert.equal(lines.join(" ").replaceAll(/\s+/g, " "), text.replaceAll(/\s+/g, " "));
  }
  const path = `/var/mail/${"x".repeat(100)}`;
  assert.ok(fitted(`stored in ${path} just now`, 80).split(/\s+/).includes(path), "a word stays whole");
});

Deno.test("coloured() repeats what a word says, and changes no other character", () => {
  const text = "FAILURE: a: b\nWARNING: a: b\nok: a: b\nok, 1 warning\nok\nnot ok: 1 error\n! it is full\n" +
    "serve-in      up, since\nserve-out     DOWN, about\nnobody is ok\n  error: indented\n";
  const lines = coloured(text).split("\n");
  assert.equal(plain(coloured(text)), text);
  assert.deepEqual(
    lines.map((line) => /\u001b\[3(\d)m/.exec(line)?.[1] ?? "-").join(""),
    "132221321---",
  );
});

Deno.test("a Screen has colours and wraps on a terminal only, and no colours where NO_COLOR says so", () => {
  const line = `FAILURE: storage /var/lib/mailapp: ${"word ".repeat(20)}end\n`;
  const shown = (words: readonly string[], options: Parameters<typeof fakeIo>[0]) => {
    const { io, written } = fakeIo(options);
    using screen = new Screen(words, { io, clock: new FakeClock() });
    screen.out(line);
    return written.out;
  };
  assert.equal(shown(["doctor"], {}), line, "a pipe gets it as it is");
  assert.match(shown(["doctor"], { columns: 80 }), /^\u001b\[31mFAILURE\u001b\[0m: /);
  for (const env of [{ NO_COLOR: "1" }, { TERM: "dumb" }]) {
    assert.equal(shown(["doctor"], { columns: 80, env }), fitted(line, 80));
  }
  assert.equal(plain(shown(["doctor"], { columns: 80, env: { NO_COLOR: "" } })), fitted(line, 80));
  // Records and settings are pasted elsewhere.
  for (const command of ["dns", "config", "dkim"]) assert.equal(shown([command], { columns: 80 }), line);
});

Deno.test("a Screen shows on a terminal that a silent command is at work, and takes it away", async () => {
  const clock = new FakeClock();
  const { io, written } = fakeIo();
  {
    using screen = new Screen(["trace", "a@b.example"], { io, clock });
    await clock.advance(900);
    assert.equal(written.err, "");
    await clock.advance(2200);
    assert.match(written.err, /mailapp trace … 1 s\r\u001b\[Kmailapp trace … 2 s[^]*3 s$/);
    screen.out("found\n");
    assert.ok(written.err.endsWith("\r\u001b[K"));
    written.err = "";
    await clock.advance(900);
    assert.equal(written.err, "");
  }
  assert.equal(clock.pending, 0);
  for (
    const [words, isTerminal] of [
      [["trace", "a@b.example", "--follow"], true],
      [["doctor", "--login", "alice@example.com"], true],
      [["init"], true],
      [["trace", "a@b.example"], false],
    ] as const
  ) {
    const quiet = fakeIo({ isTerminal });
    using _screen = new Screen(words, { io: quiet.io, clock });
    await clock.advance(5000);
    assert.equal(quiet.written.err, "", words.join(" "));
  }
});
