/**
 * `mailapp status`: the state of the servers on one screen.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { systemClock } from "../../base/clock.ts";
import { DEFAULT_CONFIG_FILE, loadConfig } from "../../config/load.ts";
import { OUTDATED } from "../../doctor/checks/queue.ts";
import type { Finding } from "../../doctor/finding.ts";
import type { SavedFindings } from "../../doctor/saved_findings.ts";
import { byOutcome, findingLines } from "../command_line/findings_text.ts";
import { isOfThisMachine, systemNetwork } from "../../net/interfaces.ts";
import { EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { moment, printJson } from "../command_line/json.ts";
import { groupsText } from "../command_line/queue_summary.ts";
import { paged, pagerOption } from "../command_line/pager.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { count, printable, showDuration, showSize, showTime } from "../command_line/terminal.ts";
import { findLog } from "../trace/log_sources.ts";
import {
  type Figures,
  type LogFigures,
  type PolicyFigures,
  readFigures,
  type Reason,
  type SenderFigures,
  sumOf,
} from "./log_figures.ts";
import { readState, type State } from "./state.ts";

interface Flags {
  readonly config?: string;
  readonly log: readonly string[];
  readonly watch?: number | true;
  readonly json?: true;
  readonly pager?: boolean;
}

/** Registers the subcommand. */
export function registerStatus(program: Command, { io, action }: Registrar): void {
  program.command("status")
    .description(
      "show on one screen: servers, mail in and out, refusals, queue, certificate, disk, DNS, problems",
    )
    .option(
      "--watch [seconds]",
      "refresh every this many seconds (default: 5), until Ctrl-C",
      parseSeconds,
    )
    .addOption(
      new Option(
        "--log <file>",
        "a log, with its rotated files; may be repeated (default: [log] file, or the journal)",
      )
        .argParser((file: string, files: readonly string[]) => [...files, file]).default([]),
    )
    .option("--json", "print JSON; with --watch, one object a line")
    .addOption(pagerOption())
    .addOption(configOption())
    .addHelpText("after", examples("mailapp status", "mailapp status --watch"))
    .action(action((flags: Flags) => status(flags, io)));
}

function parseSeconds(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a number of seconds.");
}

const WATCH = 5;

async function status(flags: Flags, io: Io): Promise<ExitCode> {
  if (flags.watch === undefined) return await paged((io) => once(flags, io), { flags, io });
  const stopping = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) io.onSignal(signal, () => stopping.abort());
  const seconds = flags.watch === true ? WATCH : flags.watch;
  for (;;) {
    let text = "";
    await once(flags, { ...io, out: (more) => void (text += more) });
    // One write, so that the screen does not flicker.
    io.out(flags.json ? `${JSON.stringify(JSON.parse(text))}\n` : `\u001b[H\u001b[2J${text}`);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      stopping.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      }, { once: true });
      if (stopping.signal.aborted) resolve();
    });
    if (stopping.signal.aborted) return EXIT.ok;
  }
}

async function once(flags: Flags, io: Io): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const log = await findLog(config, flags.log);
  const now = systemClock.now();
  const interfaces = systemNetwork.interfaces();
  const isOwnAddress = (address: string) => isOfThisMachine(address, { interfaces: () => interfaces });
  // One after the other: while a long log is read, answers of servers and DNS would come too late.
  const state = await readState(config, io);
  const figures = await readFigures(log.sources, { now, isOwnAddress });
  const problems = problemsOf(state, now).concat(log.problems);
  if (flags.json) printJson(asJson(state, { figures, problems }), io);
  else {
    io.out(asText(state, { figures, problems, now }));
    if (config.file === undefined) io.out(`no ${DEFAULT_CONFIG_FILE}: the defaults apply\n`);
  }
  if (log.incomplete) return EXIT.noInput;
  return state.servers.every(({ up }) => up) && problems.length === 0 ? EXIT.ok : EXIT.unavailable;
}

const DAY = 86_400_000;
const CERTIFICATE_SOON = 14 * DAY;

