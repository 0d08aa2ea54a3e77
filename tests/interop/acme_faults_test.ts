// mailapp certificate with an authority in trouble, by a proxy in front of Pebble: refusals, rate limits, errors and
// silence at each request, and the command killed at each. The pair in use stays, and the next run works.
import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { type AcmeFault, startAcmeProxy } from "../support/peers/acme_proxy.ts";
import { startBind } from "../support/peers/bind.ts";
import { startPebble } from "../support/peers/pebble.ts";
import { program } from "../support/program.ts";
import { testWith } from "../support/requires.ts";

const PROGRAMS = [...HOST_PROGRAMS, "pebble", "named"];
const HERE = "198.51.100.1";

async function setting(stack: AsyncDisposableStack) {
  const workspace = stack.use(await Workspace.create());
  const hosts = stack.use(await makeHosts());
  const through = hosts.server;
  stack.use(await startBind({ "example.com": `mx A ${HERE}` }, { address: HERE, port: 53, through }));
  stack.use(await startPebble({ through, dns: `${HERE}:53`, refusedNonces: 20 }));
  const proxy = stack.use(await startAcmeProxy({ through }));
  const config = await workspace.configure({
    "serve-in": { listen: [HERE], port: 2525 },
    dns: { servers: [`${HERE}:53`] },
    "tls.acme": { directory: proxy.directory, ca_file: proxy.caFile },
  });
  const command = (...args: string[]) =>
    runMailapp(["certificate", ...args, "--config", config], { through });
  const pair = async () => {
    const current = workspace.file("state", "tls", "current");
    const certificate = new X509Certificate(await Deno.readTextFile(`${current}/cert.pem`));
    const key = await Deno.readTextFile(`${current}/key.pem`);
    // One that does not match, or is cut short, would keep a server from starting.
    assert.ok(certificate.checkPrivateKey(createPrivateKey(key)));
    return { fingerprint: certificate.fingerprint256, key };
  };
  const first = await command("obtain");
  assert.equal(first.code, 0, first.stderr);
  /** The requests of a renewal, each once, in order. */
  const steps = async () => {
    const from = proxy.program.lines.length;
    const { code, stderr } = await command("renew", "--force");
    assert.equal(code, 0, stderr);
    return [...new Set(proxy.program.lines.slice(from))];
  };
  return { workspace, through, proxy, config, command, pair, steps };
}

const RETRY = { retryAfter: "1" };
/** What the authority does, and what is said then. */
const ANSWERS: readonly (readonly [what: string, answer: AcmeFault["answer"], expected: RegExp])[] = [
  [
    "an error of the server",
    { status: 500, type: "serverInternal", detail: "our disk is on fire", ...RETRY },
    /status 500|our disk is on fire/,
  ],
  [
    "a refusal",
    { status: 403, type: "unauthorized", detail: "we do not like you" },
    // An answer to HEAD has no text.
    /we do not like you|status 403|nonce/i,
  ],
  ["something else", "garbage", /./],
  ["a connection that breaks off", "drop", /./],
];

