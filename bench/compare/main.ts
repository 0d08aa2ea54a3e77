/**
 * `deno task compare`: our servers beside those that people would run instead, in one run. Needs root, Postfix, named,
 * strace, gcc, libssl-dev, opendkim, opendmarc, policyd-spf and Dovecot, and what bench/compare/fetch.sh gets.
 * apart.sh makes ports 25 and 53 free.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { dirname, relative } from "@std/path";
import { makeDkimKey } from "../../dkim/keys.ts";
import { makeFolder } from "../../tests/support/peers/folder.ts";
import { createTestAuthority } from "../../tests/support/test_authority.ts";
import { HOSTNAME } from "../server_under_load.ts";
import { startSignedMail } from "../signed_mail.ts";
import { chart } from "./chart.ts";
import { buildClient, DOMAINS } from "./client.ts";
import { withTables } from "./page.ts";
import { DOMAIN } from "./peer.ts";
import { PEERS } from "./peers.ts";
import { FORMAT, parseReport, type Report } from "./report.ts";
import { ROWS } from "./rows.ts";
import { assertOnDisk, compare } from "./run.ts";
import { tables } from "./table.ts";
import { zone } from "./zone.ts";

const USAGE = `usage: deno task compare [flags]
  --only NAMES      rows or kinds of work, separated by commas: store, relay, sign, check, submit, or
                    ${ROWS.map(({ name }) => name).join(" ")}
  --servers NAMES   of ${PEERS.map(({ name }) => name).join(",")}; default: all
  --rounds N        rounds in turn, of which the median is taken; default: 3
  --seconds N       what one measurement is to take; default: 5
  --warm-up N       seconds at most in which a server gets as fast as it can; default: 30
  --quick           the same as --seconds 1 --warm-up 6
  --json FILE       writes all figures there; their shape is described in bench/compare/README.md
  --svg FILE        draws them
  --page FILE       puts the tables, and the drawing of --svg, into a page in Markdown: docs/performance.md
  --from FILE       measures nothing: tables and drawing of what --json wrote
The folders are made in $TMPDIR, which must lie on the disk that is to be measured.
`;

const { values } = parseArgs({
  args: Deno.args.filter((argument) => argument !== "--"),
  options: {
    only: { type: "string" },
    servers: { type: "string" },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string" },
    "warm-up": { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    svg: { type: "string" },
    page: { type: "string" },
    from: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  Deno.exit(0);
}
const only = values.only?.split(",");
const rows = ROWS.filter(({ name, work }) => only?.includes(name) || (only?.includes(work) ?? true));
const servers = values.servers?.toLowerCase().split(",");
const peers = PEERS.filter(({ name }) => servers?.includes(name.toLowerCase()) ?? true);
const rounds = Number(values.rounds);
const seconds = Number(values.seconds ?? (values.quick ? 1 : 5));
const warmUp = Number(values["warm-up"] ?? (values.quick ? 6 : 30));
if (rows.length === 0 || peers.length === 0 || !(rounds >= 1) || !(seconds > 0) || !(warmUp >= 0)) {
  console.error(USAGE);
  Deno.exit(64);
}

if (values.from === undefined && Deno.env.get("MAILAPP_APART") !== "yes") Deno.exit(await runApart());

const report = values.from === undefined
  ? await measured()
  : parseReport(await Deno.readTextFile(values.from));
if (values.json !== undefined) await Deno.writeTextFile(values.json, `${JSON.stringify(report, null, 1)}\n`);
if (values.svg !== undefined) await Deno.writeTextFile(values.svg, chart(report));
const { page } = values;
if (page !== undefined) {
  const picture = values.svg === undefined
    ? []
    : [`![The rates of these tables](${below(page, values.svg)})`];
  const text = [...picture, tables(report)].join("\n\n");
  await Deno.writeTextFile(page, withTables(await Deno.readTextFile(page), text));
}
console.log(tables(report));

/** Runs this again by apart.sh; its exit code. */
async function runApart(): Promise<number> {
  const [script, main] = ["apart.sh", "main.ts"].map((name) => fileURLToPath(new URL(name, import.meta.url)));
  const run = [Deno.execPath(), "run", "-A", "--frozen", main ?? "", ...Deno.args];
  const { code } = await new Deno.Command("sh", { args: [script ?? "", ...run], stdin: "null" }).spawn()
    .status;
  return code;
}

/** The path of a file as a page beside or above it names it. */
function below(page: string, file: string): string {
  return relative(dirname(page), file);
}

async function measured(): Promise<Report> {
  const begin = performance.now();
  const date = new Date().toISOString();
  const machine = await describeMachine();
  await using folder = await makeFolder("compare");
  await assertOnDisk(folder);
  const leaf = await (await createTestAuthority()).issue({ names: [HOSTNAME] });
  const certificate = {
    cert: await folder.write("cert.pem", leaf.cert),
    key: await folder.write("key.pem", leaf.key, { mode: 0o600 }),
  };
  await using mail = await startSignedMail(4096, { [DOMAIN]: zone(DOMAINS) });
  const results = await compare({
    rows,
    peers,
    rounds,
    seconds,
    warmUp,
    world: { folder, certificate, dns: mail.dns, dkimKey: await makeDkimKey("rsa-sha256"), mail },
    client: await buildClient(folder, mail),
    progress: (line) => console.error(line),
  });
  return {
    format: FORMAT,
    date,
    command: ["deno task compare", ...Deno.args].join(" "),
    minutes: Math.round((performance.now() - begin) / 6000) / 10,
    machine,
    servers: await Promise.all(
      peers.map(async (peer) => ({ name: peer.name, version: await peer.version() })),
    ),
    rows: results,
  };
}

async function describeMachine(): Promise<Report["machine"]> {
  const cpu = (await Deno.readTextFile("/proc/cpuinfo")).match(/^model name\s*: (.*)$/m)?.[1];
  return {
    processor: cpu ?? "unknown",
    cores: navigator.hardwareConcurrency,
    kernel: Deno.osRelease(),
    deno: Deno.version.deno,
    load: Deno.loadavg()[0] ?? NaN,
  };
}
