/**
 * The long form of `cluster_test.ts`: `deno task cluster`, as root on Debian with PostgreSQL.
 *
 * Three hosts with one queue, under load. In each round two of them, at random, are killed twice each; one of these is
 * frozen past its lease, and the other cut off. In two of five rounds the primary of the database is lost meanwhile, and
 * its standby promoted. Then the clients rest until the queue is empty, and the round is balanced.
 *
 * Each round draws from its own seed, made of the first one, so that what was broken off is taken up again:
 * `deno task cluster -- --seed N --round K`. SIGINT ends it after the round.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { anyMoment, seeded } from "../support/chance.ts";
import { type ClusterHost, ClusterSetting } from "./cluster_setting.ts";

const LEASE = 5_000;
// Milliseconds, below which the time before each fault is drawn.
const BETWEEN = 1_500;
// The receiver answers one dot in four so late, in milliseconds, so that kills come between dot and answer.
const ANSWER_AFTER = 800;

const { values } = parseArgs({
  args: Deno.args.filter((argument) => argument !== "--"),
  options: {
    /** What all chance is made of. */
    seed: { type: "string", default: String(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) },
    /** The first round to run. */
    round: { type: "string", default: "0" },
    /** Where to end; each round has four kills, a freeze and a cut. */
    rounds: { type: "string", default: "50" },
  },
});
const seed = Number(values.seed) >>> 0;
const [first, end] = [Number(values.round), Number(values.rounds)];
const startedAt = performance.now();
const done = { kills: 0, freezes: 0, cuts: 0, losses: 0 };

let stopping = false;
Deno.addSignalListener("SIGINT", () => stopping = true);
console.log(`seed ${seed}: rounds ${first} to ${end - 1}, lease ${LEASE} ms`);
let round = first;
try {
  const answers = seeded(seed);
  const answerAfter = () => answers() < 0.25 ? answers() * ANSWER_AFTER : 0;
  await using setting = await ClusterSetting.start({ lease: LEASE, answerAfter });
  for (; round < end && !stopping; round++) {
    console.log(await runRound(setting, seeded(seed + round + 1)));
  }
  for (const host of setting.hosts) await host.stop();
} catch (error) {
  console.error(error);
  console.error(`to repeat: deno task cluster -- --seed ${seed} --round ${round}`);
  Deno.exitCode = 1;
}

/** What there was in a round, in a line. */
async function runRound(setting: ClusterSetting, random: () => number): Promise<string> {
  const hosts = [...setting.hosts];
  for (const host of hosts) host.resume();
  const draw = () => hosts.splice(Math.floor(random() * hosts.length), 1)[0] as ClusterHost;
  const [one, other] = [draw(), draw()];
  // All is drawn before anything happens, so that the same seed gives the same faults.
  const plans = [
    { host: one, faults: shuffled(["kill", "freeze", "kill"] as const, random) },
    { host: other, faults: shuffled(["kill", "cut", "kill"] as const, random) },
  ].map(({ host, faults }) => ({ host, faults: faults.map((kind) => ({ kind, wait: random() })) }));
  const loses = round % 5 === 1 || round % 5 === 3;
  const lossAfter = random();
  await setting.progress("at first");
  setting.longestSilence = 0;
  const faults = plans.map(async ({ host, faults }) => {
    for (const { kind, wait } of faults) {
      await anyMoment(() => wait, BETWEEN);
      await host[kind]();
    }
  });
  const loss = loses ? anyMoment(() => lossAfter, 3 * BETWEEN).then(() => setting.losePrimary()) : undefined;
  await Promise.all([...faults, loss]);
  await setting.progress("after all faults");
  const { longestSilence } = setting;
  const { doubled, emptiedAfter } = await setting.balance();
  done.kills += 4;
  done.freezes++;
  done.cuts++;
  if (loses) done.losses++;
  const counts = Object.entries(done).map(([what, count]) => `${count} ${what}`).join(", ");
  return `round ${round}, ${
    seconds(performance.now() - startedAt)
  }: ${counts}; ${setting.accepted} messages accepted, ` +
    `none lost, ${doubled} twice with a record; no arrival for ${seconds(longestSilence)}` +
    `${loses ? " (primary lost)" : ""}, queue empty after ${seconds(emptiedAfter)}`;
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items.map((item) => ({ item, at: random() })).sort((a, b) => a.at - b.at).map(({ item }) => item);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
