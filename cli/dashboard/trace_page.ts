/**
 * The page that finds a message, as `mailapp trace` does.
 *
 * @module
 */
import { errorText } from "../../base/error_text.ts";
import { type Story, traceMessages } from "../../observe/message_trace.ts";
import { readQuery, textsOf, timeOfQuery } from "../../observe/trace_query.ts";
import type { QueueView as Listed } from "../../relay/operator.ts";
import type { FoundLog } from "../trace/log_sources.ts";
import { wordsOf } from "../trace/words.ts";
import { detailsOf } from "../command_line/queue_text.ts";
import { type Html, html, number, sender, text, time } from "./html.ts";

/** What the search needs. */
export interface TraceOptions {
  /** The log as it is now. */
  readonly findLog: () => Promise<FoundLog>;
  /** Messages of the queue; rejects when serve-out does not answer. */
  readonly queued: (ids: readonly string[]) => Promise<readonly Listed[]>;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** How far back, as the form offers it. */
const SPANS: Readonly<Record<string, number>> = {
  "1 day": 86_400_000,
  "2 days": 2 * 86_400_000,
  "7 days": 7 * 86_400_000,
  "all of the log": Infinity,
};
const LIMIT = 10;
/** A session begins at most this long before the time in an id. */
const BEFORE = 3 * 3_600_000;
const MAX_WHAT = 500;

/** Finds what the address of the page asks for. */
export async function tracePage(params: URLSearchParams, options: TraceOptions): Promise<Html> {
  const what = (params.get("what") ?? "").slice(0, MAX_WHAT);
  const span = Object.hasOwn(SPANS, params.get("span") ?? "") ? params.get("span") ?? "" : "2 days";
  return html`<form class="row" method="get" action="/trace">
<label>Queue id, session id, Message-ID, address, file of a Maildir, or a line of a bounce
<input class="wide" type="text" name="what" value="${text(what)}" autocomplete="off" required></label>
<label>How far back <select name="span">${
    Object.keys(SPANS).map((name) =>
      html`<option${
        name === span
          ? html`
            selected
          `
          : ""
      }>${name}</option>`
    )
  }</select></label>
<button>Find</button></form>
${what === "" ? "" : await found(what, { ...options, span: SPANS[span] ?? Infinity })}`;
}

async function found(what: string, options: TraceOptions & { readonly span: number }): Promise<Html> {
  const { now, span, findLog, queued } = options;
  const query = readQuery(what);
  if (query === undefined) {
    return html`<p class="notice">This is not an id, Message-ID, address or file of a Maildir, and holds none.</p>`;
  }
  const log = await findLog();
  const named = timeOfQuery(query);
  const since = named === undefined ? Math.max(0, now - span) : named - BEFORE;
  const { stories, more, keptSince, cutOff } = await traceMessages(query, {
    sources: log.sources,
    range: { since, until: Infinity },
    limit: LIMIT,
  });
  const ids = new Set(stories.flatMap(({ ids }) => ids));
  if (query.kind === "id") ids.add(query.text);
  const waiting = await queued([...ids]).catch((error) => errorText(error));
  return html`${log.problems.map((problem) => html`<p class="notice">${text(problem)}</p>`)}
${
    stories.length === 0
      ? html`<p>The log has nothing about ${text(query.text)}${
        named === undefined && span !== Infinity ? " in that time" : ""
      }.</p>`
      : ""
  }
${more === 0 ? "" : html`<p>${number(more)} older ones are not shown.</p>`}
${
    keptSince === undefined
      ? ""
      : html`<p>So many lines match that none from before ${time(keptSince)} is shown.</p>`
  }
${cutOff ? html`<p>These messages have more events than can be shown.</p>` : ""}
${stories.toReversed().map(storyOf)}
${
    typeof waiting === "string"
      ? html`<p class="notice">The queue could not be read: ${text(waiting)}</p>`
      : waiting.map((view) =>
        html`
          <h2>In the queue now</h2>
          <pre>${detailsOf(view)}</pre>
          <p><a href="/queue/${view.entry.id}">What can be done with ${view.entry.id}</a></p>
        `
      )
  }`;
}

/** Events of one message that are shown. */
const MAX_EVENTS = 300;

function storyOf({ ids, sessions, events }: Story): Html {
  const head = events.find(({ event }) => event === "message.accepted") ?? events[0];
  const from = textsOf(head?.fields["from"]).join();
  const name = ids.length > 0 ? `Message ${ids.join(", ")}` : `Session ${sessions.join(", ")}`;
  const about = head?.event === "message.accepted"
    ? html`
      from ${sender(from)} to ${text(textsOf(head.fields["to"]).join(", "))}
    `
    : "";
  return html`<section><h2>${text(name)}${about}</h2><ol class="story">${
    events.slice(0, MAX_EVENTS).map((event) => {
      const [first = "", ...rest] = wordsOf(event).split("\n");
      const { server } = event.fields;
      return html`<li>${time(event.time)} <span class="dim">${
        typeof server === "string" ? text(server) : ""
      }</span> ${text(first)}${rest.map((line) => html`<span class="more">${text(line)}</span>`)}</li>\n`;
    })
  }</ol>${
    events.length > MAX_EVENTS
      ? html`<p>${number(events.length - MAX_EVENTS)} more events: mailapp trace shows them.</p>`
      : ""
  }</section>`;
}
