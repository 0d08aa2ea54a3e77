// mailapp certificate with an authority that lies: the pair in use stays, nothing of the lie is kept or followed.
import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { createTestAuthority, type TestAuthority } from "../support/test_authority.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { startLyingAuthority } from "../support/peers/lying_authority.ts";

const NAME = "mx.example.com";
const DAY = 86_400_000;

async function setting(stack: AsyncDisposableStack) {
  const workspace = stack.use(await Workspace.create());
  const issuer = await createTestAuthority();
  const authority = stack.use(await startLyingAuthority((request) => good(request, issuer)));
  await Deno.writeTextFile(workspace.file("ca.pem"), authority.trusted);
  await Deno.writeTextFile(workspace.file("tsig.key"), "c2VjcmV0\n");
  const config = await workspace.configure({
    "tls.acme": {
      directory: authority.directory,
      ca_file: workspace.file("ca.pem"),
      // Names are validated already: no port is bound, and nobody is asked.
      challenge: "dns-01",
      dns: { server: "127.0.0.1", zone: "example.com", key_name: "k", key_file: workspace.file("tsig.key") },
    },
  });
  const command = (...args: string[]) => runMailapp(["certificate", ...args, "--config", config]);
  const pair = async () => {
    const current = workspace.file("state", "tls", "current");
    const certificate = new X509Certificate(await Deno.readTextFile(`${current}/cert.pem`));
    assert.ok(certificate.checkPrivateKey(createPrivateKey(await Deno.readTextFile(`${current}/key.pem`))));
    return certificate.fingerprint256;
  };
  const { code, stderr } = await command("obtain");
  assert.equal(code, 0, stderr);
  return { issuer, authority, command, pair };
}

type Lie = readonly [
  what: string,
  certify: (request: Uint8Array<ArrayBuffer>, issuer: TestAuthority) => Promise<string>,
  said: RegExp,
];
const days = (from: number, to: number) => ({
  notBefore: new Date(Date.now() + from * DAY),
  notAfter: new Date(Date.now() + to * DAY),
});
const good = (request: Uint8Array<ArrayBuffer>, issuer: TestAuthority) =>
  issuer.certify(request, { names: [NAME] });
const CERTIFICATES: readonly Lie[] = [
  ["is for another key", async (_, issuer) => (await issuer.issue({ names: [NAME] })).cert, /another key/],
  [
    "has expired",
    (request, issuer) => issuer.certify(request, { names: [NAME], ...days(-9, -1) }),
    /expired on 20/,
  ],
  [
    "is not valid yet",
    (request, issuer) => issuer.certify(request, { names: [NAME], ...days(1, 9) }),
    /not valid before 20.* clock/,
  ],
  [
    "has a damaged chain",
    async (request, issuer) =>
      `${await good(request, issuer)}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
    /certificate 3 of 3 is damaged/,
  ],
  [
    "comes with 5,000 others",
    async (request, issuer) => await good(request, issuer) + issuer.cert.repeat(5000),
    /maxContentLength|over 1 MiB|too long/i,
  ],
  ["is for another name", (request, issuer) => issuer.certify(request, { names: ["b.test"] }), /left out mx/],
];

Deno.test("certificate renew keeps the pair in use where the one that is issued", async (t) => {
  await using stack = new AsyncDisposableStack();
  const { issuer, authority, command, pair } = await setting(stack);
  const before = await pair();
  for (const [what, certify, said] of CERTIFICATES) {
    await t.step(what, async () => {
      authority.certify = (request) => certify(request, issuer);
      const { code, stderr } = await command("renew", "--force");
      assert.equal(code, 69, stderr);
      assert.match(stderr, said);
      assert.doesNotMatch(stderr, /^ +at /m);
      assert.equal(await pair(), before);
    });
  }
  authority.certify = (request) => issuer.certify(request, { names: [NAME, "www.example.com", "b.test"] });
  const { code, stderr } = await command("renew", "--force");
  assert.equal(code, 0, stderr);
  assert.match(stderr, /added names that were not asked for: www\.example\.com, b\.test\n/);
  const withMore = await pair();
  assert.notEqual(withMore, before);
  authority.certify = (request) => good(request, issuer);
  assert.deepEqual((await command("renew", "--force")).stderr, "");
  assert.notEqual(await pair(), withMore);
});

Deno.test("certificate renew follows an authority nowhere else, and reads no more than it needs", async (t) => {
  await using stack = new AsyncDisposableStack();
  const { authority, command, pair } = await setting(stack);
  const elsewhere: string[] = [];
  await using other = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, ({ url }) => {
    elsewhere.push(url);
    return Response.json({});
  });
  const there = `http://127.0.0.1:${other.addr.port}/`;
  const before = await pair();
  const endless = () =>
    new Response(new ReadableStream({ pull: (sink) => sink.enqueue(new Uint8Array(65_536).fill(32)) }));
  const order = (change: unknown) => () =>
    Response.json({ status: "ready", ...change as object }, {
      status: 201,
      headers: { location: `${authority.directory}/x`, "replay-nonce": "n" },
    });
  const lies: readonly (readonly [string, typeof authority.lies, RegExp])[] = [
    ["a redirect", { "/order": () => Response.redirect(there, 302) }, /status 302|redirect/],
    [
      "a redirect that keeps the request",
      { "/order": () => Response.redirect(there, 307) },
      /status 307|redirect/,
    ],
    ["a URL without TLS", { "/order": order({ authorizations: [there] }) }, /https/],
    [
      "1,000 authorizations",
      {
        "/order": order({
          authorizations: Array.from({ length: 1000 }, (_, i) => `${authority.directory}?${i}`),
        }),
      },
      /1000 authorizations/,
    ],
    ["an order without end", { "/order": endless }, /maxContentLength/],
  ];
  for (const [what, lie, said] of lies) {
    await t.step(what, async () => {
      authority.lies = lie;
      const from = authority.requests.length;
      const { code, stderr } = await command("renew", "--force");
      assert.equal(code, 69, stderr);
      assert.match(stderr, said);
      assert.deepEqual(elsewhere, []);
      assert.ok(authority.requests.length - from < 20, authority.requests.slice(from).join(", "));
      assert.equal(await pair(), before);
    });
  }
});
