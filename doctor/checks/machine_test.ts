// Checks of the machine itself: certificate, clock, queue.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { createTestAuthority } from "../../tests/support/test_authority.ts";
import type { CertificatePair } from "../../tls/certificates.ts";
import type { Finding } from "../finding.ts";
import type { AuthorityState } from "../setup.ts";
import { checkAuthority, checkCertificate } from "./certificate.ts";
import { checkClock } from "./clock.ts";
import { checkQueue, type WaitingMessage } from "./queue.ts";
import type { Problem } from "../problem_watch.ts";

const DAY = 86_400_000;
const ids = (findings: readonly Finding[]) => findings.map(({ id, outcome }) => `${id} ${outcome}`);

Deno.test("checkCertificate() counts the days, and hands on what else is odd", async () => {
  const authority = await createTestAuthority();
  const now = Date.now();
  const check = async (days: number, warnings: readonly string[] = [], lifetime = 90) => {
    const notAfter = new Date(now + days * DAY);
    const notBefore = new Date(notAfter.getTime() - lifetime * DAY);
    const { cert } = await authority.issue({ names: ["mx.d.test"], notBefore, notAfter });
    const pair = {
      leaf: new X509Certificate(cert),
      names: ["mx.d.test"],
      warnings,
    } as unknown as CertificatePair;
    return ids(checkCertificate({ hostname: "mx.d.test", now, pair, selfSigned: false }));
  };
  assert.deepEqual(await check(15), ["certificate ok"]);
  assert.deepEqual(await check(13, ["x.pem: expires on 2026-11-24, and has not been renewed yet"]), [
    "certificate.expiring warning",
  ]);
  assert.deepEqual(await check(-1), ["certificate.expired failure"]);
  // One for six days is renewed with two to go.
  assert.deepEqual(await check(3, [], 6), ["certificate ok"]);
  assert.deepEqual(await check(1.9, [], 6), ["certificate.expiring warning"]);
  assert.deepEqual(await check(15, ["x.pem: not for mx.d.test"]), ["certificate.unfit warning"]);
  const none = { hostname: "mx.d.test", now, selfSigned: false };
  assert.deepEqual(ids(checkCertificate(none)), ["certificate.missing warning"]);
  assert.deepEqual(ids(checkCertificate({ ...none, error: "x" })), ["certificate.unusable failure"]);
});

Deno.test("checkAuthority() tells of a certificate that was not issued, and of what failed last", () => {
  const check = (state: AuthorityState) => ids(checkAuthority(state, "mx.d.test"));
  assert.deepEqual(check({ issued: true }), []);
  assert.deepEqual(check({ issued: false }), ["certificate.not_issued warning"]);
  assert.deepEqual(check({ issued: true, error: "rate limit" }), ["certificate.refused warning"]);
});

Deno.test("checkClock() knows a clock that cannot be right", async () => {
  const directory = await Deno.makeTempDir();
  const file = `${directory}/x`;
  await Deno.writeTextFile(file, "");
  const check = async (now: number, synchronized: string) =>
    ids(await checkClock({ now, files: [file, `${directory}/missing`], synchronized }));
  const now = Date.parse("2027-06-01");
  try {
    await Deno.utime(file, new Date(now), new Date(now));
    assert.deepEqual(await check(0, file), ["clock.behind failure"]);
    assert.deepEqual(await check(now - 2 * DAY, file), ["clock.behind failure"]);
    assert.deepEqual(await check(now, file), ["clock ok"]);
    assert.deepEqual(await check(now, `${directory}/missing`), ["clock untested"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("checkQueue() tells what is late, and what others refuse for a reason that lies here", async () => {
  const check = async (
    messages: readonly WaitingMessage[],
    { running = true, problems = [], refusal, outdated = false }: {
      running?: boolean;
      outdated?: boolean;
      problems?: readonly Problem[];
      refusal?: string;
    } = {},
  ) => {
    const all = (async function* () {
      yield* messages;
    })();
    const state = { running, outdated, messages: all, lateAfter: DAY / 6, problems };
    return ids(await checkQueue({ ...state, ...(refusal !== undefined && { refusal }) }));
  };
  assert.deepEqual(await check([]), ["queue ok"]);
  assert.deepEqual(await check([{ age: 3_600_000, reason: "421 busy" }]), ["queue ok"]);
  assert.deepEqual(await check([{ age: DAY }]), ["queue.late warning"]);
  const refused = { age: 0, reason: "421 4.7.25 no PTR", advice: "Set it." };
  assert.deepEqual(await check([refused, refused]), ["queue.refused warning"]);
  assert.deepEqual(await check([{ age: 9 * DAY, held: true }]), ["queue.held warning"]);
  assert.deepEqual(await check([], { running: false }), ["queue.stopped warning"]);
  const growing = { kind: "queue", what: "100 messages wait", next: "See what for." };
  const failed = { kind: "reply", about: "x", what: "mx.test said: 550 5.7.25 no PTR", next: "Set it." };
  assert.deepEqual(await check([], { problems: [growing, failed] }), [
    "queue.growing warning",
    "queue.refused warning",
  ]);
  const dropped = { kind: "dropped", what: "2 messages were dropped", next: "See the log." };
  assert.deepEqual(await check([], { problems: [dropped] }), ["queue.dropped warning"]);
  assert.deepEqual(await check([refused], { problems: [failed] }), ["queue.refused warning"]);
  assert.deepEqual(await check([], { refusal: "451 4.3.0 Not now" }), ["queue.defers failure"]);
  assert.deepEqual(await check([], { outdated: true }), ["queue.outdated warning"]);
  const others = ["certificate", "disk", "dns", "held"].map((kind) => ({ ...failed, kind }));
  assert.deepEqual(await check([], { problems: others }), ["queue ok"]);
});
