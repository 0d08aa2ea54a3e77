/**
 * How long a built file takes from its start until its server greets, and what that costs in processor time:
 * `deno run -A bench/start.ts [--rounds N] FILE…`, by default dist/mailapp, 15 rounds. Several files take turns. Each
 * starts once before, to unpack itself and to make its certificate.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { cpuSeconds } from "./process_tree.ts";
import { figure, markdownTable, median } from "./statistics.ts";

const PORT = 2599;
const GIVE_UP = 30_000;

const { values: { rounds }, positionals } = parseArgs({
  args: Deno.args,
  options: { rounds: { type: "string", default: "15" } },
  allowPositionals: true,
});
const files = positionals.length > 0 ? positionals : ["dist/mailapp"];
const folder = await Deno.makeTempDir({ prefix: "mailapp-start-" });
try {
  const rows = [["", "until it greets: median", "fastest", "processor time: mean"]];
  for (const server of ["serve-in", "serve-out"]) {
    const found = new Map(files.map((file) => [file, { times: [] as number[], cpu: [] as number[] }]));
    for (const file of files) await start(file, server);
    for (let round = 0; round < Number(rounds); round++) {
      for (const [file, { times, cpu }] of found) {
        const measured = await start(file, server);
        times.push(measured.time);
        cpu.push(measured.cpu);
      }
    }
    for (const [file, { times, cpu }] of found) {
      const mean = cpu.reduce((sum, value) => sum + value, 0) / cpu.length;
      rows.push([
        `${file} ${server}`,
        `${figure(median(times))} ms`,
        `${figure(Math.min(...times))} ms`,
        `${figure(mean)} ms`,
      ]);
    }
  }
  console.log(markdownTable(rows));
} finally {
  await Deno.remove(folder, { recursive: true });
}

/** One start, stopped as soon as the server has greeted; both figures in milliseconds. */
async function start(file: string, server: string): Promise<{ time: number; cpu: number }> {
  const config = `${folder}/config.toml`;
  await Deno.writeTextFile(
    config,
    `hostname = "mx.start.test"
data_dir = "${folder}/data"
tls = { self_signed = true }
serve-in = { listen = ["127.0.0.1"], port = ${PORT}, tls_port = false, domains = ["start.test"] }
serve-out = { listen = ["127.0.0.1"], port = ${PORT} }
mailboxes = { path = "${folder}/mail/{user}", users = ["alice"], aliases = { postmaster = "alice" } }
`,
  );
  const began = performance.now();
  const process = new Deno.Command(file, {
    args: [server, "--config", config],
    // As a service manager does: what the bench was started with (more certificates to read, say) is not the program's.
    clearEnv: true,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", MAILAPP_CACHE: `${folder}/cache` },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await greeted(began + GIVE_UP);
    return { time: performance.now() - began, cpu: cpuSeconds(process.pid) * 1000 };
  } finally {
    process.kill("SIGTERM");
    await process.status;
  }
}

/** Connects until someone answers. */
async function greeted(deadline: number): Promise<void> {
  const buffer = new Uint8Array(512);
  for (;;) {
    try {
      using conn = await Deno.connect({ hostname: "127.0.0.1", port: PORT });
      if (await conn.read(buffer) !== null) return;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused) || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}
