import assert from "node:assert/strict";
import { parseConfig } from "../../config/load.ts";
import { dialogueThreads, intakeThreads } from "./count.ts";

const configOf = (threads: string) =>
  parseConfig(`hostname = "mx.example.com"\n[serve-in]\nthreads = ${threads}\n`);

Deno.test("dialogueThreads() is one on up to two cores, and leaves one core on more", () => {
  const auto = configOf('"auto"');
  assert.deepEqual([1, 2, 3, 4, 8, 9, 64].map((cores) => dialogueThreads(auto, cores)), [
    1,
    1,
    2,
    3,
    7,
    8,
    8,
  ]);
});

Deno.test("dialogueThreads() is what the configuration says", () => {
  for (const threads of [1, 2, 32]) assert.equal(dialogueThreads(configOf(String(threads)), 2), threads);
});

Deno.test("intakeThreads() is at most 2 by itself, and 1 with a queue in PostgreSQL", () => {
  const spool = parseConfig('hostname = "mx.example.com"\n');
  const postgres = parseConfig(
    'hostname = "mx.example.com"\n[queue]\nstore = "postgres"\nurl_file = "/etc/mailapp/queue.url"\n',
  );
  assert.deepEqual([2, 3, 9].map((cores) => intakeThreads(spool, cores)), [1, 2, 2]);
  assert.deepEqual([2, 3, 9].map((cores) => intakeThreads(postgres, cores)), [1, 1, 1]);
  const told = parseConfig('hostname = "mx.example.com"\n[serve-out]\nthreads = 3\n');
  assert.equal(intakeThreads(told, 2), 3);
});

Deno.test("[serve-in] threads is a whole number from 1 to 32, or auto", () => {
  for (const wrong of ["0", "33", "1.5", "true", '"2"', "[]"]) {
    assert.throws(
      () => configOf(wrong),
      /serve-in\.threads = .*must be "auto" or a whole number from 1 to 32/,
    );
  }
});
