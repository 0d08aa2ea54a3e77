/**
 * What looking costs, and how long it takes:
 *
 *     deno run -A --frozen bench/seeing.ts dashboard [MESSAGES]   # its pages over HTTP, with so many deferred messages
 *     deno run -A --frozen bench/seeing.ts trace [MIB]            # mailapp trace over so large a log, packed and plain
 *     deno run -A --frozen bench/seeing.ts counting [MESSAGES]    # what serve-in counts, and what that costs it
 *
 * By default 100,000 messages, 1,024 MiB and 5,000 messages. `dashboard` measures a scrape of both servers' metrics, too.
 *
 * @module
 */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import process from "node:process";
import { createGzip } from "node:zlib";
import { counter, counters, histogram } from "../base/counters.ts";
import { formatJson } from "../observe/log_format.ts";
import { World } from "../tests/support/dashboard_world.ts";
import { RunningMailapp, Workspace } from "../tests/support/mailapp.ts";
import { freePort } from "../tests/support/peers/ports.ts";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { until } from "../tests/support/peers/process.ts";
import { environmentOf, program } from "../tests/support/program.ts";
import { load } from "./load_client.ts";
import { cpuSeconds, residentMemory } from "./process_tree.ts";
import { figure, markdownTable, median } from "./statistics.ts";

const MIB = 1024 * 1024;
const HOUR = 3_600_000;
const PATIENCE = 15 * 60_000;

/** Milliseconds by the clock, and of the processor, of `pid`. */
async function timed(pid: number, times: number, work: () => Promise<void>) {
  const walls: number[] = [];
  const before = cpuSeconds(pid);
  for (let time = 0; time < times; time++) {
    const began = performance.now();
    await work();
    walls.push(performance.now() - began);
  }
  const cpu = (cpuSeconds(pid) - before) * 1000 / times;
  return { median: median(walls), most: Math.max(...walls), cpu };
}

