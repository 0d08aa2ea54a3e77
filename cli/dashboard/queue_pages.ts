/**
 * The pages of the queue, and of what is done with it.
 *
 * @module
 */
import { OPERATOR_ACTIONS, type OperatorAction, type QueueView as Listed } from "../../relay/operator.ts";
import { isOpen } from "../../relay/queue_entry.ts";
import type { QueueFilter } from "../../relay/queue_filter.ts";
import { detailsOf } from "../command_line/queue_text.ts";
import { showSize } from "../command_line/terminal.ts";
import type { Visitor } from "./guard.ts";
import { ago, formToken, type Html, html, number, query, sender, table, text } from "./html.ts";
import { groupTable, queueLine } from "./pages.ts";
import {
  type Job,
  MAX_ROWS,
  type QueueRow,
  type QueueState,
  ROW_ORDERS,
  type RowFilter,
  type RowOrder,
  selectRows,
} from "./queue_view.ts";
import { TopCounts } from "../../base/top_counts.ts";

/** What each action does, and whether it cannot be undone. */
export const ACTIONS: Readonly<Record<OperatorAction, { does: string; done: string; final?: true }>> = {
  retry: { does: "Try again now", done: "retried" },
  hold: { does: "Hold until release", done: "held" },
  release: { does: "Release what is held", done: "released" },
  bounce: { does: "Give up, and notify the sender", done: "given up", final: true },
  remove: { does: "Give up, without a notice", done: "removed", final: true },
};

/** Reasons of a selection that are listed. */
const TOP_REASONS = 10;
/** Messages on one page of the list. */
const PAGE = 50;

/** What the address of the page says. */
export interface QueueQuery extends RowFilter {
  readonly order: RowOrder;
  /** From 1 on. */
  readonly page: number;
  /** Whether messages are listed though there are many. */
  readonly messages: boolean;
}

/** Reads the query of the address. */
export function readQueueQuery(params: URLSearchParams): QueueQuery {
  const given = (name: string) => params.get(name) || undefined;
  const domain = given("domain")?.toLowerCase();
  const from = given("sender")?.replace(/^<(.*)>$/s, "$1");
  const reason = given("reason");
  return {
    ...(domain !== undefined && { domain }),
    ...(from !== undefined && { sender: from }),
    ...(reason !== undefined && { reason }),
    order: ROW_ORDERS.find((order) => order === params.get("order")) ?? "age",
    page: /^[1-9]\d{0,4}$/.test(params.get("page") ?? "") ? Number(params.get("page")) : 1,
    messages: params.get("show") === "messages",
  };
}

/** The queue: groups, and messages a page at a time. */
export function queuePage(
  { state, jobs, asked, visitor, now }: {
    readonly state: QueueState;
    readonly jobs: readonly Job[];
    readonly asked: QueueQuery;
    readonly visitor: Visitor;
    readonly now: number;
  },
): Html {
  const { snapshot } = state;
  return html`${queueLine(state, now)}
${jobs.length === 0 ? "" : jobTable(jobs)}
${filterForm(asked)}
${snapshot === undefined ? "" : messageList(snapshot.rows, { asked, visitor, now })}
${
    snapshot === undefined ? "" : html`
      <h2>Groups</h2>
      <div class="cards">
        <div class="card">${groupTable("domain", snapshot.byDomain.groups.slice(0, 20))}</div>
        <div class="card">${groupTable("sender", snapshot.bySender.groups.slice(0, 20))}</div>
      </div>
      ${groupTable("reason", snapshot.byReason.groups.slice(0, 20))}
    `
  }`;
}

function filterForm({ domain = "", sender, reason = "", order }: QueueQuery): Html {
  return html`<form class="row" method="get" action="/queue">
<label>Domain <input type="text" name="domain" value="${text(domain)}" autocomplete="off"></label>
<label>Sender <input type="text" name="sender" value="${
    sender === "" ? "<>" : text(sender ?? "")
  }" autocomplete="off"></label>
${reason === "" ? "" : html`<label>Reason <input type="text" name="reason" value="${text(reason)}"></label>`}
<label>Order <select name="order">${
    ROW_ORDERS.map((key) =>
      html`<option${
        key === order
          ? html`
            selected
          `
          : ""
      }>${key}</option>`
    )
  }</select></label>
<input type="hidden" name="show" value="messages">
<button>Show</button>${
    domain === "" && sender === undefined && reason === "" ? "" : html`
      <a href="/queue">all</a>
    `
  }</form>`;
}

