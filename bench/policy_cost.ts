/**
 * What looking for MTA-STS policies costs serve-out: mail to many domains that have none, with `mta_sts` on and off in
 * turn. The processor time a message is the figure to go by on a machine that does other things, too.
 *
 *     deno run -A --frozen bench/policy_cost.ts [ROUNDS [MESSAGES]]
 *
 * @module
 */
import { startBind } from "../tests/support/peers/bind.ts";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { startServeOut } from "../tests/support/peers/mailapp.ts";
import { freePort } from "../tests/support/peers/ports.ts";
import { until } from "../tests/support/peers/process.ts";
import { costOf } from "./process_tree.ts";
import { buildQuickLoad } from "./quick_load.ts";
import { WARM_UP } from "./servers.ts";
import { startSinks } from "./sinks.ts";
import { figure, markdownTable, median } from "./statistics.ts";

/** Domains, of which each gets one message. */
const DOMAINS = Number(Deno.args[1] ?? 10_000);
const BEFORE = Math.min(WARM_UP, DOMAINS);
const SIZE = 4096;
const HOSTS = Array.from({ length: 10 }, (_, index) => `127.0.1.${index + 1}`);

interface Measurement {
  /** Messages a second. */
  readonly rate: number;
  /** Processor milliseconds of serve-out a message. */
  readonly cpu: number;
}

const rounds = Number(Deno.args[0] ?? 3);
await using folder = await makeFolder("bench-policy");
const load = await buildQuickLoad(folder);
const zone = [
  ...HOSTS.map((address, index) => `host${index} A ${address}`),
  ...Array.from({ length: DOMAINS }, (_, index) => `d${index + 1} MX 10 host${index % HOSTS.length}`),
].join("\n");
await using dns = await startBind({ "bench.test": zone }, {});
const measured = new Map<boolean, Measurement[]>([[false, []], [true, []]]);
for (let round = 0; round < rounds; round++) {
  for (const lookUp of round % 2 === 0 ? [false, true] : [true, false]) {
    const measurement = await measure(lookUp);
    measured.get(lookUp)?.push(measurement);
    console.error(
      `round ${round + 1}, mta_sts = ${lookUp}: ${figure(measurement.rate)}/s, CPU ${
        figure(measurement.cpu)
      } ms`,
    );
  }
}
const middle = (lookUp: boolean, key: keyof Measurement) =>
  median(measured.get(lookUp)?.map((measurement) => measurement[key]) ?? []);
const more = (key: keyof Measurement) => `${figure((middle(true, key) / middle(false, key) - 1) * 100)} %`;
console.log(markdownTable([
  [`${DOMAINS} domains without a policy`, "mta_sts = false", "mta_sts = true", "difference"],
  ["messages a second", figure(middle(false, "rate")), figure(middle(true, "rate")), more("rate")],
  ["CPU ms a message", figure(middle(false, "cpu")), figure(middle(true, "cpu")), more("cpu")],
]));

async function measure(lookUp: boolean): Promise<Measurement> {
  const smtpPort = freePort();
  await using server = await startServeOut({
    dnsPort: dns.port,
    logFile: folder.at("serve-out.log"),
    settings: { smtp_port: smtpPort, max_connections_per_host: 20, mta_sts: lookUp, tls_reports: false },
  });
  await using sinks = await startSinks(folder, { port: smtpPort, hosts: HOSTS });
  const common = { port: server.port, sessions: 20, size: SIZE };
  await load({ ...common, messages: BEFORE, recipient: "alice@d1.bench.test" });
  await until(async () => await sinks.count() >= BEFORE, { what: "the warm-up", within: 300_000 });
  const { result: seconds, cpu } = await costOf(server.program.pid, async () => {
    const begin = performance.now();
    await load({ ...common, messages: DOMAINS, recipient: "alice@d{n}.bench.test", domains: DOMAINS });
    await until(async () => await sinks.count() >= BEFORE + DOMAINS, {
      what: "the last message",
      within: 600_000,
    });
    return (performance.now() - begin) / 1000;
  });
  await Deno.remove(folder.at("serve-out.log"));
  return { rate: DOMAINS / seconds, cpu: cpu * 1000 / DOMAINS };
}
