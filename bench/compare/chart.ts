/**
 * The drawing of a comparison, in SVG: for each row a bar for each server, in proportion to the fastest of the row.
 *
 * @module
 */
import { figure } from "../statistics.ts";
import { WORKS } from "./peer.ts";
import { OURS, rateOf, type Report, type Result, type RowReport } from "./report.ts";
import { WORK_TITLES } from "./table.ts";

const WIDTH = 900;
const LABEL = 270;
const NAME = 80;
const BARS = WIDTH - LABEL - NAME - 70;
const BAR = 12;
const GAP = 12;
const HEADING = 34;
const COLOURS = { ours: "#0b6bcb", durable: "#7a8794", volatile: "#d3d9df" };

/** A drawing that stands by itself, on white. */
export function chart(report: Report): string {
  const parts: string[] = [];
  let y = 10;
  const text = (
    at: number,
    words: string,
    { size = 12, weight = 400, anchor = "start" }: { size?: number; weight?: number; anchor?: string } = {},
  ) =>
    `<text x="${
      Math.round(at)
    }" y="${y}" font-size="${size}" font-weight="${weight}" text-anchor="${anchor}">${
      escapeXml(words)
    }</text>`;
  for (const work of WORKS) {
    const rows = report.rows.filter((row) => row.work === work && row.results.length > 0);
    if (rows.length === 0) continue;
    y += HEADING - 14;
    parts.push(text(8, `${WORK_TITLES[work]}, messages a second`, { size: 14, weight: 600 }));
    y += 14;
    for (const row of rows) {
      const fastest = Math.max(...row.results.map((result) => rateOf(row, result)));
      const top = y;
      y = top + row.results.length * BAR / 2 + 8;
      parts.push(text(LABEL - 12, row.title, { anchor: "end" }));
      y = top;
      for (const result of row.results) {
        const rate = rateOf(row, result);
        const width = Math.max(1, BARS * rate / fastest);
        y += BAR;
        parts.push(
          text(LABEL + NAME - 6, result.server, { size: 10, anchor: "end" }),
          `<rect x="${LABEL + NAME}" y="${y - 9}" width="${width.toFixed(1)}" height="${BAR - 2}" fill="${
            colourOf(result)
          }"/>`,
          text(LABEL + NAME + width + 5, figure(rate), { size: 10 }),
        );
      }
      y += GAP;
    }
  }
  y += 16;
  parts.push(text(8, legend(report), { size: 11 }));
  const height = y + 12;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ` +
    `font-family="system-ui, sans-serif" fill="#1d2630" role="img">\n<title>${
      escapeXml(titleOf(report))
    }</title>\n` +
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>\n${parts.join("\n")}\n</svg>\n`;
}

function colourOf({ server, synced }: Result): string {
  if (server === OURS) return COLOURS.ours;
  return synced === "nothing" ? COLOURS.volatile : COLOURS.durable;
}

function legend(report: Report): string {
  const volatile = new Set(
    report.rows.flatMap(({ results }: RowReport) =>
      results.filter(({ synced }) => synced === "nothing").map(({ server }) => server)
    ),
  );
  const pale = volatile.size === 0
    ? ""
    : ` Pale: nothing is synced to disk before the 250 (${[...volatile].join(", ")}).`;
  return `Bars are in proportion within a row.${pale}`;
}

function titleOf({ date, machine, servers }: Report): string {
  return `${servers.map(({ name, version }) => `${name} ${version}`).join(", ")}; ${
    date.slice(0, 10)
  }, ${machine.cores} cores`;
}

function escapeXml(text: string): string {
  return text.replace(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
