/**
 * The pages that only show.
 *
 * @module
 */
import { showDuration, showSize } from "../command_line/terminal.ts";
import type { Finding } from "../../doctor/finding.ts";
import type { SavedFindings } from "../../doctor/saved_findings.ts";
import { byOutcome, LABELS } from "../command_line/findings_text.ts";
import { sumOf } from "../status/log_figures.ts";
import { wordsOf } from "../trace/words.ts";
import { ago, chart, type Html, html, number, query, sender, table, text, time } from "./html.ts";
import { DELAYS, type LogView, type Notable } from "./log_view.ts";
import type { MachineState, ServerState } from "./machine.ts";
import { HISTOGRAMS } from "./metrics.ts";
import type { Count } from "../../base/top_counts.ts";
import type { QueueState } from "./queue_view.ts";
import { textsOf } from "../../observe/trace_query.ts";
import type { QueueGroup } from "../command_line/queue_summary.ts";

const TOP = 10;
const TOP_LONG = 25;
/** A certificate that ends sooner is a problem, in milliseconds. */
const CERTIFICATE_SOON = 14 * 86_400_000;

/** What pages are made of. */
export interface Seen {
  readonly log: LogView;
  readonly machine: MachineState;
  readonly queue: QueueState;
  /** Sentences about parts of the log that cannot be read. */
  readonly logProblems: readonly string[];
  readonly now: number;
}

/** The first page: is it healthy, how much, what fails. */
export function overview({ log, machine, queue, logProblems, now }: Seen): Html {
  const { minutes, hours } = log;
  const problems = problemsOf({ log, machine, queue, logProblems, now });
  const today = sumOf(hours.slice(24).map(({ figures }) => figures));
  const yesterday = sumOf(hours.slice(0, 24).map(({ figures }) => figures));
  const lately = sumOf(minutes.slice(-6, -1).map(({ figures }) => figures));
  const rate = (count: number) => (count / 5).toFixed(1);
  const keys = ["stored", "submitted", "refused", "relayed", "deferred", "failed", "sessions"] as const;
  const logins = {
    "logged in": "loginsAccepted",
    "refused": "loginsRefused",
    "put off": "loginsPutOff",
    "pauses": "loginPauses",
    "at a limit": "loginsLimited",
  } as const;
  return html`
    <section aria-labelledby="state"><h2 id="state">State</h2>
      ${problems.length === 0
        ? html`<p class="good">No problems.</p>`
        : problems.map((problem) => html`<p class="notice">${text(problem)}</p>`)}
      ${readingNotice(log)}
      ${serverTable(machine, log, now)}
      </section>
    <section aria-labelledby="mail"><h2 id="mail">Mail in the last hour</h2>
      <p>In the last five minutes, a minute: <b>${rate(lately.stored)}</b> stored, <b>${rate(
        lately.submitted,
      )}</b> submitted, <b>${rate(lately.relayed)}</b> relayed, <b>${rate(
        lately.refused,
      )}</b> refused, <b>${rate(lately.deferred)}</b> deferred.</p>
      <div class="cards"><div class="card">${chart("Incoming", {
        spans: minutes,
        series: [{ name: "stored", keys: ["stored"] }, { name: "submitted", keys: ["submitted"] }, {
          name: "refused",
          keys: ["refused"],
        }],
      })}</div><div class="card">${chart("Outgoing", {
        spans: minutes,
        series: [{ name: "relayed", keys: ["relayed"] }, { name: "deferred", keys: ["deferred"] }, {
          name: "failed",
          keys: ["failed"],
        }],
      })}</div></div>
      ${table("Messages (days in UTC)", ["day", ...keys], [
        ["today", ...keys.map((key) => number(today[key]))],
        ["yesterday", ...keys.map((key) => number(yesterday[key]))],
      ])}
      ${Object.values(logins).every((key) => today[key] + yesterday[key] === 0) ? "" : table(
        "Logins to serve-submit",
        ["day", ...Object.keys(logins)],
        [
          ["today", ...Object.values(logins).map((key) => number(today[key]))],
          ["yesterday", ...Object.values(logins).map((key) => number(yesterday[key]))],
        ],
      )}
    </section>
    <section aria-labelledby="waits"><h2 id="waits">Queue</h2>
      ${queueLine(queue, now)}
      ${queue.snapshot === undefined
        ? ""
        : groupTable("domain", queue.snapshot.byDomain.groups.slice(0, TOP))}
      <p><a href="/queue">The whole queue</a></p></section>
  `;
}

function readingNotice(log: LogView): Html | string {
  const { kind, problem } = log.state;
  if (kind === "reading") {
    return html`<p class="dim">The log is still being read; figures are incomplete.</p>`;
  }
  return kind === "failed"
    ? html`<p class="notice">The log cannot be read further: ${text(problem)}</p>`
    : "";
}

