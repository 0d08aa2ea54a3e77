/**
 * All events of the log: docs/logs.md, `mailapp trace` and the metrics are based on this table.
 *
 * @module
 */
import type { LogLevel } from "../base/log.ts";
import { ACCOUNT_EVENTS, CHECK_EVENTS, MAILBOX_EVENTS, SESSION_EVENTS } from "./events/incoming.ts";
import { MAILDROP_EVENTS, OWN_POLICY_EVENTS, POLICY_EVENTS, SENDING_EVENTS } from "./events/sending.ts";
import { CERTIFICATE_EVENTS, LOG_EVENTS, PROBLEM_EVENTS, PROCESS_EVENTS } from "./events/servers.ts";

/** The levels of an event, as text: one, or several with commas where it depends. */
export type EventLevels = LogLevel | `${LogLevel}, ${LogLevel}`;

/**
 * An event: its name (`.*` at the end stands for several), its levels, its fields and what it means, both in Markdown.
 */
export type EventRow = readonly [name: string, levels: EventLevels, fields: string, means: string];

/** Events that belong together. */
export interface EventGroup {
  /** The heading. */
  readonly title: string;
  /** Markdown below the heading. */
  readonly intro?: string;
  /** In the order of explanation: a row may refer to the one before. */
  readonly events: readonly EventRow[];
  /** A further table after it. */
  readonly more?: { readonly columns: readonly string[]; readonly rows: readonly (readonly string[])[] };
}

/** All events. */
export const EVENT_GROUPS: readonly EventGroup[] = [
  LOG_EVENTS,
  CERTIFICATE_EVENTS,
  PROCESS_EVENTS,
  PROBLEM_EVENTS,
  ACCOUNT_EVENTS,
  SESSION_EVENTS,
  MAILBOX_EVENTS,
  CHECK_EVENTS,
  SENDING_EVENTS,
  MAILDROP_EVENTS,
  POLICY_EVENTS,
  OWN_POLICY_EVENTS,
];

/** The row of an event, by its name in the log. */
export function eventOf(name: string): EventRow | undefined {
  return byName.get(name) ?? byName.get(name.replace(/\.[^.]*$/, ".*"));
}

/** The rows by name. */
const byName: ReadonlyMap<string, EventRow> = new Map(
  EVENT_GROUPS.flatMap(({ events }) => events.map((row) => [row[0], row] as const)),
);

/** The text below "Events" in docs/logs.md, before `deno fmt`. */
export function eventsPage(): string {
  return EVENT_GROUPS.map(({ title, intro, events, more }) =>
    [
      `### ${title}\n`,
      ...(intro === undefined ? [] : [`${intro}\n`]),
      table(
        ["event", "level", "fields", "means"],
        events.map(([name, ...rest]) => [`\`${name}\``, ...rest]),
      ),
      ...(more === undefined ? [] : [`\n${table(more.columns, more.rows)}`]),
    ].join("\n")
  ).join("\n\n");
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(columns), line(columns.map(() => "---")), ...rows.map(line)].join("\n");
}
