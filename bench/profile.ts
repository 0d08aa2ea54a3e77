/**
 * Where serve-in's processor time goes: samples all its threads with perf while smtp-source sends, and prints shares
 * by thread, by kind of code, and by function with all that it calls. Needs root, perf (Debian's linux-perf) and
 * smtp-source; with `--checks`, which sends signed mail and has all of it checked, also named. With `--submit` it is
 * serve-submit, to which load.c sends over TLS and with a login, and which hands to serve-out; needs libssl-dev, too.
 *
 * ```sh
 * deno run -A bench/profile.ts [--keep] [--checks | --submit] [SESSIONS [MESSAGES [OCTETS]]]
 * ```
 *
 * @module
 */
import { parseArgs } from "node:util";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { startServeIn } from "../tests/support/peers/mailapp.ts";
import { runOk, start } from "../tests/support/peers/process.ts";
import { smtpSource, startSmtpSink } from "../tests/support/peers/smtp_tools.ts";
import { program } from "../tests/support/program.ts";
import { PASSWORD, SubmissionMachine } from "../tests/support/submission.ts";
import { buildC } from "./build_c.ts";
import { HOSTNAME, RECIPIENT, UNLIMITED } from "./server_under_load.ts";
import { ALL_CHECKS, DNS_PORT, startSignedMail } from "./signed_mail.ts";
import { figure, markdownTable } from "./statistics.ts";

const { values: { keep, checks, submit }, positionals } = parseArgs({
  options: {
    keep: { type: "boolean", default: false },
    checks: { type: "boolean", default: false },
    submit: { type: "boolean", default: false },
  },
  allowPositionals: true,
});
const [sessions = 20, messages = 3000, size = 4096] = positionals.map(Number);
const FLAGS = ["--v8-flags=--perf-basic-prof"];

await using folder = await makeFolder("profile");
await using server = submit ? await startSubmission() : await startReceiving();
// So that what is compiled at first use is not what is seen.
await server.send(Math.min(1500, messages));

const samples = folder.at("samples");
const recorder = start("perf", {
  args: ["record", "-F", "999", "-g", "-p", String(server.pid), "-o", samples],
  stopSignal: "SIGINT",
});
const ms = await server.send(messages);
await recorder.stop();

console.log(`${figure(messages * 1000 / ms)} messages a second while watched\n`);
await print("thread", ["--no-children", "--sort", "comm"], { rows: 5 });
// Each thread has a [JIT] of its own here; one is enough.
await print("kind of code", ["--no-children", "--sort", "dso"], { rows: 5 });
await print("function, with what it calls", ["--children", "--sort", "symbol"], {
  rows: 60,
  only: /\] JS:|__x64_sys_/,
});

/** What is watched while mail is sent to it. */
interface Watched extends AsyncDisposable {
  readonly pid: number;
  /** Milliseconds that so many messages took. */
  readonly send: (messages: number) => Promise<number>;
}

async function startReceiving(): Promise<Watched> {
  await using stack = new AsyncDisposableStack();
  const mail = checks ? stack.use(await startSignedMail(size)) : undefined;
  const server = stack.use(
    await startServeIn({
      hostname: HOSTNAME,
      domains: ["bench.test"],
      users: ["alice"],
      ...mail && { checks: ALL_CHECKS, dnsPort: DNS_PORT },
      settings: { max_connections_per_ip: 1000 },
      logFile: folder.at("log"),
      denoFlags: FLAGS,
    }),
  );
  const load = {
    port: server.port,
    to: RECIPIENT,
    sessions,
    size,
    keep,
    ...mail && { from: mail.sender, file: mail.file },
  };
  const all = stack.move();
  return {
    pid: server.program.pid,
    send: (messages) => smtpSource({ ...load, messages }),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function startSubmission(): Promise<Watched> {
  await using stack = new AsyncDisposableStack();
  const sink = stack.use(await startSmtpSink());
  const user = "alice@example.com";
  const machine = stack.use(
    await SubmissionMachine.create({
      logins: [user],
      logFile: folder.at("log"),
      run: { program: program(FLAGS) },
      changes: {
        "serve-out": { allow_private_targets: true },
        "serve-out.routes": { "*": `127.0.0.1:${sink.port}` },
        "serve-submit": UNLIMITED,
      },
    }),
  );
  stack.use(await machine.start("serve-out"));
  const { pid } = stack.use(await machine.start("serve-submit"));
  const client = await buildC("load", folder, ["-DTLS", "-lssl", "-lcrypto"]);
  const flags = ["-T", "-f", user, "-l", btoa(`\0${user}\0${PASSWORD}`), "-k", keep ? "0" : "1"];
  const all = stack.move();
  return {
    pid,
    async send(messages) {
      const numbers = [machine.tlsPort, sessions, messages, size].map(String);
      const args = [...flags, "127.0.0.1", ...numbers, "x@d{n}.test", "100"];
      return JSON.parse(await runOk(client, { args, within: 300_000 })).seconds * 1000;
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

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
