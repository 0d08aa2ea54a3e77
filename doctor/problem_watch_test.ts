import assert from "node:assert/strict";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { problemMail } from "./problem_mail.ts";
import { currentProblems, type Problem, type ProblemAlerts, ProblemWatch } from "./problem_watch.ts";
import { until } from "../tests/support/until.ts";

const HOUR = 3_600_000;
const FULL: Problem = { kind: "disk", about: "/x", what: "it is full", next: "Make room." };
const OLD: Problem = { kind: "certificate", what: "it ends soon", next: "Renew it." };

class Setting implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly log = new RecordingLog();
  readonly directory = Deno.makeTempDirSync();
  readonly mails: string[] = [];
  readonly alerts: string[] = [];
  /** By a second way. */
  readonly mailed: string[] = [];
  unreachable = false;
  mailUnreachable = false;
  problems: readonly Problem[] = [];
  full = false;
  #rounds = 0;

  get stateFile(): string {
    return `${this.directory}/state.json`;
  }

  start(): Promise<ProblemWatch> {
    return ProblemWatch.start({
      checks: [() => this.problems, () => (this.#rounds++, [])],
      clock: this.clock,
      logger: this.log,
      stateFile: this.stateFile,
      alerts: [
        this.#way("webhook", { sent: this.alerts, isBroken: () => this.unreachable }),
        this.#way("mail", { sent: this.mailed, isBroken: () => this.mailUnreachable }),
      ],
      mail: (problems) => {
        if (this.full) return Promise.reject(new Error("no room"));
        this.mails.push(problems.map(({ kind }) => kind).join());
        return Promise.resolve();
      },
    });
  }

  #way(
    way: string,
    { sent, isBroken }: { readonly sent: string[]; readonly isBroken: () => boolean },
  ): ProblemAlerts {
    return {
      way,
      send: ({ firing, resolved }) => {
        if (isBroken()) return Promise.reject(new Error("no way"));
        const kinds = (list: readonly Pick<Problem, "kind">[]) => list.map(({ kind }) => kind).join();
        sent.push(`${kinds(firing)}|${kinds(resolved)}`);
        return Promise.resolve();
      },
    };
  }

  /** Waits for this many checks to finish. */
  async checks(count: number): Promise<void> {
    const end = this.#rounds + count;
    await until(() => this.#rounds >= end, "the checks", async () => {
      await this.clock.advance(10 * 60_000);
      // The file of what was told is written in real time.
      await until(() => this.clock.pending > 0, "the next check", settle);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}

Deno.test("ProblemWatch logs and mails each problem once a day, and says when it is over", async () => {
  await using setting = new Setting();
  {
    await using _watch = await setting.start();
    await setting.checks(2);
    assert.deepEqual(setting.log.events, []);
    setting.problems = [FULL];
    await setting.checks(3);
    assert.deepEqual(setting.mails, ["disk"]);
    assert.deepEqual(setting.log.events, [{
      level: "warn",
      event: "problem",
      fields: { ...FULL },
    }]);
    setting.problems = [FULL, OLD];
    await setting.checks(3);
    assert.deepEqual(setting.mails, ["disk", "certificate"]);
    await setting.checks(24 * 6);
    assert.deepEqual(setting.mails, ["disk", "certificate", "disk", "certificate"]);
    setting.problems = [];
    await setting.checks(1);
    assert.deepEqual(setting.log.named("problem.resolved").map(({ fields }) => fields), [
      { kind: "disk", about: "/x" },
      { kind: "certificate" },
    ]);
  }
  assert.equal(setting.clock.pending, 0);
});

Deno.test("ProblemWatch remembers over a restart what it told", async () => {
  await using setting = new Setting();
  setting.problems = [FULL];
  for (let i = 0; i < 3; i++) {
    await using _watch = await setting.start();
    await setting.checks(1);
  }
  assert.deepEqual(setting.mails, ["disk"]);
  assert.equal(setting.log.named("problem").length, 1);
  // A clock that was ahead must not silence it.
  setting.clock.jump(-30 * 24 * HOUR);
  await using _watch = await setting.start();
  await setting.checks(1);
  assert.deepEqual(setting.mails, ["disk", "disk"]);
});

Deno.test("ProblemWatch mails as soon as it can what it could not mail, and bears a damaged state", async () => {
  await using setting = new Setting();
  await Deno.writeTextFile(setting.stateFile, "{nonsense");
  setting.problems = [FULL];
  setting.full = true;
  await using _watch = await setting.start();
  assert.equal(setting.log.named("problem.check_failed").length, 1);
  await setting.checks(2);
  assert.deepEqual(setting.mails, []);
  assert.equal(setting.log.named("problem").length, 1);
  assert.equal(setting.log.named("problem.not_mailed").length, 2);
  setting.full = false;
  await setting.checks(2);
  assert.deepEqual(setting.mails, ["disk"]);
});

Deno.test("currentProblems() are those of the last check, unless that is long ago", async () => {
  await using setting = new Setting();
  const current = () => currentProblems(setting.stateFile, setting.clock.now());
  assert.deepEqual(await current(), []);
  {
    await using _watch = await setting.start();
    setting.problems = [FULL, OLD];
    await setting.checks(1);
    assert.deepEqual(await current(), [FULL, OLD]);
    setting.problems = [OLD];
    // Long after it was told.
    await setting.checks(24);
    assert.deepEqual(await current(), [OLD]);
    setting.problems = [];
    await setting.checks(1);
    assert.deepEqual(await current(), []);
    setting.problems = [OLD];
    await setting.checks(1);
    assert.deepEqual(await current(), [OLD]);
  }
  setting.clock.jump(HOUR);
  assert.deepEqual(await current(), []);
  await Deno.writeTextFile(setting.stateFile, "{nonsense");
  assert.deepEqual(await current(), []);
});

Deno.test("problemMail() is a message of short lines, whatever others said", () => {
  const hostile = { kind: "reply", what: `he\r\nBcc: x@y.test\u0007 ${"long".repeat(300)}`, next: "Ü." };
  const text = new TextDecoder().decode(problemMail([FULL, hostile], {
    server: "serve-out",
    hostname: "mx.example.com",
    to: "postmaster@example.com",
    id: "x1",
    now: 0,
  }));
  const [header = "", body = ""] = text.split("\r\n\r\n", 2);
  assert.match(header, /^Subject: mx\.example\.com: serve-out needs attention \(disk, reply\)$/m);
  assert.match(header, /^To: <postmaster@example\.com>$/m);
  assert.match(header, /^Auto-Submitted: auto-generated$/m);
  assert.doesNotMatch(text, /^Bcc/m);
  assert.match(body, /^\* it is full\.\r\n {2}What to do: Make room\./);
  for (const line of text.split("\r\n")) assert.ok(line.length < 500, line);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(text.replaceAll("\r\n", ""), /[\u0000-\u001f]/);
});

Deno.test("currentProblems() reads as many problems as there may be, whatever they quote", async () => {
  await using setting = new Setting();
  setting.problems = Array.from({ length: 60 }, (_, index) => ({
    kind: "reply",
    about: `cause ${index} ${"x".repeat(300)}`,
    what: "\x01".repeat(800),
    next: "n".repeat(500),
  }));
  await using _watch = await setting.start();
  await setting.checks(1);
  assert.deepEqual(await currentProblems(setting.stateFile, setting.clock.now()), setting.problems);
});

Deno.test("ProblemWatch alerts of each problem once a day, and once that it is over, also after a restart", async () => {
  await using setting = new Setting();
  {
    await using _watch = await setting.start();
    setting.problems = [FULL];
    await setting.checks(3);
    assert.deepEqual(setting.alerts, ["disk|"]);
    setting.problems = [FULL, OLD];
    await setting.checks(2);
    assert.deepEqual(setting.alerts, ["disk|", "certificate|"]);
    setting.problems = [OLD];
    await setting.checks(2);
    assert.deepEqual(setting.alerts, ["disk|", "certificate|", "|disk"]);
  }
  setting.problems = [];
  {
    await using _watch = await setting.start();
    await setting.checks(2);
    assert.deepEqual(setting.alerts.slice(3), ["|certificate"]);
    setting.problems = [FULL];
    await setting.checks(24 * 6 + 2);
    assert.deepEqual(setting.alerts.slice(4), ["disk|", "disk|"]);
  }
});

Deno.test("ProblemWatch says that it could not alert, and sends what holds then at the next check", async () => {
  await using setting = new Setting();
  await using _watch = await setting.start();
  setting.unreachable = true;
  setting.problems = [FULL];
  await setting.checks(2);
  assert.deepEqual(setting.log.named("alert.failed").map(({ fields }) => fields), [
    { way: "webhook", kinds: ["disk"], error: "no way", again: true },
    { way: "webhook", kinds: ["disk"], error: "no way", again: true },
  ]);
  setting.unreachable = false;
  await setting.checks(2);
  assert.deepEqual(setting.alerts, ["disk|"]);
  // No alert was sent about what came and went meanwhile.
  setting.unreachable = true;
  setting.problems = [FULL, OLD];
  await setting.checks(1);
  setting.unreachable = false;
  setting.problems = [FULL];
  await setting.checks(1);
  assert.deepEqual(setting.alerts, ["disk|"]);
});

Deno.test("ProblemWatch tries each way again by itself, also after a restart, and the other one does not repeat", async () => {
  await using setting = new Setting();
  setting.problems = [FULL];
  setting.mailUnreachable = true;
  {
    await using _watch = await setting.start();
    await setting.checks(2);
    assert.deepEqual([setting.alerts, setting.mailed], [["disk|"], []]);
  }
  await using _watch = await setting.start();
  await setting.checks(1);
  assert.deepEqual(
    setting.log.named("alert.failed").map(({ fields }) => fields["way"]),
    ["mail", "mail", "mail"],
  );
  setting.mailUnreachable = false;
  await setting.checks(2);
  assert.deepEqual([setting.alerts, setting.mailed], [["disk|"], ["disk|"]]);
  setting.mailUnreachable = true;
  setting.problems = [];
  await setting.checks(2);
  setting.mailUnreachable = false;
  await setting.checks(2);
  assert.deepEqual([setting.alerts, setting.mailed], [["disk|", "|disk"], ["disk|", "|disk"]]);
});

Deno.test("ProblemWatch gives the news that a problem is over up after a day of failures, and says so", async () => {
  await using setting = new Setting();
  setting.problems = [FULL];
  await using _watch = await setting.start();
  await setting.checks(1);
  setting.problems = [];
  setting.mailUnreachable = true;
  await setting.checks(24 * 6 + 10);
  const failures = setting.log.named("alert.failed").map(({ fields }) => fields["again"]);
  assert.deepEqual([failures.length, failures.at(-2), failures.at(-1)], [24 * 6, true, false]);
  setting.mailUnreachable = false;
  await setting.checks(2);
  assert.deepEqual(setting.mailed, ["disk|"]);
});

Deno.test("ProblemWatch reads a state file that has one time for all ways", async () => {
  await using setting = new Setting();
  const now = setting.clock.now();
  await Deno.writeTextFile(
    setting.stateFile,
    JSON.stringify({ told: { "disk /x": { logged: now, mailed: now, alerted: now } } }),
  );
  setting.problems = [FULL];
  await using _watch = await setting.start();
  await setting.checks(2);
  assert.deepEqual([setting.alerts, setting.mailed], [[], []]);
  setting.problems = [];
  await setting.checks(1);
  assert.deepEqual([setting.alerts, setting.mailed], [["|disk"], ["|disk"]]);
});
