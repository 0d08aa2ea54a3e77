/**
 * What it costs to check mail: serve-in with all checks and without, and Postfix with and without OpenDKIM, OpenDMARC and
 * policyd-spf, in turn. One named answers all of them.
 *
 * @module
 */
import { type CheckingMilters, startCheckingMilters } from "../tests/support/peers/checking_milters.ts";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { until } from "../tests/support/peers/process.ts";
import { smtpSource } from "../tests/support/peers/smtp_tools.ts";
import {
  HOSTNAME,
  measure,
  type Measurement,
  RECIPIENT,
  type ServerUnderLoad,
  startOurs,
  startTheirs,
  storedMessages,
} from "./server_under_load.ts";
import { type ServerName, WARM_UP } from "./servers.ts";
import { ALL_CHECKS, DNS_PORT, type SignedMail, startSignedMail } from "./signed_mail.ts";
import { figure, markdownTable, median } from "./statistics.ts";

/** One kind of load. */
export interface CheckScenario {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  readonly sessions: number;
  readonly messages: number;
}

/** All of them, in the order of the table. */
export const CHECK_SCENARIOS: readonly CheckScenario[] = [
  { name: "checks-1", title: "1 session", sessions: 1, messages: 500 },
  { name: "checks-20", title: "20 sessions", sessions: 20, messages: 2000 },
  { name: "checks-100", title: "100 sessions", sessions: 100, messages: 2000 },
];

/** How much is measured. */
export interface CheckOptions {
  readonly scenarios: readonly CheckScenario[];
  readonly servers: readonly ServerName[];
  readonly rounds: number;
  /** Told what goes on. */
  readonly progress: (line: string) => void;
}

const SIZE = 4096;
// Programs in C and Python are as fast at once; their processes are there after a few messages for each session.
const THEIR_WARM_UP = 500;

const NAMES = {
  mailapp: ["mailapp", "mailapp, all checks"],
  Postfix: ["Postfix", "Postfix, OpenDKIM, OpenDMARC, policyd-spf"],
} as const satisfies Record<ServerName, readonly [string, string]>;

const PLAIN: readonly string[] = [NAMES.mailapp[0], NAMES.Postfix[0]];

type Measured = typeof NAMES[ServerName][number];
type Results = ReadonlyMap<CheckScenario, ReadonlyMap<Measured, readonly Measurement[]>>;

/** Runs the scenarios and returns the tables. */
export async function benchChecks(options: CheckOptions): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const mail = stack.use(await startSignedMail(SIZE));
  const results = new Map<CheckScenario, Map<Measured, Measurement[]>>();
  for (const scenario of options.scenarios) {
    results.set(scenario, await measureScenario(scenario, { ...options, mail }));
  }
  return `${throughputTable(results)}\n${costTable(results)}`;
}

async function measureScenario(
  { title, sessions, messages }: CheckScenario,
  { servers, rounds, progress, mail }: CheckOptions & { readonly mail: SignedMail },
): Promise<Map<Measured, Measurement[]>> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("bench"));
  const running = new Map<Measured, ServerUnderLoad>();
  if (servers.includes("mailapp")) {
    running.set("mailapp", stack.use(await startOurs()));
    running.set("mailapp, all checks", stack.use(await startOurs({ checks: ALL_CHECKS, dnsPort: DNS_PORT })));
  }
  if (servers.includes("Postfix")) {
    const milters = stack.use(await startCheckingMilters({ ...mail, hostname: HOSTNAME }));
    running.set("Postfix", stack.use(await startTheirs({ dns: mail.dns })));
    running.set(
      "Postfix, OpenDKIM, OpenDMARC, policyd-spf",
      stack.use(await startChecking(milters, mail.dns)),
    );
  }
  const send = async ({ port }: ServerUnderLoad, messages: number) => {
    const { sender: from, file } = mail;
    const options = { port, from, to: RECIPIENT, sessions, messages, file, within: 1_200_000 };
    return { messages, seconds: await smtpSource(options) / 1000, latencies: [] };
  };
  const load = (server: ServerUnderLoad, messages: number) =>
    measure(server, { messages, folder, send: () => send(server, messages) });
  for (const [name, server] of running) {
    await send(server, sessions);
    if (!PLAIN.includes(name)) await assertChecked(server);
    await load(server, Math.min(4 * messages, name.startsWith("mailapp") ? WARM_UP : THEIR_WARM_UP));
  }
  const measured = new Map<Measured, Measurement[]>();
  for (let round = 0; round < rounds; round++) {
    for (const [name, server] of running) {
      const measurement = await load(server, messages);
      measured.set(name, [...measured.get(name) ?? [], measurement]);
      progress(
        `${title}, round ${round + 1}, ${name}: ${figure(measurement.accepted)}/s, ` +
          `CPU ${figure(measurement.cpu)} ms`,
      );
    }
  }
  return measured;
}

function startChecking({ pids, settings, services }: CheckingMilters, dns: string): Promise<ServerUnderLoad> {
  return startTheirs({ dns, settings, services, helpers: pids });
}

/** Looks whether a stored message says that it was checked. @throws {Error} */
async function assertChecked({ maildir }: ServerUnderLoad): Promise<void> {
  const name = await until(() => storedMessages(maildir)[0], { what: `a message in ${maildir}` });
  const text = await Deno.readTextFile(`${maildir}/new/${name}`);
  for (const result of ["spf=pass", "dkim=pass", "dmarc=pass"]) {
    if (!text.toLowerCase().includes(result)) throw new Error(`no ${result} in ${text.slice(0, 2000)}`);
  }
}

function throughputTable(results: Results): string {
  const rows = [...results].map(([{ title }, measured]) => {
    const of = (name: Measured) => median(measured.get(name)?.map(({ accepted }) => accepted) ?? []);
    const [plain, checked] = [of("mailapp"), of("mailapp, all checks")];
    const [theirPlain, theirs] = NAMES.Postfix.map(of);
    return [
      title,
      ...[plain, checked].map(figure),
      percent(1 - checked / plain),
      ...[theirPlain, theirs].map(figure),
      `${figure(checked / (theirs ?? NaN))} ×`,
    ];
  });
  const head = [
    "Messages a second, 4 KB with one RSA-2048 signature",
    ...NAMES.mailapp,
    "the checks take off",
    ...NAMES.Postfix,
    "ratio with checks",
  ];
  return markdownTable([head, ...rows]);
}

function costTable(results: Results): string {
  const names = [...NAMES.mailapp, ...NAMES.Postfix];
  const rows = [...results].map(([{ title }, measured]) => [
    title,
    ...names.map((name) => figure(median(measured.get(name)?.map(({ cpu }) => cpu) ?? []))),
  ]);
  return markdownTable([["CPU ms a message", ...names], ...rows]);
}

function percent(share: number): string {
  return Number.isNaN(share) ? figure(share) : `${figure(100 * share)} %`;
}