/** The problems, in sentences. */
function problemsOf(
  { servers, queue, disks, certificateExpiry, certificateError, dnsError, outdated, reported }: State,
  now: number,
): string[] {
  return [
    ...servers.flatMap(({ name, refusal }) =>
      refusal === undefined ? [] : [`${name} accepts no mail now: ${printable(refusal)}`]
    ),
    ...(outdated ? [`serve-out: ${OUTDATED.what}. ${OUTDATED.next}`] : []),
    ...(queue.error === undefined ? [] : [`the queue could not be read: ${queue.error}`]),
    ...disks.filter(({ free, minFree }) => free < 2 * minFree).map(({ path, free }) =>
      `${path} has ${showSize(free)} free`
    ),
    ...(certificateError === undefined ? [] : [`certificate: ${certificateError}`]),
    ...(certificateExpiry !== undefined && certificateExpiry - now < CERTIFICATE_SOON
      ? [`the certificate expires on ${showTime(certificateExpiry)}`]
      : []),
    ...(dnsError === undefined ? [] : [`DNS: ${dnsError}`]),
    ...reported.map(({ what, next }) => `${what} ${next}`),
  ];
}

interface Rest {
  readonly figures: LogFigures;
  readonly problems: readonly string[];
}

function asText(state: State, { figures, problems, now }: Rest & { readonly now: number }): string {
  const { servers, queue, disks, certificateExpiry } = state;
  const yesterday = figures.hours.slice(0, 24).map(({ figures }) => figures);
  const today = figures.hours.slice(24).map(({ figures }) => figures);
  const recent = figures.hours.slice(-6);
  return [
    `${showTime(now)}\n`,
    ...servers.map(({ name, up, about }) => {
      const since = figures.started.get(name);
      const when = up && since !== undefined ? `, since ${showTime(since)}` : "";
      return `${name.padEnd(13)} ${up ? "up" : "DOWN"}${when}, ${printable(about)}\n`;
    }),
    connectionsLine(servers),
    "\n",
    row("", COLUMNS.map(([title]) => title)),
    ...recent.map(({ at, figures }) => row(`${showTime(at).slice(11, 16)} UTC`, numbersOf(figures))),
    row("today", numbersOf(sumOf(today))),
    row("yesterday", numbersOf(sumOf(yesterday))),
    logins([["today", sumOf(today)], ["yesterday", sumOf(yesterday)]]),
    policies(figures.policies),
    senders("sent the most from here, since yesterday", figures.senders),
    senders("sent the most to us, since yesterday", figures.origins),
    reasons("refused by us, since yesterday", figures.refusals),
    reasons("deferred by others, since yesterday", figures.deferrals),
    queue.messages === 0
      ? "\nnothing is queued\n"
      : `\n${count(queue.messages, "message")} in the queue, the oldest for ${
        showDuration(queue.oldestAge)
      }\n` +
        queue.hosts.map(([name, messages]) => `  ${messages} of them on ${printable(name)}\n`).join("") +
        indented(groupsText(queue.groups, "domain")),
    "\n",
    certificateExpiry === undefined ? "" : `certificate: good until ${showTime(certificateExpiry)}\n`,
    ...disks.map(({ path, free }) => `disk of ${printable(path)}: ${showSize(free)} free\n`),
    problems.length === 0 ? "no problems\n" : "\n",
    ...problems.map((problem) => `! ${printable(problem)}\n`),
    doctorText(state.doctor, now),
  ].join("");
}

const COLUMNS: readonly (readonly [title: string, key: keyof Figures])[] = [
  ["stored", "stored"],
  ["submitted", "submitted"],
  ["refused", "refused"],
  ["relayed", "relayed"],
  ["deferred", "deferred"],
  ["failed", "failed"],
  ["sessions", "sessions"],
];

function numbersOf(figures: Figures): string[] {
  return COLUMNS.map(([, key]) => String(figures[key]));
}

function row(name: string, cells: readonly string[]): string {
  return `${name.padEnd(10)}${cells.map((cell) => cell.padStart(10)).join("")}\n`;
}

/** Nothing where the system does not tell. */
function connectionsLine(servers: State["servers"]): string {
  const known = servers.flatMap(({ name, connections }) =>
    connections === undefined ? [] : [`${name} ${connections}`]
  );
  return known.length === 0 ? "" : `open connections: ${known.join(", ")}\n`;
}

/** A week: what doctor found longer ago says little. */
const DOCTOR_OLD = 7 * DAY;

