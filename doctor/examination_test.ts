import assert from "node:assert/strict";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { type Check, CHECKS } from "./checks.ts";
import { Examination } from "./examination.ts";
import { ok } from "./finding.ts";
import type { Setup } from "./setup.ts";

function examine(resolver: StaticResolver): Examination {
  const setup: Partial<Setup> = {
    hostname: "mx.d.test",
    domains: ["d.test"],
    probe: "probe.test",
    dnsServers: "x",
    dnsProblems: [],
    routes: [],
    resolver,
  };
  return new Examination(setup as Setup);
}

const found = (name: string, wait: Promise<unknown> = Promise.resolve()): Check => ({
  name,
  run: async () => {
    await wait;
    return [ok(name, "x", "well")];
  },
});

Deno.test("run() runs the checks at the same time, and gives their findings in the order of the table", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const last: Check = {
    name: "last",
    run: () => {
      resolve();
      return [ok("last", "x", "well")];
    },
  };
  const findings = await examine(new StaticResolver({})).run([found("first", promise), last]);
  assert.deepEqual(findings.map(({ id }) => id), ["first", "last"]);
});

Deno.test("run() makes a finding of a check that throws, and goes on with the others", async () => {
  const broken: Check = {
    name: "broken",
    run: () => {
      throw new TypeError("no such property");
    },
  };
  const [first, second] = await examine(new StaticResolver({})).run([broken, found("other")]);
  assert.deepEqual([first?.id, first?.outcome, second?.id], ["broken.error", "failure", "other"]);
  assert.match(first?.what ?? "", /no such property/);
});

Deno.test("run() leaves out what needs DNS where DNS is down", async () => {
  const checks: Check[] = [{ ...found("mx"), needsDns: true }, found("clock")];
  const run = async (resolver: StaticResolver) => (await examine(resolver).run(checks)).map(({ id }) => id);
  assert.deepEqual(await run(new StaticResolver({})), ["mx", "clock"]);
  const fails = { fails: ["*"] } as const;
  assert.deepEqual(await run(new StaticResolver({ "d.test": fails, "probe.test": fails })), ["clock"]);
});

Deno.test("docs/guide/doctor.md has a line for each check", async () => {
  const guide = await Deno.readTextFile(new URL("../docs/guide/doctor.md", import.meta.url));
  const [, table = ""] = /^\| check .*\n\|[- |]+\n((?:\|.*\n)+)/m.exec(guide) ?? [];
  const named = table.trim().split("\n").flatMap((line) =>
    [...(line.split("|")[1] ?? "").matchAll(/`([\w-]+)`/g)].map(([, name]) => name)
  );
  assert.deepEqual(named, CHECKS.map(({ name }) => name));
});