/** What is wrong, in sentences. */
export function problemsOf({ log, machine, queue, logProblems, now }: Seen): string[] {
  const { servers, reported, free, minFree } = machine;
  return [
    ...servers.filter(({ up }) => !up).map(({ name, about }) => `${name} does not answer: ${about}`),
    ...(queue.problem === undefined ? [] : [`The queue could not be read: ${queue.problem}`]),
    ...(free !== undefined && free < 2 * minFree ? [`The disk of the data has ${showSize(free)} free`] : []),
    ...servers.flatMap(({ name, certificateExpiry: at }) =>
      at !== undefined && at - now < CERTIFICATE_SOON
        ? [`The certificate of ${name} ${at < now ? "has expired" : `expires in ${showDuration(at - now)}`}`]
        : []
    ),
    ...reported.map(({ what, next }) => `${what}. ${next}`),
    ...(log.state.kind === "failed" ? [] : logProblems),
  ];
}

function serverTable({ servers }: MachineState, log: LogView, now: number): Html {
  return table(
    "Servers",
    ["server", "state", "since", "address", "certificate"],
    servers.map((server) => {
      const { name, up, about, certificateExpiry } = server;
      const since = log.startOf(name);
      return [
        name,
        up ? html`<span class="good">up</span>` : html`<strong class="bad">DOWN</strong>`,
        up && since !== undefined ? ago(since, now) : "",
        text(about),
        certificateExpiry === undefined ? "" : html`until ${time(certificateExpiry)}`,
      ];
    }),
  );
}

/** How much is queued, and how old that figure is. */
export function queueLine({ snapshot, reading, problem }: QueueState, now: number): Html {
  if (snapshot === undefined) {
    return problem === undefined
      ? html`<p class="dim">The queue is being read: ${
        number(reading ?? 0)
      } messages so far. Load the page again.</p>`
      : html`<p class="notice">The queue could not be read: ${text(problem)}</p>`;
  }
  const [oldest] = snapshot.rows;
  return html`<p><b>${number(snapshot.total)}</b> ${snapshot.total === 1 ? "message" : "messages"}${
    oldest === undefined ? "" : html`, the oldest accepted ${ago(oldest.acceptedAt, now)}`
  }, as of ${time(snapshot.at)}${reading === undefined ? "" : html`; being read again: ${number(reading)}`}${
    problem === undefined ? "" : html`; <strong class="bad">since then: ${text(problem)}</strong>`
  }.</p>`;
}

/** Groups of the queue, each a link to its messages. */
export function groupTable(grouping: "domain" | "reason" | "sender", groups: readonly QueueGroup[]): Html {
  return table(
    `Queued by ${grouping}`,
    [grouping, "messages", "oldest", ...(grouping === "reason" ? [] : ["most frequent reply"])],
    groups.map(({ name, messages, oldestAge, reason = "" }) => [
      linksTo(grouping, name),
      number(messages),
      showDuration(oldestAge),
      ...(grouping === "reason" ? [] : [text(reason)]),
    ]),
  );
}

function linksTo(grouping: "domain" | "reason" | "sender", name: string): Html | string {
  if (name === "(others)") return name;
  return html`<a href="/queue${query({ [grouping]: name, show: "messages" })}">${text(name)}</a>`;
}

/** What is refused, and why. */
export function refused({ log, now }: Seen): Html {
  const reasons = (what: "refusals" | "deferrals") =>
    log.top(what, 20).map(({ name, count }) => [text(name), number(count)]);
  return html`${readingNotice(log)}
${table("Refused to clients, since midnight of yesterday", ["reply", "times"], reasons("refusals"))}
${
    table(
      "Not accepted by other servers, since midnight of yesterday",
      ["reply", "times"],
      reasons("deferrals"),
    )
  }
<h2>Latest refusals</h2>
${notableTable("Commands, connections and messages that were refused", log.refused, now)}`;
}

function notableTable(caption: string, list: readonly Notable[], now: number): Html {
  return table(
    caption,
    ["when", "what", "find"],
    list.toReversed().slice(0, 50).map(({ time: at, event }) => {
      const [id] = [...textsOf(event.fields["id"]), ...textsOf(event.fields["session"])];
      const { peer } = event.fields;
      return [
        ago(at, now),
        html`${
          typeof peer === "string"
            ? html`
              ${text(peer)}:
            `
            : ""
        }${
          wordsOf(event).split("\n").map((line) =>
            html`
              ${text(line)}
            `
          )
        }`,
        id === undefined
          ? ""
          : html`<a href="/trace${query({ what: id })}">trace<span class="dim"> ${text(id)}</span></a>`,
      ];
    }),
  );
}

