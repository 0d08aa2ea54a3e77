import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import type { PolicyAnswer } from "../mta_sts/policies.ts";
import { parsePolicy } from "../mta_sts/policy.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { findTargets, type TargetOptions } from "./mx.ts";
import { demandOf, forbidden } from "./session_tls.ts";

const POLICY = "version: STSv1\nmode: MODE\nmx: mx.d.test\nmx: *.hosts.test\nmax_age: 1000\n";

function kept(mode: string, text = POLICY): PolicyAnswer {
  const policy = parsePolicy(text.replace("MODE", mode));
  return { kind: "policy", kept: { domain: "d.test", id: "7", policy, text, fetchedAt: 5000, usedAt: 5000 } };
}

async function targetsUnder(
  answer: PolicyAnswer | Promise<PolicyAnswer>,
  more: Partial<TargetOptions> = {},
) {
  const asked: string[] = [];
  const mx = ["mx.d.test", "a.hosts.test", "a.b.hosts.test", "other.test"];
  const found = await findTargets("d.test", {
    resolver: new StaticResolver({
      "d.test": { mx: mx.map((exchange, preference) => ({ preference, exchange })) },
      ...Object.fromEntries(mx.map((name) => [name, { a: ["192.0.2.1"] }])),
      "route.test": { a: ["192.0.2.2"] },
    }),
    family: "auto",
    port: 25,
    allowPrivateTargets: false,
    hostname: "self.test",
    ownListeners: [],
    routes: new Map(),
    tlsPolicy: new Map(),
    random: () => 0,
    logger: silentLogger,
    stsPolicies: {
      find: (domain) => {
        asked.push(domain);
        return answer;
      },
    },
    ...more,
  });
  assert.ok(found.kind === "targets");
  return { found, asked };
}

Deno.test("findTargets() asks for verified TLS, and marks the hosts that an enforced policy does not list", async () => {
  for (const answer of [kept("enforce"), Promise.resolve(kept("enforce"))]) {
    const { found, asked } = await targetsUnder(answer);
    assert.deepEqual(asked, ["d.test"]);
    assert.deepEqual(found.targets.map(({ host, tls, sts }) => [host, tls, sts?.allowed]), [
      ["mx.d.test", "verify", true],
      ["a.hosts.test", "verify", true],
      ["a.b.hosts.test", "verify", false],
      ["other.test", "verify", false],
    ]);
    const [first] = found.targets;
    assert.deepEqual(first?.sts, {
      domain: "d.test",
      mode: "enforce",
      id: "7",
      until: 1_005_000,
      allowed: true,
    });
  }
});

Deno.test("findTargets() asks for nothing more under a policy in mode testing or none", async () => {
  for (const mode of ["testing", "none"]) {
    const { found } = await targetsUnder(kept(mode));
    assert.deepEqual(new Set(found.targets.map(({ tls }) => tls)), new Set(["prefer"]));
    assert.deepEqual(
      found.targets.map(({ sts }) => sts?.allowed),
      mode === "none" ? [true, true, true, true] : [true, true, false, false],
    );
  }
});

Deno.test("findTargets() looks for no policy where the configuration names one, or a route", async () => {
  const named = await targetsUnder(kept("enforce"), { tlsPolicy: new Map([["d.test", "prefer"]]) });
  assert.deepEqual(named.asked, []);
  assert.ok(
    named.found.targets.every(({ tls, sts, configured }) =>
      tls === "prefer" && sts === undefined && configured
    ),
  );
  const routed = await targetsUnder(kept("enforce"), { routes: new Map([["*", { host: "route.test" }]]) });
  assert.deepEqual(routed.asked, []);
  assert.ok(routed.found.targets.every(({ tls, sts }) => tls === "prefer" && sts === undefined));
});

Deno.test("findTargets() says why an announced policy could not be had", async () => {
  const failure = { failure: "sts-policy-fetch-error", why: "HTTP status 404" } as const;
  const { found } = await targetsUnder({ kind: "none", ...failure });
  assert.deepEqual(found.stsFailure, failure);
  assert.deepEqual((await targetsUnder({ kind: "none" })).found.stsFailure, undefined);
});

Deno.test("DANE goes before an MTA-STS policy where its records can be used, and only there", async () => {
  const { found: { targets } } = await targetsUnder(kept("enforce"));
  const [listed, , , other] = targets;
  assert.ok(listed && other);
  const none = { kind: "none", reason: "" } as const;
  const records = { kind: "records", records: [], baseDomain: "other.test" } as const;
  const unusable = { kind: "encrypt", reason: "" } as const;
  assert.equal(demandOf(listed, none), "mta-sts");
  assert.equal(demandOf(listed, unusable), "mta-sts");
  assert.equal(demandOf(listed, records), "dane");
  assert.equal(forbidden(listed, none), undefined);
  assert.match(
    forbidden(other, none)?.end.error ?? "",
    /the MTA-STS policy of d\.test does not list other\.test/,
  );
  assert.ok(forbidden(other, unusable));
  assert.equal(forbidden(other, records), undefined);
});

Deno.test("findTargets() leaves the domain's policies aside for TLS-Required: No, and not those of the configuration", async () => {
  const relaxed = await targetsUnder(kept("enforce"), { relaxed: true });
  assert.deepEqual(relaxed.asked, []);
  assert.ok(
    relaxed.found.targets.every(({ tls, sts, relaxed }) => tls === "prefer" && sts === undefined && relaxed),
  );
  const named = await targetsUnder(kept("enforce"), {
    relaxed: true,
    tlsPolicy: new Map([["d.test", "verify"]]),
  });
  assert.ok(named.found.targets.every(({ tls, relaxed }) => tls === "verify" && !relaxed));
});
