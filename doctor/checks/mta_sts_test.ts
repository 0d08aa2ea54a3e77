import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { systemClock } from "../../base/clock.ts";
import type { Fetched } from "../../mta_sts/fetch.ts";
import { publishPolicy } from "../../mta_sts/own_policy.ts";
import { parsePolicy } from "../../mta_sts/policy.ts";
import { keepSelfSigned } from "../../tls/self_signed.ts";
import { silentLogger } from "../../base/log.ts";
import { type StaticName, StaticResolver } from "../../tests/support/static_resolver.ts";
import { createTestAuthority } from "../../tests/support/test_authority.ts";
import type { Setup } from "../setup.ts";
import { checkMtaSts } from "./mta_sts.ts";

type Names = Readonly<Record<string, StaticName>>;
type State = Setup["certificate"];

const PROMISED: Names = {
  "_mta-sts.d.test": { txt: ["v=STSv1; id=1;"] },
  "d.test": { mx: [{ preference: 10, exchange: "mx.d.test" }] },
};

function fetched(text: string): Fetched {
  return { policy: parsePolicy(text), text };
}

const policy = (mx: string, mode = "enforce") =>
  fetched(`version: STSv1\r\nmode: ${mode}\r\nmx: ${mx}\r\nmax_age: 86400\r\n`);

function known(pem: string): State {
  return { kind: "known", pair: { leaf: new X509Certificate(pem) } } as State;
}

const good = known((await (await createTestAuthority()).issue({ names: ["mx.d.test"] })).cert);

async function check(answer: Fetched, options: {
  readonly names?: Names;
  readonly certificate?: State;
  readonly policy?: Setup["policy"];
} = {}): Promise<string[]> {
  const { names = PROMISED, certificate = good, policy } = options;
  const asked: string[] = [];
  const findings = await checkMtaSts({
    hostname: "mx.d.test",
    domains: ["d.test"],
    listening: [],
    sending: [],
    closedNetwork: false,
    dkim: [],
    dnssec: false,
    resolver: new StaticResolver(names),
  }, {
    certificate,
    clock: systemClock,
    ...(policy && { policy }),
    fetchPolicy: (domain) => {
      asked.push(domain);
      return Promise.resolve(answer);
    },
  });
  for (const { outcome, next } of findings) assert.ok(!/failure|warning/.test(outcome) || next);
  return [...asked, ...findings.map(({ id, outcome }) => `${id} ${outcome}`)];
}

Deno.test("checkMtaSts() fetches a policy that is promised, and compares it with the MX records", async () => {
  assert.deepEqual(await check(policy("mx.d.test"), { names: {} }), []);
  assert.deepEqual(await check(policy("mx.d.test")), ["d.test", "mta-sts ok"]);
  assert.deepEqual(await check(policy("*.d.test")), ["d.test", "mta-sts ok"]);
  assert.deepEqual(await check(policy("*.mx.d.test")), ["d.test", "mta-sts.policy-mx failure"]);
  assert.deepEqual(await check(policy("old.test", "testing")), ["d.test", "mta-sts.policy-mx warning"]);
  assert.deepEqual(await check(policy("old.test", "none")), ["d.test", "mta-sts untested"]);
  // Another server that takes mail for the domain.
  const mx = [{ preference: 10, exchange: "mx.d.test" }, { preference: 20, exchange: "backup.e.test" }];
  const names = { ...PROMISED, "d.test": { mx } };
  assert.deepEqual(await check(policy("*.d.test"), { names }), ["d.test", "mta-sts.policy-mx failure"]);
  const both = "mx.d.test\r\nmx: backup.e.test";
  assert.deepEqual(await check(policy(both), { names }), ["d.test", "mta-sts ok"]);
});

Deno.test("checkMtaSts() tells a record that is wrong, and a policy that senders do not get or take", async () => {
  const syntax = { "_mta-sts.d.test": { txt: ["v=STSv1;"] } };
  assert.deepEqual(await check(policy("mx.d.test"), { names: syntax }), ["mta-sts.syntax failure"]);
  const failures = {
    "sts-policy-fetch-error": "mta-sts.policy-missing failure",
    "sts-policy-invalid": "mta-sts.policy-syntax failure",
    "sts-webpki-invalid": "mta-sts.policy-certificate failure",
  } as const;
  for (const [failure, found] of Object.entries(failures)) {
    const answer = { failure: failure as keyof typeof failures, why: "mta-sts.d.test: why" };
    assert.deepEqual(await check(answer), ["d.test", found]);
  }
  const fails = { "_mta-sts.d.test": { fails: ["*"] } } as const;
  assert.deepEqual(await check(policy("mx.d.test"), { names: fails }), ["mta-sts untested"]);
});

Deno.test("checkMtaSts() tells a certificate that senders would refuse by the policy", async () => {
  const dataDir = await Deno.makeTempDir();
  const { cert } = await keepSelfSigned({
    dataDir,
    hostname: "mx.d.test",
    clock: systemClock,
    logger: silentLogger,
  });
  const selfSigned = known(await Deno.readTextFile(cert));
  await Deno.remove(dataDir, { recursive: true });
  const authority = await createTestAuthority();
  const other = known((await authority.issue({ names: ["mx.e.test"] })).cert);
  const day = 86_400_000;
  const [notBefore, notAfter] = [new Date(Date.now() - 9 * day), new Date(Date.now() - day)];
  const expired = known((await authority.issue({ names: ["mx.d.test"], notBefore, notAfter })).cert);
  for (const certificate of [selfSigned, other, expired, { kind: "known" } as const]) {
    assert.deepEqual(await check(policy("mx.d.test"), { certificate }), [
      "d.test",
      "mta-sts.certificate failure",
    ]);
    assert.deepEqual(await check(policy("mx.d.test", "testing"), { certificate }), [
      "d.test",
      "mta-sts.certificate warning",
    ]);
    assert.deepEqual(await check(policy("mx.d.test", "none"), { certificate }), [
      "d.test",
      "mta-sts untested",
    ]);
  }
  // Other checks say why it cannot be read.
  const forbidden = { kind: "forbidden", reason: "no" } as const;
  assert.deepEqual(await check(policy("mx.d.test"), { certificate: forbidden }), ["d.test", "mta-sts ok"]);
});

Deno.test("checkMtaSts() compares what is published with the policy of the configuration", async () => {
  const published = publishPolicy({ mode: "enforce", mx: ["mx.d.test"], maxAge: 86_400 });
  const own = { ...published, served: true };
  const names = (record: string) => ({ ...PROMISED, "_mta-sts.d.test": { txt: [record] } });
  const right = names(own.record);
  assert.deepEqual(await check(fetched(own.text), { policy: own, names: right }), ["d.test", "mta-sts ok"]);
  // A web server's file with other line ends.
  const file = fetched(own.text.replaceAll("\r\n", "\n"));
  assert.deepEqual(await check(file, { policy: own, names: right }), ["d.test", "mta-sts ok"]);
  assert.deepEqual(await check(fetched(own.text), { policy: own, names: names("v=STSv1; id=old;") }), [
    "d.test",
    "mta-sts.id warning",
  ]);
  assert.deepEqual(await check(policy("*.d.test"), { policy: own, names: right }), [
    "d.test",
    "mta-sts.policy-other warning",
  ]);
  assert.deepEqual(await check(fetched(own.text), { policy: own, names: {} }), [
    "mta-sts.record-missing warning",
  ]);
});
