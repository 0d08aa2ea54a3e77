/**
 * What people of other mail servers type, out of the tables of docs/guide/from-*.md.
 *
 * @module
 */

/** A row: what was typed there, and what is typed here. */
export interface Habit {
  readonly before: string;
  readonly commands: readonly string[];
}

/** What a row says without a command, or with one that cannot end here. */
const NOT_TYPED = [
  / -f$/,
  /^apt-get /,
  /^mailapp send-test /,
  /^mailapp certificate obtain$/,
  /^systemctl stop …$/,
];

/** What flags of sendmail's need beside them. */
const SENDMAIL: Readonly<Record<string, string>> = {
  "-qI": "-qInone",
  "-qR": "-qRnobody.example",
  "-t": "-t",
  "-oi": "-oi alice@example.com",
  "-R": "-t -R hdrs",
  "-V": "-t -V envelope1",
};

const spans = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);

/** The rows of the table below "Commands". */
export async function habitsOf(page: string): Promise<Habit[]> {
  const text = await Deno.readTextFile(new URL(`../../docs/guide/${page}.md`, import.meta.url));
  const [, table = ""] = /^## Commands\n([^]*?)^## /m.exec(text) ?? [];
  const rows = table.split("\n").filter((line) => line.startsWith("| `")).map((line) =>
    line.slice(2, -2).split(" | ").map((cell) => cell.trim())
  );
  return rows.map(([before = "", after = ""]) => ({
    before,
    commands: [...(/\bthe same\b/.test(after) ? familyOf(spans(before)) : []), ...spans(after)]
      .filter((code) => /^(?:mailapp|systemctl|journalctl|mailq|newaliases|sendmail)\b/.test(code))
      .filter((code) => !NOT_TYPED.some((pattern) => pattern.test(code))),
  }));
}

/** `sendmail -q`, `-qI`: the second is sendmail's, too. */
function familyOf(codes: readonly string[]): string[] {
  return codes.map((code) => code.startsWith("-") ? `sendmail ${SENDMAIL[code] ?? code}` : code);
}
