/**
 * Building blocks of the pages: text from outside, times, charts, the frame of a page.
 *
 * @module
 */
import { html } from "hono/html";
import { printable, showDuration, showTime } from "../command_line/terminal.ts";
import type { Visitor } from "./guard.ts";
import type { Span } from "./log_view.ts";
import type { Figures } from "../status/log_figures.ts";

/** A piece of a page. */
export type Html = ReturnType<typeof html>;

export { html };

/** Longest text from outside that is shown, in characters. */
const MAX_TEXT = 1_000;

/** Text from outside, for `html` to escape: without what moves or turns other text, and bounded. */
export function text(value: string): string {
  const shown = value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value;
  return printable(shown.toWellFormed());
}

/** A sender; the null one as it is written. */
export function sender(address: string): string {
  return address === "" ? "<>" : text(address);
}

/** A moment in UTC, readable by programs, too. */
export function time(ms: number): Html {
  return html`<time datetime="${new Date(ms).toISOString()}">${showTime(ms)}</time>`;
}

/** A moment as a distance from now. */
export function ago(ms: number, now: number): Html {
  const away = ms <= now ? `${showDuration(now - ms)} ago` : `in ${showDuration(ms - now)}`;
  return html`<time datetime="${new Date(ms).toISOString()}" title="${showTime(ms)}">${away}</time>`;
}

/** A number with thin spaces between thousands. */
export function number(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 20 }).replaceAll(",", "\u202f");
}

/** A query string, without what is empty. */
export function query(fields: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(fields).flatMap(([name, value]) =>
    value === undefined || value === "" ? [] : [[name, String(value)]]
  );
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}

/** A table; the first cell of each row is its heading. */
export function table(
  caption: string,
  columns: readonly string[],
  rows: readonly (readonly (Html | string)[])[],
): Html {
  if (rows.length === 0) return html`<p class="none">${caption}: none</p>`;
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="${caption}">
      <table>
        <caption>${caption}</caption>
        <thead>
          <tr>${columns.map((column) => html`<th scope="col">${column}</th>`)}</tr>
        </thead>
        <tbody>${rows.map(([first, ...cells]) =>
          html`<tr><th scope="row">${first}</th>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>\n`
        )}</tbody>
      </table>
    </div>
  `;
}

/** A line of a chart: its name and the figures summed up in it. */
export interface Series {
  readonly name: string;
  readonly keys: readonly (keyof Figures)[];
}

const WIDTH = 600;
const HEIGHT = 80;

/** Bars for each span, and the same as a table for those who cannot see them. */
export function chart(title: string, { spans, series }: {
  readonly spans: readonly Span[];
  readonly series: readonly Series[];
}): Html {
  const values = spans.map(({ figures }) =>
    series.map(({ keys }) => keys.reduce((sum, key) => sum + figures[key], 0))
  );
  const most = Math.max(1, ...values.map((stack) => stack.reduce((sum, value) => sum + value, 0)));
  const wide = WIDTH / Math.max(1, spans.length);
  const bars = values.flatMap((stack, index) => {
    let top = HEIGHT;
    return stack.flatMap((value, place) => {
      if (value === 0) return [];
      const high = Math.max(1, value / most * HEIGHT);
      top -= high;
      return [
        html`
          <rect class="s${place}" x="${(index * wide + 0.5).toFixed(1)}" y="${top.toFixed(1)}" width="${Math
            .max(1, wide - 1).toFixed(1)}" height="${high.toFixed(1)}" />
        `,
      ];
    });
  });
  const totals = series.map((_, place) => values.reduce((sum, stack) => sum + (stack[place] ?? 0), 0));
  const said = series.map(({ name }, place) => `${name} ${number(totals[place] ?? 0)}`).join(", ");
  const first = spans[0]?.at ?? 0;
  return html`
    <figure>
      <figcaption>${title}: ${series.map(({ name }, place) =>
        html`
          <span class="key s${place}" aria-hidden="true"></span> ${name} <b>${number(totals[place] ?? 0)}</b>
        `
      )}<span class="dim">at most ${number(most)}</span></figcaption>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img"
        aria-label="${title}: ${said}">${bars}</svg>
      <div class="axis" aria-hidden="true"><span>${showTime(first).slice(
        11,
        16,
      )} UTC</span><span>now</span></div>
    </figure>
  `;
}

/** A page. */
export interface Page {
  readonly title: string;
  /** The path of its entry in the navigation. */
  readonly at: string;
  readonly body: Html;
  /** Whether the script renews it. */
  readonly live?: true;
}

const ENTRIES: readonly (readonly [path: string, title: string])[] = [
  ["/", "Overview"],
  ["/queue", "Queue"],
  ["/refused", "Refused"],
  ["/traffic", "Traffic"],
  ["/trace", "Find a message"],
  ["/reports", "Reports"],
  ["/health", "Health"],
];

/** The whole document. */
export function document(
  { title, at, body, live }: Page,
  { visitor, hostname }: { readonly visitor?: Visitor | undefined; readonly hostname: string },
): Html {
  return html`
    <!DOCTYPE html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>${title} – ${hostname}</title>
        <link rel="stylesheet" href="/style.css">
        <link rel="icon" href="data:,">
        <script src="/script.js" defer></script>
      </head>
      <body>
        <a class="skip" href="#main">Skip to the content</a>
        <header>
    <p class="name"><b>mailapp</b> ${hostname}</p>
    ${visitor === undefined ? "" : html`
      <nav aria-label="Pages">
        <ul>${ENTRIES.map(([path, name]) =>
          html`<li><a href="${path}"${
            path === at
              ? html`
                aria-current="page"
              `
              : ""
          }>${name}</a></li>`
        )}</ul>
      </nav>
      <form method="post" action="/logout">${formToken(visitor)}<button class="quiet">Log out ${visitor
        .who}</button></form>
    `}
        </header>
        <main id="main" tabindex="-1" ${live
          ? html`
            data-live
          `
          : ""}>
    <h1>${title}</h1>
    ${body}
        </main>
      </body>
    </html>
  `;
}

/** The hidden field that each form must have. */
export function formToken({ formToken }: Visitor): Html {
  return html`<input type="hidden" name="form_token" value="${formToken}">`;
}