function messageList(
  rows: readonly QueueRow[],
  { asked, visitor, now }: { readonly asked: QueueQuery; readonly visitor: Visitor; readonly now: number },
): Html {
  const chosen = selectRows(rows, { filter: asked, order: asked.order });
  if (chosen.length === 0) return html`<p class="none">No matching messages.</p>`;
  const pages = Math.ceil(chosen.length / PAGE);
  const page = Math.min(asked.page, pages);
  const shown = chosen.slice((page - 1) * PAGE, page * PAGE);
  const { domain, sender: from, reason } = asked;
  // An action on all of them goes by domain and sender, as the command's options do.
  const all = reason === undefined && (domain !== undefined || from !== undefined);
  return html`${domain === undefined && from === undefined ? "" : reasonTable(chosen, asked)}
    <h2>Messages</h2>
<form method="post" action="/queue/confirm">${formToken(visitor)}
${domain === undefined ? "" : html`<input type="hidden" name="domain" value="${domain}">`}
${from === undefined ? "" : html`<input type="hidden" name="sender" value="<${from}>">`}
${
    table(
      `Messages ${number((page - 1) * PAGE + 1)} to ${number((page - 1) * PAGE + shown.length)} of ${
        number(chosen.length)
      }${rows.length === MAX_ROWS ? " (the first of a longer queue)" : ""}`,
      ["message", "choose", "accepted", "from", "to", "size", "attempts", "next", "why"],
      shown.map((row) => [
        html`<a href="/queue/${row.id}">${row.id}</a>`,
        html`<input type="checkbox" name="id" value="${row.id}" aria-label="choose ${row.id}">`,
        ago(row.acceptedAt, now),
        sender(row.sender),
        html`${text(row.recipient)}${row.recipients > 1 ? ` and ${row.recipients - 1} more` : ""}`,
        showSize(row.size),
        String(row.attempts),
        html`${row.next === Infinity ? "held" : row.next <= now ? "now" : ago(row.next, now)}${
          row.host === undefined ? "" : html`
            on ${text(row.host)}
          `
        }`,
        text(row.reasons.join("; ")),
      ]),
    )
  }
${pager(asked, page, pages)}
<fieldset class="row"><legend>What to do; it is asked again before it is done</legend>
${
    all
      ? html`<p><label><input type="radio" name="scope" value="ids" checked> with the chosen messages</label>
<label><input type="radio" name="scope" value="all"> with all ${number(chosen.length)} that match</label></p>`
      : html`<input type="hidden" name="scope" value="ids">`
  }
${actionButtons()}</fieldset></form>`;
}

function actionButtons(): Html[] {
  return OPERATOR_ACTIONS.map((action) =>
    html`
      <button name="action" value="${action}" ${ACTIONS[action].final
        ? html`
          class="danger"
        `
        : ""}>${ACTIONS[action].does}</button>
    `
  );
}

/** Why the chosen messages wait, most often first. */
function reasonTable(chosen: readonly QueueRow[], { domain, sender: from }: QueueQuery): Html {
  const counts = new TopCounts();
  for (const { reasons } of chosen) for (const reason of reasons) counts.add(reason);
  return table(
    "Why these messages wait",
    ["reason", "messages"],
    counts.top(TOP_REASONS).map(({ name, count }) => [
      html`<a href="/queue${
        query({
          domain,
          sender: from === undefined ? undefined : `<${from}>`,
          reason: name,
          show: "messages",
        })
      }">${text(name)}</a>`,
      number(count),
    ]),
  );
}

function pager(asked: QueueQuery, page: number, pages: number): Html | string {
  if (pages <= 1) return "";
  const { domain, sender: from, reason, order } = asked;
  const to = (number: number, name: string) =>
    html`
      <a href="/queue${query({
        domain,
        sender: from === undefined ? undefined : `<${from}>`,
        reason,
        order,
        show: "messages",
        page: number,
      })}">${name}</a>
    `;
  return html`
    <nav aria-label="Pages of the list">
      <p>Page ${page} of ${pages}: ${page > 1
        ? html`${to(1, "first")}${to(page - 1, "previous")}`
        : ""}${page < pages ? html`${to(page + 1, "next")}${to(pages, "last")}` : ""}</p>
    </nav>
  `;
}