testWith(
  PROGRAMS,
  "certificate renew leaves the pair in use where the authority fails at any request",
  async (t) => {
    await using stack = new AsyncDisposableStack();
    const { proxy, command, pair, steps } = await setting(stack);
    const before = await pair();
    const requests = await steps();
    const now = await pair();
    assert.notEqual(now.fingerprint, before.fingerprint);
    for (const step of ["GET dir", "POST order-plz", "POST authZ", "POST finalize-order", "POST certZ"]) {
      assert.ok(requests.includes(step), requests.join(", "));
    }
    for (const [index, step] of requests.entries()) {
      // Renewal information is a suggestion; a nonce also comes with each answer.
      const optional = /draft-ietf-acme-ari|renewal-info|renewalInfo|nonce/.test(step);
      // Each request meets two of them, and each of them several requests.
      for (const offset of [0, 1]) {
        const [what, answer, expected] = ANSWERS[(index + offset) % ANSWERS.length] ?? assert.fail();
        await t.step(`${step}: ${what}`, async () => {
          const at = await pair();
          await proxy.set({ step, answer });
          const { code, stdout, stderr } = await command("renew", "--force");
          if (optional && code === 0) return;
          assert.equal(code, 69, stdout + stderr);
          assert.match(stderr, expected);
          // One line in words, no stack.
          assert.doesNotMatch(stderr, /^ +at /m);
          assert.deepEqual(await pair(), at);
          const shown = await command("show");
          assert.match(shown.stdout, /^failed /m);
        });
      }
    }
    await proxy.set();
    assert.equal((await command("renew", "--force")).code, 0);
    assert.doesNotMatch((await command("show")).stdout, /^failed /m);
    assert.notEqual((await pair()).fingerprint, now.fingerprint);
  },
);

testWith(PROGRAMS, "certificate renew heeds a rate limit, and says until when", async () => {
  await using stack = new AsyncDisposableStack();
  const { proxy, command, pair } = await setting(stack);
  const before = await pair();
  const limit = (retryAfter?: string): AcmeFault => ({
    step: "POST order-plz",
    answer: {
      status: 429,
      type: "rateLimited",
      detail: "too many certificates already issued for example.com",
      ...(retryAfter !== undefined && { retryAfter }),
    },
  });
  const count = () => proxy.program.lines.filter((line) => line === "POST order-plz").length;
  // A day away: it is not waited for, and later runs leave the authority alone.
  await proxy.set(limit("86400"));
  const asked = count();
  const { code, stderr } = await command("renew", "--force");
  assert.equal(code, 69);
  assert.match(stderr, /too many certificates .* rate limit .* try again after 20\d\d-/);
  assert.equal(count(), asked + 1);
  const later = await command("renew");
  assert.equal(later.code, 75);
  assert.match(later.stderr, /rate limit .* tries again after 20\d\d-/);
  assert.equal(count(), asked + 1);
  assert.deepEqual(await pair(), before);
  // One that says nothing of when.
  await proxy.set(limit());
  assert.match((await command("renew", "--force")).stderr, /too many certificates .* try again tomorrow/);
  // One that ends soon is waited for.
  await proxy.set(limit("2"));
  const from = proxy.program.lines.length;
  const waiting = command("renew", "--force");
  await proxy.program.line(/^POST order-plz$/, { from });
  await proxy.set();
  const finished = await waiting;
  assert.equal(finished.code, 0, finished.stderr);
  assert.notEqual((await pair()).fingerprint, before.fingerprint);
});

testWith(
  PROGRAMS,
  "certificate renew killed at any request leaves the pair in use, and the next run works",
  async (t) => {
    await using stack = new AsyncDisposableStack();
    const { proxy, config, through, command, pair, steps } = await setting(stack);
    for (const step of await steps()) {
      await t.step(step, async () => {
        const before = await pair();
        await proxy.set({ step, answer: "silence" });
        const [first = "", ...args] = [
          ...through,
          ...program(),
          "certificate",
          "renew",
          "--force",
          "--config",
          config,
        ];
        const from = proxy.program.lines.length;
        const child = new Deno.Command(first, { args, stdout: "null", stderr: "null", stdin: "null" })
          .spawn();
        await proxy.program.line(new RegExp(`^${step}$`), { from });
        child.kill("SIGKILL");
        assert.equal((await child.status).signal, "SIGKILL");
        assert.deepEqual(await pair(), before);
        await proxy.set();
        const next = await command("renew", "--force");
        assert.equal(next.code, 0, next.stderr);
        const after = await pair();
        assert.notEqual(after.fingerprint, before.fingerprint);
        // The key, and with it the TLSA record.
        assert.equal(after.key, before.key);
      });
    }
  },
);
