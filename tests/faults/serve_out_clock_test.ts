// serve-out started again under another clock: no message is given up sooner or later for it, and none waits a year.
import assert from "node:assert/strict";
import { type RunningMailapp, Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import {
  configureServeOut,
  handOver,
  Receiver,
  serveOut,
  SpoolFiles,
  untilEmpty,
} from "./serve_out_setting.ts";
import { clockOf } from "./setting.ts";

const CLOCKS: readonly (readonly [name: string, acceptingDays: number, sendingDays: number])[] = [
  ["a year ahead when it accepted", 365, 0],
  ["a year ahead when it sends", 0, 365],
  ["a day behind when it sends", 0, -1],
];

/** As faketime(1) wants it. */
function offset(days: number): string {
  return `${days < 0 ? "" : "+"}${days}d`;
}

/** How many days a server's clock is ahead. */
function daysAhead({ events }: RunningMailapp): number {
  const ahead = Date.parse(String(events[0]?.["time"])) - Date.now();
  // Nearly no days may be below zero, and -0 is not 0 to strictEqual().
  return Math.round(ahead / 86_400_000) + 0;
}

for (const [name, accepting, sending] of CLOCKS) {
  testWith(["faketime"], `serve-out delivers what waits, with a clock ${name}`, async () => {
    await using workspace = await Workspace.create();
    await using receiver = new Receiver();
    const files = new SpoolFiles(workspace);
    const config = await configureServeOut(workspace, receiver.port);
    const clock = workspace.file("clock");
    await Deno.writeTextFile(clock, offset(accepting));
    receiver.atDot = () => Promise.resolve("refuse");
    const first = await serveOut(config, { env: clockOf(clock) });
    await using before = first.server;
    const { id, digest, queueId } = await handOver(first.port);
    await before.event("attempt.deferred", { where: { id: queueId } });
    assert.equal(await before.stop(), 0);
    assert.equal(daysAhead(before), accepting);

    await Deno.writeTextFile(clock, offset(sending));
    receiver.atDot = () => Promise.resolve("take");
    const { server } = await serveOut(config, { env: clockOf(clock) });
    await using after = server;
    await untilEmpty(after, files);
    assert.deepEqual(receiver.copies(id).map((copy) => copy.digest), [digest]);
    assert.deepEqual(after.events.filter(({ event }) => event === "queue.expired"), []);
    assert.equal(await after.stop(), 0);
    assert.equal(daysAhead(after), sending);
  });
}

for (const days of [-30, 365]) {
  testWith(
    ["faketime"],
    `serve-out gives up a message that it accepted with a clock ${days} days ahead when its time has passed, and no sooner`,
    async () => {
      await using workspace = await Workspace.create();
      await using receiver = new Receiver();
      const clock = workspace.file("clock");
      receiver.atDot = () => Promise.resolve("refuse");
      // Far away under the wrong clock, and near under the right one.
      const patient = await configureServeOut(workspace, receiver.port, { expire_after: "5d" });
      await Deno.writeTextFile(clock, offset(days));
      const first = await serveOut(patient, { env: clockOf(clock) });
      await using before = first.server;
      const { queueId } = await handOver(first.port);
      await before.event("attempt.deferred", { where: { id: queueId } });
      assert.equal(await before.stop(), 0);
      assert.equal(daysAhead(before), days);

      await Deno.writeTextFile(clock, offset(0));
      const { server: second } = await serveOut(patient, { env: clockOf(clock) });
      await using trying = second;
      for (let attempt = 0; attempt < 4; attempt++) {
        await trying.event("attempt.deferred", { after: attempt, where: { id: queueId } });
      }
      assert.deepEqual(trying.events.filter(({ event }) => event === "queue.expired"), []);
      assert.equal(await trying.stop(), 0);

      const hasty = await configureServeOut(workspace, receiver.port, { expire_after: "3s" });
      const { server: third } = await serveOut(hasty, { env: clockOf(clock) });
      await using last = third;
      await last.event("queue.expired", { where: { id: queueId } });
      assert.equal(await last.stop(), 0);
    },
  );
}