async function dashboard(messages: number): Promise<void> {
  console.error(`filling the queue with ${messages} messages`);
  await using world = await World.start(messages);
  const pid = world.dashboard?.pid ?? 0;
  const wanted = messages.toLocaleString("en-US").replaceAll(",", "\u202f");
  await until(async () => (await world.ask("/queue")).text.includes(`<b>${wanted}</b>`), {
    what: "the queue",
    within: PATIENCE,
  });
  const rows = [["page", "median, ms", "longest, ms", "processor, ms"]];
  const paths = [
    ...[
      "/",
      "/queue",
      "/queue?order=next&show=messages",
      "/queue?domain=late.example&show=messages&page=900",
    ],
    ...["/queue?sender=newsletter@example.com&order=attempts", "/refused", "/traffic", "/health"],
    ...[`/queue/${world.ids[7]}`, `/trace?what=${world.ids[0]}`],
  ];
  for (const path of paths) {
    // Of 40, so that some come while the queue is read anew.
    const { median, most, cpu } = await timed(pid, 40, async () => {
      const { status } = await world.ask(path);
      if (status !== 200) throw new Error(`${path}: ${status}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    });
    rows.push([path.replace(/\w{20,}/, "ID"), figure(median - 100), figure(most - 100), figure(cpu)]);
  }
  console.log(markdownTable(rows));
  console.log(`dashboard: ${figure(residentMemory(pid).peak / MIB)} MiB at most`);
  const serveOut = world.serveOut?.pid ?? 0;
  const [, metrics = 0] = world.ports;
  const scrape = async () => {
    await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
  };
  await scrape();
  const often = await timed(serveOut, 200, scrape);
  console.log(
    `a scrape of serve-out: ${figure(often.median)} ms by the clock, ${
      figure(often.cpu)
    } ms of the processor: ` +
      `${figure(often.cpu / 150)} % of a processor if there is one every 15 s`,
  );
}

/** Lines of a server with some traffic, until there are so many octets. */
function* lines(octets: number): Generator<string> {
  const begin = Date.now() - 10 * 24 * HOUR;
  for (let index = 0, sum = 0; sum < octets; index++) {
    const time = begin + index * 100;
    const session = `ab${index.toString(36).padStart(6, "0")}`;
    const id = `mi${index.toString(36).padStart(8, "0")}a3f7c2q`;
    const line = (event: string, fields: Parameters<typeof formatJson>[0]["fields"]) =>
      `${formatJson({ time, level: "info", event, fields: { server: "serve-in", session, ...fields } })}\n`;
    const peer = `198.51.${index % 256}.${(index >> 8) % 256}`;
    const file = `/var/mail/example.com/user${index % 500}/new/${id}.mx`;
    const text =
      line("message.delivered", { id, mailbox: `user${index % 500}@example.com`, file, octets: 4096 }) +
      line("message.accepted", {
        ...{ peer, id, from: `s${index % 9000}@there${index % 700}.example`, octets: 4096 },
        ...{ to: [`user${index % 500}@example.com`], spf: "pass", dkim: "pass", dmarc: "pass" },
      }) + line("session.closed", { peer, reason: "quit", messages: 1, seconds: 0.2 });
    sum += text.length;
    yield text;
  }
}

async function trace(mib: number): Promise<void> {
  await using folder = await makeFolder("bench-trace");
  const FILES = 10;
  const config = await folder.write(
    "config.toml",
    `hostname = "mx.example.com"\ndata_dir = "${folder.at("data")}"\n`,
  );
  console.error(`writing ${mib} MiB of logs, packed and plain`);
  for (const kind of ["packed", "plain"]) await folder.mkdir(kind);
  let count = 0;
  let wanted = "";
  const all = lines(mib * MIB);
  for (let file = FILES; file >= 1; file--) {
    const name = `mail.log.${file}`;
    const packed = createGzip();
    packed.pipe(createWriteStream(`${folder.at("packed")}/${name}.gz`));
    using plain = await Deno.open(`${folder.at("plain")}/${name}`, { create: true, write: true });
    for (let octets = 0, batch = ""; octets < mib * MIB / FILES;) {
      const { value, done } = all.next();
      if (done) break;
      octets += value.length;
      batch += value;
      if (++count === 1_000_000) wanted = /"id":"(\w+)"/.exec(value)?.[1] ?? "";
      if (batch.length < MIB && octets < mib * MIB / FILES) continue;
      plain.writeSync(new TextEncoder().encode(batch));
      if (!packed.write(batch)) await once(packed, "drain");
      batch = "";
    }
    packed.end();
    await once(packed, "end");
  }
  wanted ||= "mi00000001a3f7c2q";
  const rows = [["trace over", "seconds", "processor, s", "memory, MiB"]];
  for (const kind of ["packed", "plain"]) {
    for (const what of [wanted, "s77@there77.example"]) {
      const seconds: number[] = [];
      const cpus: number[] = [];
      let memory = 0;
      for (let round = 0; round < 3; round++) {
        const [first = "", ...rest] = program();
        const before = cpuSeconds(Deno.pid);
        const began = performance.now();
        const child = new Deno.Command(first, {
          args: [...rest, "trace", what, "--log", `${folder.at(kind)}/mail.log`, "--config", config],
          env: environmentOf("trace"),
          stdout: "piped",
          stderr: "piped",
        }).spawn();
        const sampling = setInterval(() => {
          const { peak } = residentMemory(child.pid);
          if (peak > memory) memory = peak;
        }, 50);
        const { stdout, stderr } = await child.output();
        clearInterval(sampling);
        if (!new TextDecoder().decode(stdout).includes("message mi")) {
          throw new Error(new TextDecoder().decode(stderr) + new TextDecoder().decode(stdout));
        }
        seconds.push((performance.now() - began) / 1000);
        cpus.push(cpuSeconds(Deno.pid) - before);
      }
      rows.push([
        `${mib} MiB, ${kind}, ${what.includes("@") ? "an address" : "an id"}`,
        ...[median(seconds), median(cpus), memory / MIB].map(figure),
      ]);
    }
  }
  console.log(markdownTable(rows));
}

/** Nanoseconds of the processor for each call. */
function costOf(work: (index: number) => void): number {
  const CALLS = 5_000_000;
  for (let index = 0; index < CALLS / 10; index++) work(index);
  const { user, system } = process.cpuUsage();
  for (let index = 0; index < CALLS; index++) work(index);
  const spent = process.cpuUsage({ user, system });
  return (spent.user + spent.system) * 1000 / CALLS;
}

/** The sum of all counters, and how many values the histograms have; octets counted are one call for each message. */
function callsIn(page: string): { readonly counts: number; readonly observations: number } {
  let [counts, observations] = [0, 0];
  for (const [, name = "", value] of page.matchAll(/^(mailapp_\w+)(?:\{.*\})? (\S+)/gm)) {
    if (name.endsWith("_count")) observations += Number(value);
    else if (name.endsWith("_total") && !name.endsWith("_bytes_total")) counts += Number(value);
  }
  return { counts, observations };
}

async function counting(messages: number): Promise<void> {
  const families = counters("bench_labels_total", { help: "for the bench", labels: ["one", "two"] });
  const plain = counter("bench_total", "for the bench");
  const latency = histogram("bench_seconds", "for the bench");
  const costs = {
    add: costOf(() => plain.add()),
    labelled: costOf((index) => families.with("code", index % 2 === 0 ? "a" : "b").add()),
    observe: costOf((index) => latency.observe((index % 1000) / 1000)),
  };
  await using workspace = await Workspace.create();
  const [port, metricsPort] = [freePort(), freePort()];
  const config = await workspace.configure({
    log: { file: workspace.file("mailapp.log") },
    "serve-in": { port },
    metrics: { serve_in: `127.0.0.1:${metricsPort}` },
  });
  await using server = new RunningMailapp(["serve-in", "--config", config]);
  const page = async () => await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  await until(async () => await page().then(() => true, () => false), {
    what: "the metrics",
    within: PATIENCE,
  });
  const send = (count: number) =>
    load({
      host: "127.0.0.1",
      port,
      sessions: 20,
      messages: count,
      size: 4096,
      recipient: "alice@example.com",
      keep: true,
    });
  await send(messages);
  const [before, spent] = [callsIn(await page()), cpuSeconds(server.pid)];
  await send(messages);
  const perMessage = (cpuSeconds(server.pid) - spent) * 1e9 / messages;
  const after = callsIn(await page());
  // And once for the octets.
  const counts = (after.counts - before.counts) / messages + 1;
  const observations = (after.observations - before.observations) / messages;
  const cost = counts * Math.max(costs.add, costs.labelled) + observations * costs.observe;
  console.log(markdownTable([
    ["processor time of", "ns"],
    ["counting", figure(costs.add)],
    ["counting by two labels", figure(costs.labelled)],
    ["observing for a histogram", figure(costs.observe)],
    [`a message to serve-in (4 KB, kept connections)`, figure(perMessage)],
    [`its ${figure(counts)} counts and ${figure(observations)} observations, at most`, figure(cost)],
  ]));
  console.log(`${figure(cost / perMessage * 100)} % of the message`);
}

const [what, amount] = Deno.args;
if (what === "dashboard") await dashboard(Number(amount ?? 100_000));
else if (what === "trace") await trace(Number(amount ?? 1024));
else if (what === "counting") await counting(Number(amount ?? 5_000));
else {
  console.error(
    "usage: deno run -A --frozen bench/seeing.ts dashboard [MESSAGES] | trace [MIB] | counting [MESSAGES]",
  );
  Deno.exit(64);
}
