/**
 * The page of the reports that others have sent.
 *
 * @module
 */
import { tlsResultMeaning } from "../command_line/tls_results.ts";
import { type Html, html, number, table, text, time } from "./html.ts";
import type { DmarcSummary, ReportsState, TlsSummary } from "./reports.ts";

const MAX_REPORTS = 50;
const MAX_SOURCES = 25;

/** DMARC and TLS reports; `undefined`: no mailbox is named. */
export function reportsPage(state: ReportsState | undefined): Html {
  if (state === undefined) {
    return html`<p>Other mail servers send reports about mail in the name of your domains (DMARC) and about TLS with your
servers, where your DNS records ask for them (<code>rua</code>). Name the mailbox that they go to in
<code>[dashboard] reports</code>, best one of its own: this process reads what is in it.</p>`;
  }
  const { dmarc, tls, others, leftOut, reading, problem } = state;
  return html`
    ${problem === undefined ? "" : html`<p class="notice">The mailbox cannot be read: ${text(problem)}</p>`}
    ${reading ? html`<p class="dim">The mailbox is still being read. Load the page again.</p>` : ""}
    <p>From the mailbox that <code>[dashboard] reports</code> names. Anybody can send such a report; none is proof.</p>
    <section aria-labelledby="dmarc"><h2 id="dmarc">DMARC</h2>
      ${table(
        "DMARC reports",
        ["from", "about", "period", "passed", "failed"],
        dmarc.slice(0, MAX_REPORTS).map(({ organization, domain, from, to, passed, failed }) => [
          text(organization),
          text(domain),
          period(from, to),
          number(passed),
          failed === 0 ? number(failed) : html`<strong class="bad">${number(failed)}</strong>`,
        ]),
      )}
      ${table(
        "Where mail came from that failed DMARC",
        ["address", "From", "messages", "reported by", "checks"],
        failingSources(dmarc).map(({ source, headerFrom, messages, organizations, checks }) => [
          text(source),
          text(headerFrom),
          number(messages),
          text([...organizations].join(", ")),
          text(checks),
        ]),
      )}
      <p>An address of yours there: sign its mail (<code>mailapp dns</code> has the records), or name it in SPF. All
      others use your name, and receivers do with that mail what your policy says.</p></section>
    <section aria-labelledby="tls"><h2 id="tls">TLS</h2>
      ${table(
        "Reports about TLS",
        ["from", "about", "policy", "period", "connections", "failed"],
        tls.slice(0, MAX_REPORTS).map((
          { organization, domain, policy, from, to, successes, failures },
        ) => [
          text(organization),
          text(domain),
          text(policy),
          period(from, to),
          number(successes + failures),
          failures === 0 ? number(failures) : html`<strong class="bad">${number(failures)}</strong>`,
        ]),
      )}
      ${table(
        "Why TLS failed",
        ["result", "at", "connections", "means"],
        tlsFailures(tls).map(({ type, host, count }) => [
          text(type),
          text(host),
          number(count),
          tlsResultMeaning(type) ?? "",
        ]),
      )}</section>
    <p
      class="dim">${number(
        others,
      )} other messages in the mailbox are no reports, or cannot be read${leftOut === 0
        ? ""
        : html`; ${
          number(leftOut)
        } older or longer ones are not looked at`}. <code>mailapp dmarc-report FILE</code> and <code>mailapp tls-report FILE</code> explain a single one.</p>
  `;
}

function period(from: number, to: number): Html | string {
  if (!isMoment(from) || !isMoment(to)) return "not said";
  return html`${time(from)} to ${time(to)}`;
}

/** Of what others write; a date can only be made of these. */
function isMoment(ms: number): boolean {
  return Math.abs(ms) < 8.64e15;
}

interface Source {
  readonly source: string;
  readonly headerFrom: string;
  messages: number;
  readonly organizations: Set<string>;
  readonly checks: string;
}

const MAX_ORGANIZATIONS = 5;

function failingSources(reports: readonly DmarcSummary[]): Source[] {
  const sources = new Map<string, Source>();
  for (const { organization, rows } of reports) {
    for (const { source, headerFrom, messages, checks } of rows) {
      const key = `${source} ${headerFrom}`;
      let known = sources.get(key);
      if (known === undefined) {
        known = { source, headerFrom, messages: 0, organizations: new Set(), checks: checks.join(", ") };
        sources.set(key, known);
      }
      known.messages += messages;
      if (known.organizations.size < MAX_ORGANIZATIONS) known.organizations.add(organization);
    }
  }
  return [...sources.values()].sort((one, other) => other.messages - one.messages).slice(0, MAX_SOURCES);
}

function tlsFailures(reports: readonly TlsSummary[]) {
  const failures = new Map<string, { readonly type: string; readonly host: string; count: number }>();
  for (const { details } of reports) {
    for (const { type, host, count } of details) {
      const key = `${type} ${host}`;
      const known = failures.get(key) ?? { type, host, count: 0 };
      known.count += count;
      failures.set(key, known);
    }
  }
  return [...failures.values()].sort((one, other) => other.count - one.count).slice(0, MAX_SOURCES);
}