/** Who sends, to whom, and how long it takes. */
export function traffic({ log, machine }: Seen): Html {
  const delays = log.delays;
  const all = Math.max(1, delays.reduce((sum, count) => sum + count, 0));
  const names = [...DELAYS.map((delay) => `less than ${showDuration(delay)}`), "longer"];
  return html`
    ${readingNotice(log)}
    ${chart("Hour by hour, since midnight of yesterday (UTC)", {
      spans: log.hours,
      series: [{ name: "in", keys: ["stored", "submitted"] }, { name: "out", keys: ["relayed"] }, {
        name: "refused or failed",
        keys: ["refused", "failed"],
      }],
    })}
    <div class="cards">
      <div class="card">${senderTable(
        "Top senders from here, since midnight of yesterday",
        log.top("senders", TOP_LONG),
      )}</div>
      <div class="card">${senderTable(
        "Top senders of incoming mail, since midnight of yesterday",
        log.top("origins", TOP_LONG),
      )}</div>
      <div class="card">${table(
        "Top destinations, since midnight of yesterday",
        ["domain", "recipients"],
        log.top("destinations", TOP_LONG).map(({ name, count }) => [text(name), number(count)]),
      )}</div>
    </div>
    ${table(
      "From the queue to the other server, for each recipient",
      ["took", "recipients", "share"],
      names.map((name, index) => [
        name,
        number(delays[index] ?? 0),
        `${((delays[index] ?? 0) / all * 100).toFixed(1)} %`,
      ]),
    )}
    <h2>Latencies</h2>
    ${latencies(machine.servers)}
  `;
}

function senderTable(caption: string, counts: readonly Count[]): Html {
  return table(
    caption,
    ["sender", "messages"],
    counts.map(({ name, count }) => [
      name === "<>" ? name : html`<a href="/trace${query({ what: name })}">${sender(name)}</a>`,
      number(count),
    ]),
  );
}

function latencies(servers: readonly ServerState[]): Html {
  const seconds = (value: number) =>
    value === Infinity ? "longer" : value < 1 ? `${Number((value * 1000).toPrecision(3))} ms` : `${value} s`;
  const rows = servers.flatMap(({ name, metrics }) =>
    Object.entries(HISTOGRAMS).flatMap(([histogram, means]) => {
      const found = metrics?.latencies.get(histogram);
      if (found === undefined) return [];
      return [[`${name}: ${means}`, number(found.count), seconds(found.median), seconds(found.p99)]];
    })
  );
  if (rows.length === 0) {
    return html`<p>These come from the servers' metrics, and need <code>[metrics]</code> in the configuration.</p>`;
  }
  return table("Since each server's start", ["what", "count", "50 of 100 took at most", "99 of 100"], rows);
}

const DOCTOR_OLD = 7 * 86_400_000;

/** What doctor found when it was run last, all of it. */
function doctorFindings(doctor: SavedFindings | undefined, now: number): Html {
  const what =
    html`<code>mailapp doctor</code> looks further: DNS, reverse DNS, port 25, open relay. It asks the network,
which this page may not.`;
  if (doctor === undefined) {
    return html`
      <h2>Doctor</h2>
      <p>${what} It has not run yet; what it finds will stand here.</p>
    `;
  }
  const { at, findings } = doctor;
  const sorted = byOutcome(findings);
  const rows = (list: readonly Finding[]) =>
    list.map(({ outcome, id, subject, what, next, dialogue = [] }) => [
      LABELS[outcome],
      html`${text(id.split(".", 1)[0] ?? "")} ${text(subject)}`,
      text(what),
      html`${text(next ?? "")}${
        dialogue.length === 0 ? "" : html`<pre>${dialogue.map((line) => text(line)).join("\n")}</pre>`
      }`,
    ]);
  const columns = ["result", "about", "what", "what to do"];
  const well = sorted.filter(({ outcome }) => outcome === "ok");
  return html`<h2>Doctor</h2>
<p>${what} It ran last ${ago(at, now)}${now - at > DOCTOR_OLD ? ": run it again" : ""}.</p>
${table("What doctor complains of", columns, rows(sorted.filter(({ outcome }) => outcome !== "ok")))}
<details><summary>${number(well.length)} checks passed</summary>${
    table("Passed", columns, rows(well))
  }</details>`;
}

/** Servers, disk, policies, problems. */
export function health(seen: Seen): Html {
  const { log, machine, now } = seen;
  const { free, policies, servers } = machine;
  const problems = problemsOf(seen);
  return html`
    ${problems.length === 0
      ? html`<p class="good">No problems.</p>`
      : problems.map((problem) => html`<p class="notice">${text(problem)}</p>`)}
    <p>The servers look at themselves every ten minutes, and what they find stands here.</p>
    ${doctorFindings(machine.doctor, now)}
    ${serverTable(machine, log, now)}
    ${table(
      "Processes",
      ["server", "open connections", "memory"],
      servers.flatMap(({ name, metrics }) =>
        metrics === undefined ? [] : [[
          name,
          number(metrics.connections ?? 0),
          metrics.memory === undefined ? "" : showSize(metrics.memory),
        ]]
      ),
    )}
    <p>Free on the disk of the data: ${free === undefined ? "not known" : showSize(free)}.</p>
    <h2>MTA-STS policies</h2>
    ${table(
      "Domains that mail was sent to",
      ["domain", "mode", "hosts", "until"],
      policies.map((
        { domain, mode, mx, expires },
      ) => [text(domain), text(mode), text(mx.join(", ")), time(expires)]),
    )}
    <h2>Warnings and errors</h2>
    ${notableTable("Latest log entries", log.warnings, now)}
  `;
}
