import assert from "node:assert/strict";
import type { Target } from "./mx.ts";
import { explainReply } from "./reply_causes.ts";
import { openTo } from "../tests/support/fake_session.ts";
import { queueEntry } from "../tests/support/recording_queue.ts";

const SECURE: Partial<Target> = { via: "mx", authenticated: true };
const STS = { domain: "d.test", mode: "enforce", id: "1", until: 1, allowed: true } as const;

const CASES: readonly (readonly [
  name: string,
  given: {
    readonly target?: Partial<Target>;
    readonly capabilities?: readonly string[];
    readonly authorized?: boolean;
  },
  expected: string | RegExp,
])[] = [
  ["over verified TLS, by a signed way", { target: SECURE }, "MAIL FROM:<a@client.test> REQUIRETLS"],
  [
    "by a way that MTA-STS names",
    { target: { via: "mx", authenticated: false, tls: "verify", sts: STS } },
    "MAIL FROM:<a@client.test> REQUIRETLS",
  ],
  ["to a route", { target: { via: "route", authenticated: false } }, "MAIL FROM:<a@client.test> REQUIRETLS"],
  ["to the domain's own address", { target: { via: "implicit" } }, "MAIL FROM:<a@client.test> REQUIRETLS"],
  ["to serve-in of this machine", { target: { via: "local" }, authorized: false }, /^MAIL FROM/],
  ["that is not announced", { target: SECURE, capabilities: ["STARTTLS"] }, /mx\.test does not offer it$/],
  ["without TLS", { target: SECURE, capabilities: ["REQUIRETLS"] }, /mx\.test has no TLS$/],
  [
    "over TLS with a certificate that is not trusted",
    { target: SECURE, authorized: false },
    /cannot be verified$/,
  ],
  [
    "by a way that anybody can forge",
    { target: { via: "mx", authenticated: false } },
    /neither DNSSEC nor MTA-STS says that mx\.test/,
  ],
  [
    "by a way that MTA-STS only tests",
    { target: { via: "mx", authenticated: false, sts: { ...STS, mode: "testing" } } },
    /neither DNSSEC nor MTA-STS/,
  ],
];

for (const [name, { target = {}, capabilities, authorized = true }, expected] of CASES) {
  Deno.test(`HostConnection.send() with REQUIRETLS ${name}`, async () => {
    const { connection, server, queue } = await openTo(target, {
      capabilities: capabilities ?? ["STARTTLS", "REQUIRETLS"],
      authorized,
    });
    const entry = queueEntry(["x@d.test"], { requireTls: true });
    const { outcomes: [outcome], usable } = await connection.send({ entry, recipients: [0], queue });
    const mail = server.commands.find((line) => line.startsWith("MAIL")) ?? "";
    if (typeof expected === "string") assert.equal(mail, expected);
    else if (expected.test(mail)) assert.equal(outcome?.result, "relayed");
    else {
      assert.equal(mail, "");
      assert.match(outcome?.attempt.error ?? "", expected);
      assert.deepEqual([outcome?.result, outcome?.attempt.status, outcome?.nextHost], [
        "failed",
        "5.7.30",
        true,
      ]);
      assert.match(explainReply(outcome?.attempt ?? { status: "" })?.meaning ?? "", /REQUIRETLS/);
      // Others may go over it.
      assert.equal(usable, true);
    }
    await connection.close();
  });
}

Deno.test("HostConnection.send() says no REQUIRETLS for a message without it", async () => {
  const { connection, server, queue } = await openTo(SECURE, {
    capabilities: ["STARTTLS", "REQUIRETLS"],
  });
  await connection.send({ entry: queueEntry(["x@d.test"]), recipients: [0], queue });
  assert.ok(server.commands.includes("MAIL FROM:<a@client.test>"));
  await connection.close();
});
