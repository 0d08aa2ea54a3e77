/**
 * `mailapp tls-report`: explains a report about TLS from another operator.
 *
 * @module
 */
import type { Command } from "commander";
import { EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import {
  type ReadDetail,
  type ReadPolicy,
  type ReadReport,
  readReport,
  ReportError,
} from "../tls_report/read.ts";
import { moment, printJson } from "./command_line/json.ts";
import { readReportFile } from "./command_line/report_file.ts";
import { examples, type Registrar } from "./command_line/subcommand.ts";
import { count, printable } from "./command_line/terminal.ts";
import { tlsResultMeaning } from "./command_line/tls_results.ts";

/** Registers the subcommand. */
export function registerTlsReport(program: Command, { io, action }: Registrar): void {
  program.command("tls-report")
    .description("explain what a TLS report (RFC 8460) says about your servers")
    .argument("<file>", "the report: a mail, a .json.gz or a .json")
    .option("--json", "print JSON")
    .addHelpText("after", examples("mailapp tls-report ~/Maildir/new/1795492928.M1P2Q3.mx.example.com"))
    .action(action((file: string, flags: { readonly json?: true }) => tlsReport(file, { flags, io })));
}

async function tlsReport(
  path: string,
  { flags, io }: { readonly flags: { readonly json?: true }; readonly io: Io },
): Promise<ExitCode> {
  const report = await readReportFile(path, { read: readReport, Malformed: ReportError });
  if (flags.json) printJson(jsonOf(report), io);
  else io.out(describe(report));
  return EXIT.ok;
}

function jsonOf({ from, to, ...report }: ReadReport): unknown {
  const [startsAt, endsAt] = [Date.parse(from), Date.parse(to)];
  return {
    ...report,
    ...(!Number.isNaN(startsAt) && { startsAt: moment(startsAt) }),
    ...(!Number.isNaN(endsAt) && { endsAt: moment(endsAt) }),
  };
}

function describe({ organization, contact, id, from, to, policies, more }: ReadReport): string {
  const lines = [
    `report of ${printable(organization)} (${printable(contact)}), ${printable(id)}`,
    `  from ${printable(from)} to ${printable(to)}`,
    ...policies.flatMap(describePolicy),
  ];
  if (policies.length === 0) lines.push("  it has no policies");
  if (more > 0) lines.push(`${count(more, "further line")} left out`);
  return lines.map((line) => `${line}\n`).join("");
}

const POLICIES: ReadonlyMap<string, string> = new Map([
  ["sts", "under its MTA-STS policy"],
  ["tlsa", "under its TLSA records (DANE)"],
  ["no-policy-found", "without a policy"],
]);

function describePolicy({ type, domain, successes, failures, details }: ReadPolicy): string[] {
  const outcome = failures === 0 ? "all succeeded" : `${failures} failed`;
  return [
    `${printable(domain)}, ${POLICIES.get(type) ?? printable(type)}: ${
      count(successes + failures, "connection")
    }, ${outcome}`,
    ...details.flatMap(describeDetail),
  ];
}

function describeDetail({ type, host, address, sender, count: sessions, reason }: ReadDetail): string[] {
  const meaning = tlsResultMeaning(type);
  const where = [host, address === "" ? "" : `[${address}]`].filter((text) => text !== "").join(" ");
  return [
    `  ${sessions} times ${printable(type)}${where === "" ? "" : ` at ${printable(where)}`}${
      sender === "" ? "" : `, from ${printable(sender)}`
    }`,
    ...(meaning === undefined ? [] : [`    ${meaning}`]),
    ...(reason === "" ? [] : [`    they say: ${printable(reason)}`]),
  ];
}
