/**
 * Where serve-in's processor time goes: samples all its threads with perf while smtp-source sends, and prints shares
 * by thread, by kind of code, and by function with all that it calls. Needs root, perf (Debian's linux-perf) and
 * smtp-source; with `--checks`, which sends signed mail and has all of it checked, also named.
 *
 * ```sh
 * deno run -A bench/profile.ts [--keep] [--checks] [SESSIONS [MESSAGES [OCTETS]]]
 * ```
 *
 * @module
 */
import { parseArgs } from "node:util";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { startServeIn } from "../tests/support/peers/mailapp.ts";
import { runOk, start } from "../tests/support/peers/process.ts";
import { smtpSource } from "../tests/support/peers/smtp_tools.ts";
import { HOSTNAME, RECIPIENT } from "./server_under_load.ts";
import { ALL_CHECKS, DNS_PORT, startSignedMail } from "./signed_mail.ts";
import { figure, markdownTable } from "./statistics.ts";

const { values: { keep, checks }, positionals } = parseArgs({
  options: { keep: { type: "boolean", default: false }, checks: { type: "boolean", default: false } },
  allowPositionals: true,
});
const [sessions = 20, messages = 3000, size = 4096] = positionals.map(Number);

await using folder = await makeFolder("profile");
await using mail = checks ? await startSignedMail(size) : undefined;
await using server = await startServeIn({
  hostname: HOSTNAME,
  domains: ["bench.test"],
  users: ["alice"],
  ...mail && { checks: ALL_CHECKS, dnsPort: DNS_PORT },
  settings: { max_connections_per_ip: 1000 },
  logFile: folder.at("log"),
  denoFlags: ["--v8-flags=--perf-basic-prof"],
});
const load = {
  port: server.port,
  to: RECIPIENT,
  sessions,
  size,
  keep,
  ...mail && { from: mail.sender, file: mail.file },
};
// So that what is compiled at first use is not what is seen.
await smtpSource({ ...load, messages: 1500 });

const samples = folder.at("samples");
const recorder = start("perf", {
  args: ["record", "-F", "999", "-g", "-p", String(server.program.pid), "-o", samples],
  stopSignal: "SIGINT",
});
const ms = await smtpSource({ ...load, messages });
await recorder.stop();

console.log(`${figure(messages * 1000 / ms)} messages a second while watched\n`);
await print("thread", ["--no-children", "--sort", "comm"], { rows: 5 });
// Each thread has a [JIT] of its own here; one is enough.
await print("kind of code", ["--no-children", "--sort", "dso"], { rows: 5 });
await print("function, with what it calls", ["--children", "--sort", "symbol"], {
  rows: 60,
  only: /\] JS:|__x64_sys_/,
});

async function print(
  title: string,
  args: readonly string[],
  { rows, only = /./ }: { rows: number; only?: RegExp },
): Promise<void> {
  const report = await runOk("perf", {
    args: ["report", "-i", samples, "--stdio", "-g", "none", ...args],
    within: 300_000,
  });
  const lines = report.split("\n").filter((line) => /^ +[\d.]+%/.test(line) && only.test(line));
  console.log(markdownTable([
    ["share", title],
    ...lines.slice(0, rows).map((line) => {
      const [, share = "", name = ""] = line.match(/^ +([\d.]+%)(?: +[\d.]+%)? +(.*?) *$/) ?? [];
      return [share, name.replace(/^\[[.k]\] /, "").replace(/file:\/\/.*\/main\//, "")];
    }),
  ]));
}
