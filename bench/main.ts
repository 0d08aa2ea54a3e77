/**
 * `deno task bench`: measures the servers beside Postfix and the disk, and prints tables for docs/performance.md.
 * Needs root, Postfix with smtp-source, and gcc; for the checks named, opendkim, opendmarc and policyd-spf, too; for
 * the queue PostgreSQL.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { benchChecks, CHECK_SCENARIOS } from "./checks.ts";
import { benchHostile, HOSTILE_SCENARIOS } from "./hostile.ts";
import { benchQueue, QUEUE_SCENARIOS } from "./queue.ts";
import { benchReceive, SCENARIOS } from "./receive.ts";
import { benchRelay, RELAY_SCENARIOS } from "./relay.ts";
import { SERVERS } from "./servers.ts";
import { benchSubmit, SUBMIT_SCENARIOS } from "./submit.ts";

const USAGE = `usage: deno task bench [flags]
  --only NAMES      scenarios, separated by commas, or "receive", "relay", "checks", "hostile", "submit",
                    "queue"; there are:
                    ${names(SCENARIOS)}
                    ${names(RELAY_SCENARIOS)}
                    ${names(CHECK_SCENARIOS)}
                    ${names(HOSTILE_SCENARIOS)}
                    ${names(SUBMIT_SCENARIOS)}
                    ${names(QUEUE_SCENARIOS)}
  --servers NAMES   of ${SERVERS.join(",")}; default: both
  --rounds N        rounds in turn, of which the median is taken; default: 5
  --bare            beside them, a server in Deno that does the least, for what is received
  --quick           a tenth of the messages and one round, to see whether it runs
The folders are made in $TMPDIR, which must lie on the disk that is to be measured.
`;

function names(scenarios: readonly { readonly name: string }[]): string {
  return scenarios.map(({ name }) => name).join(" ");
}

const { values } = parseArgs({
  args: Deno.args.filter((argument) => argument !== "--"),
  options: {
    only: { type: "string" },
    servers: { type: "string", default: SERVERS.join(",") },
    rounds: { type: "string", default: "5" },
    bare: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(USAGE);
  Deno.exit(0);
}

const only = values.only?.split(",");
const servers = SERVERS.filter((name) => values.servers.split(",").includes(name));
const receive = wanted(SCENARIOS, "receive");
const relay = wanted(RELAY_SCENARIOS, "relay");
const checks = wanted(CHECK_SCENARIOS, "checks");
const hostile = wanted(HOSTILE_SCENARIOS, "hostile");
const submit = wanted(SUBMIT_SCENARIOS, "submit");
const queue = wanted(QUEUE_SCENARIOS, "queue");
const chosen = [receive, relay, checks, hostile, submit, queue].some(({ length }) => length > 0);
if (!chosen || servers.length === 0) {
  console.error(USAGE);
  Deno.exit(64);
}

function wanted<T extends { readonly name: string; readonly messages: number; readonly sessions?: number }>(
  scenarios: readonly T[],
  group: string,
): T[] {
  const chosen = scenarios.filter(({ name }) =>
    only === undefined || only.includes(name) || only.includes(group)
  );
  return chosen.map((scenario) =>
    values.quick
      ? { ...scenario, messages: Math.max(scenario.sessions ?? 1, Math.ceil(scenario.messages / 10)) }
      : scenario
  );
}

const options = {
  servers,
  rounds: values.quick ? 1 : Number(values.rounds),
  progress: (line: string) => console.error(line),
};
const tables = [
  ...receive.length > 0 ? [await benchReceive({ ...options, scenarios: receive, bare: values.bare })] : [],
  ...relay.length > 0 ? [await benchRelay({ ...options, scenarios: relay })] : [],
  ...checks.length > 0 ? [await benchChecks({ ...options, scenarios: checks })] : [],
  ...hostile.length > 0 ? [await benchHostile({ ...options, scenarios: hostile })] : [],
  ...submit.length > 0 ? [await benchSubmit({ ...options, scenarios: submit })] : [],
  ...queue.length > 0 ? [await benchQueue({ ...options, scenarios: queue })] : [],
];

const cpu = (await Deno.readTextFile("/proc/cpuinfo")).match(/^model name\s*: (.*)$/m)?.[1] ??
  "unknown processor";
console.log(
  `${
    new Date().toISOString().slice(0, 10)
  }, ${navigator.hardwareConcurrency} × ${cpu}, Deno ${Deno.version.deno}\n`,
);
console.log(tables.join("\n"));