/** What doctor complains of, as it was when it was run last. */
function doctorText(doctor: SavedFindings | undefined, now: number): string {
  if (doctor === undefined) {
    return "\nmailapp doctor checks DNS, reverse DNS, port 25 and more; it has not run yet\n";
  }
  const { at, findings } = doctor;
  const old = now - at > DOCTOR_OLD ? "; run it again" : "";
  const bad = findings.filter(isBad);
  if (bad.length === 0) return `\nmailapp doctor found no problems at ${showTime(at)}${old}\n`;
  return `\nmailapp doctor at ${showTime(at)}${old}:\n${findingLines(byOutcome(bad)).join("\n")}\n`;
}

function isBad({ outcome }: Finding): boolean {
  return outcome === "failure" || outcome === "warning";
}

/** What happened to logins to serve-submit; nothing on days without any. */
function logins(days: readonly (readonly [name: string, figures: Figures])[]): string {
  const lines = days.flatMap(([name, figures]) => {
    const { loginsAccepted, loginsRefused, loginsPutOff, loginPauses, loginsLimited } = figures;
    if (loginsAccepted + loginsRefused + loginsPutOff + loginPauses + loginsLimited === 0) return [];
    return [
      `logins ${name}: ${loginsAccepted} accepted, ${loginsRefused} refused, ${loginsPutOff} put off, ` +
      `${count(loginPauses, "pause")}, ${count(loginsLimited, "limit")} reached\n`,
    ];
  });
  return lines.length === 0 ? "" : `\n${lines.join("")}`;
}

/** What happened to mail that has to go over TLS; nothing if there was none. */
function policies(list: readonly PolicyFigures[]): string {
  if (list.length === 0) return "";
  const lines = list.map(({ policy, relayed, deferred, failed }) =>
    `TLS asked for by ${policy}, since yesterday: ${relayed} relayed, ${deferred} deferred, ${failed} failed\n`
  );
  return `\n${lines.join("")}`;
}

/** How many senders are shown; all ten are in the JSON. */
const SENDERS_SHOWN = 5;

function senders(title: string, list: readonly SenderFigures[]): string {
  if (list.length === 0) return "";
  const lines = list.slice(0, SENDERS_SHOWN).map(({ sender, messages }) =>
    `  ${String(messages).padStart(7)}  ${sender === "" ? "<>" : printable(sender)}\n`
  );
  return `\n${title}:\n${lines.join("")}`;
}

function reasons(title: string, list: readonly Reason[]): string {
  if (list.length === 0) return "";
  return `\n${title}:\n${
    list.map(({ words, count }) => `  ${String(count).padStart(7)}  ${printable(words)}\n`).join("")
  }`;
}

function indented(text: string): string {
  return text.replace(/^(?=[^\n])/, "  ").replace(/\n(?=[^\n])/g, "\n  ");
}

function asJson(
  { servers, queue, disks, certificateExpiry, dnsError, doctor }: State,
  { figures: { hours, refusals, deferrals, policies, senders, origins, started }, problems }: Rest,
): unknown {
  return {
    servers: servers.map(({ name, up, about, connections }) => {
      const since = started.get(name);
      return {
        name,
        up,
        about,
        ...(up && since !== undefined && { startedAt: moment(since) }),
        ...(connections !== undefined && { connections }),
      };
    }),
    hours: hours.map(({ at, figures }) => ({ at: moment(at), ...figures })),
    refusals,
    deferrals,
    policies,
    senders,
    origins,
    queue: {
      messages: queue.messages,
      oldestAgeMs: Math.round(queue.oldestAge),
      domains: queue.groups.map(({ name, oldestAge, ...group }) => ({
        domain: name,
        ...group,
        oldestAgeMs: Math.round(oldestAge),
      })),
      ...(queue.hosts.length > 0 && {
        hosts: queue.hosts.map(([name, messages]) => ({ name, messages })),
      }),
    },
    ...(certificateExpiry !== undefined && { certificateExpiresAt: moment(certificateExpiry) }),
    disks: disks.map(({ path, free }) => ({ path, freeOctets: free })),
    ...(dnsError !== undefined && { dnsError }),
    problems,
    ...(doctor && { doctor: { ranAt: moment(doctor.at), findings: doctor.findings.filter(isBad) } }),
  };
}