function jobTable(jobs: readonly Job[]): Html {
  return table(
    "Latest actions of this page",
    ["what", "by", "state", "messages", "recipients", "left alone"],
    jobs.slice(0, 5).map(({ action, what, by, state, messages, recipients, leftAlone, problem }) => [
      text(`${action}: ${what}`),
      text(by),
      html`${state}${problem === undefined ? "" : html`: <strong class="bad">${text(problem)}</strong>`}`,
      number(messages),
      number(recipients),
      number(leftAlone),
    ]),
  );
}

/** One message, with every attempt. */
export function messagePage(view: Listed, visitor: Visitor): Html {
  const { id, recipients } = view.entry;
  return html`<pre>${text1(detailsOf(view))}</pre>
<p><a href="/trace${query({ what: id })}">Trace ${id} in the log</a></p>
${
    recipients.some(isOpen)
      ? html`<form method="post" action="/queue/confirm">${formToken(visitor)}
<input type="hidden" name="scope" value="ids"><input type="hidden" name="id" value="${id}">
${actionButtons()}</form>`
      : ""
  }`;
}

/** Longest description of a message that is shown, in characters. */
const MAX_DETAILS = 200_000;

/** Lines that are printable already. */
function text1(details: string): string {
  return details.length > MAX_DETAILS ? `${details.slice(0, MAX_DETAILS)}…` : details;
}

/** What a form asks to be done. */
export interface Wanted {
  readonly action: OperatorAction;
  readonly filter: QueueFilter;
  /** In words. */
  readonly what: string;
}

const MAX_IDS = 1_000;

/** Reads the form; a sentence where something is missing. */
export function readWanted(form: URLSearchParams): Wanted | string {
  const action = OPERATOR_ACTIONS.find((action) => action === form.get("action"));
  if (action === undefined) return "There is no such action.";
  const domain = form.get("domain") || undefined;
  const from = form.get("sender")?.replace(/^<(.*)>$/s, "$1");
  if (form.get("scope") === "all") {
    if (domain === undefined && from === undefined) return "Choose a domain or a sender first.";
    const parts = [
      ...(domain === undefined ? [] : [`to ${domain}`]),
      ...(from === undefined ? [] : [`from ${from || "<>"}`]),
    ];
    return {
      action,
      filter: { ...(domain !== undefined && { domain }), ...(from !== undefined && { sender: from }) },
      what: `all messages ${parts.join(" ")}`,
    };
  }
  const ids = [...new Set(form.getAll("id"))];
  if (ids.length === 0) return "Choose a message first.";
  if (ids.length > MAX_IDS || ids.some((id) => !/^[A-Za-z0-9]{1,40}$/.test(id))) return "These are not ids.";
  return {
    action,
    // Only recipients of the domain that was looked at.
    filter: { ids, ...(domain !== undefined && { domain }) },
    what: `${ids.length === 1 ? `message ${ids[0]}` : `${ids.length} messages`}${
      domain === undefined ? "" : `, recipients in ${domain}`
    }`,
  };
}

/** Asks whether it shall be done. */
export function confirmPage({ action, filter, what }: Wanted, visitor: Visitor): Html {
  const { does, final } = ACTIONS[action];
  return html`<p><b>${does}</b>: ${text(what)}.${final ? " This cannot be undone." : ""}</p>
<form method="post" action="/queue/act">${formToken(visitor)}
<input type="hidden" name="action" value="${action}">
<input type="hidden" name="scope" value="${filter.ids === undefined ? "all" : "ids"}">
${filter.domain === undefined ? "" : html`<input type="hidden" name="domain" value="${filter.domain}">`}
${filter.sender === undefined ? "" : html`<input type="hidden" name="sender" value="<${filter.sender}>">`}
${(filter.ids ?? []).map((id) => html`<input type="hidden" name="id" value="${id}">`)}
<button${
    final
      ? html`
        class="danger"
      `
      : ""
  }>Yes, do it</button> <a href="/queue">No</a></form>`;
}
