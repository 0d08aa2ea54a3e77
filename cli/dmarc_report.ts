/**
 * `mailapp dmarc-report`: explains a report about DMARC from another operator.
 *
 * @module
 */
import type { Command } from "commander";
import {
  type AggregateReport,
  AggregateReportError,
  type AggregateRow,
  readAggregateReport,
} from "../dmarc/aggregate_report.ts";
import { EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { moment, printJson } from "./command_line/json.ts";
import { readReportFile } from "./command_line/report_file.ts";
import { examples, type Registrar } from "./command_line/subcommand.ts";
import { count, printable, showTime } from "./command_line/terminal.ts";

/** Registers the subcommand. */
export function registerDmarcReport(program: Command, { io, action }: Registrar): void {
  program.command("dmarc-report")
    .description("explain what a DMARC aggregate report says about mail in your domain's name")
    .argument("<file>", "the report: a mail, a .zip, a .xml.gz or a .xml")
    .option("--json", "print JSON")
    .addHelpText("after", examples("mailapp dmarc-report ~/Maildir/new/1795492928.M1P2Q3.mx.example.com"))
    .action(action((file: string, flags: { readonly json?: true }) => dmarcReport(file, { flags, io })));
}

async function dmarcReport(
  path: string,
  { flags, io }: { readonly flags: { readonly json?: true }; readonly io: Io },
): Promise<ExitCode> {
  const report = await readReportFile(path, { read: readAggregateReport, Malformed: AggregateReportError });
  if (flags.json) printJson(jsonOf(report), io);
  else io.out(describe(report));
  return EXIT.ok;
}

function jsonOf({ from, to, more, ...report }: AggregateReport): unknown {
  return {
    ...report,
    rowsLeftOut: more,
    ...(!Number.isNaN(from) && { startsAt: moment(from) }),
    ...(!Number.isNaN(to) && { endsAt: moment(to) }),
  };
}

function describe(report: AggregateReport): string {
  const { organization, contact, id, from, to, domain, policy, passed, failed, rows, more } = report;
  const when = (ms: number) => Number.isNaN(ms) ? "an unknown time" : showTime(ms);
  const ours = rows.filter(({ dkim, spf }) => !dkim && !spf);
  const passing = rows.filter(({ dkim, spf }) => dkim || spf);
  const lines = [
    `report of ${printable(organization)} (${printable(contact)}), ${printable(id)}`,
    `  from ${when(from)} to ${when(to)}`,
    `${printable(domain)}, policy ${printable(policy)}: ${count(passed + failed, "message")}, ${
      failed === 0 ? "all passed" : `${failed} failed`
    }`,
    ...byMessages(ours).flatMap((row) => describeRow(row, "failed")),
    ...byMessages(passing).flatMap((row) => describeRow(row, "passed")),
    ...(more === 0 ? [] : [`${count(more, "more row")} in the report`]),
  ];
  if (failed > 0) {
    lines.push(
      "An address of yours that failed: sign its mail with DKIM, or name it in SPF (mailapp dns has the records).",
      "Any other uses your name; receivers do with its mail what your policy says.",
    );
  }
  return lines.map((line) => `${line}\n`).join("");
}

function byMessages(rows: readonly AggregateRow[]): AggregateRow[] {
  return rows.toSorted((one, other) => other.messages - one.messages);
}

function describeRow(
  { source, messages, disposition, dkim, spf, headerFrom, checks, reasons }: AggregateRow,
  result: string,
): string[] {
  const aligned = [`DKIM ${dkim ? "pass" : "fail"}`, `SPF ${spf ? "pass" : "fail"}`].join(", ");
  const done = disposition === "" || disposition === "none" ? "" : `; ${printable(disposition)}`;
  return [
    `  ${result}: ${count(messages, "message")} from ${printable(source)} as ${
      printable(headerFrom)
    }: ${aligned}${done}`,
    ...(checks.length === 0 ? [] : [`    ${printable(checks.join(", "))}`]),
    ...reasons.map((reason) => `    they say: ${printable(reason)}`),
  ];
}
