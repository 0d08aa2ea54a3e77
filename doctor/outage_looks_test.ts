import assert from "node:assert/strict";
import { lookAtServer, lookAtSilence, lookAtStuckQueue } from "./outage_looks.ts";

const kinds = async (look: () => unknown) =>
  ((await look()) as readonly { readonly kind: string }[]).map(({ kind }) => kind).join();

Deno.test("lookAtServer() tells of a server that does not answer at two looks in a row", async () => {
  let up = true;
  const look = lookAtServer(
    "serve-in",
    () => up ? Promise.resolve() : Promise.reject(new Error("connection refused")),
  );
  assert.equal(await kinds(look), "");
  up = false;
  assert.equal(await kinds(look), "");
  assert.equal(await kinds(look), "server");
  up = true;
  assert.equal(await kinds(look), "");
  up = false;
  assert.equal(await kinds(look), "");
});

Deno.test("lookAtStuckQueue() tells of an hour of many attempts without success, and of no other", async () => {
  let [relayed, deferred] = [0, 0];
  const look = lookAtStuckQueue(() => ({ relayed, deferred }));
  // Nothing to do is no trouble.
  for (let i = 0; i < 12; i++) assert.equal(await kinds(look), "");
  // A few that fail, beside some that do not.
  for (let i = 0; i < 12; i++) {
    deferred += 10;
    relayed++;
    assert.equal(await kinds(look), "");
  }
  const seen: string[] = [];
  for (let i = 0; i < 8; i++) {
    deferred += 10;
    seen.push(await kinds(look));
  }
  assert.deepEqual(seen, ["", "", "", "", "", "stuck", "stuck", "stuck"]);
  relayed++;
  assert.equal(await kinds(look), "");
});

Deno.test("lookAtSilence() tells of a pause that is unusual for this server, once it knows what is usual", async () => {
  let count = 0;
  const look = lookAtSilence(() => count);
  const hours = async (number: number, messages: number) => {
    let said = "";
    for (let i = 0; i < number * 6; i++) {
      if (messages > 0 && i % 6 === 0) count += messages;
      said = await kinds(look);
    }
    return said;
  };
  // One that has just started knows nothing.
  assert.equal(await hours(12, 0), "");
  for (let day = 0; day < 3; day++) {
    assert.equal(await hours(16, 5), "");
    // Every night.
    assert.equal(await hours(8, 0), "");
  }
  assert.equal(await hours(16, 5), "");
  // The longest pause had twelve hours.
  assert.equal(await hours(34, 0), "");
  assert.equal(await hours(4, 0), "silence");
  assert.equal(await hours(1, 1), "");
});
