/**
 * `deno task bench`: measures the servers beside Postfix and the disk, and prints tables for docs/performance.md.
 * Needs root, Postfix with smtp-source, and gcc.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { benchReceive, SCENARIOS, SERVERS } from "./receive.ts";

const USAGE = `usage: deno task bench [flags]
  --only NAMES      scenarios, separated by commas: ${SCENARIOS.map(({ name }) => name).join(" ")}
  --servers NAMES   of ${SERVERS.join(",")}; default: both
  --rounds N        rounds in turn, of which the median is taken; default: 5
  --quick           a tenth of the messages and one round, to see whether it runs
The folders are made in $TMPDIR, which must lie on the disk that is to be measured.
`;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    servers: { type: "string", default: SERVERS.join(",") },
    rounds: { type: "string", default: "5" },
    quick: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(USAGE);
  Deno.exit(0);
}

const only = values.only?.split(",");
const wanted = SCENARIOS.filter(({ name }) => only === undefined || only.includes(name));
const servers = SERVERS.filter((name) => values.servers.split(",").includes(name));
if (wanted.length === 0 || servers.length === 0) {
  console.error(USAGE);
  Deno.exit(64);
}

const report = await benchReceive({
  scenarios: values.quick
    ? wanted.map((scenario) => ({
      ...scenario,
      messages: Math.max(scenario.sessions, Math.ceil(scenario.messages / 10)),
    }))
    : wanted,
  servers,
  rounds: values.quick ? 1 : Number(values.rounds),
  progress: (line) => console.error(line),
});

const cpu = (await Deno.readTextFile("/proc/cpuinfo")).match(/^model name\s*: (.*)$/m)?.[1] ??
  "unknown processor";
console.log(
  `${
    new Date().toISOString().slice(0, 10)
  }, ${navigator.hardwareConcurrency} × ${cpu}, Deno ${Deno.version.deno}\n`,
);
console.log(report);
