import assert from "node:assert/strict";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { fetchPolicy } from "./fetch.ts";

const POLICY = "version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 86400\n";
const plain = { "content-type": "text/plain; charset=utf-8" };

Deno.test("fetchPolicy() takes a policy over verified HTTPS alone, whole, and from that host itself", async (t) => {
  const authority = await createTestAuthority();
  const good = await authority.issue({ names: ["mta-sts.a.test"] });
  const other = await authority.issue({ names: ["www.a.test"] });
  const day = 86_400_000;
  const expired = await authority.issue({
    names: ["mta-sts.a.test"],
    notBefore: new Date(Date.now() - 9 * day),
    notAfter: new Date(Date.now() - day),
  });
  const resolver = new StaticResolver({
    "mta-sts.a.test": { a: ["127.0.0.1"] },
    "mta-sts.broken.test": { fails: ["*"] },
  });
  let asked: URL | undefined;
  let answer: (request: Request) => Response | Promise<Response> = () =>
    new Response(POLICY, { headers: plain });
  const serve = ({ cert, key }: { cert: string; key: string }) =>
    Deno.serve({ hostname: "127.0.0.1", port: 0, cert, key, onListen() {} }, (request) => {
      asked = new URL(request.url);
      return answer(request);
    });
  const fetchFrom = async (leaf: typeof good, options: { domain?: string; timeout?: number } = {}) => {
    const server = serve(leaf);
    const { domain = "a.test", timeout } = options;
    try {
      const port = (server.addr as Deno.NetAddr).port;
      const fetched = await fetchPolicy(domain, {
        resolver,
        port,
        trusted: [authority.cert],
        allowPrivate: true,
        ...(timeout && { timeout }),
      });
      return "failure" in fetched ? `${fetched.failure}: ${fetched.why}` : fetched.policy.mode;
    } finally {
      await server.shutdown();
    }
  };

  await t.step("a policy", async () => {
    assert.equal(await fetchFrom(good), "enforce");
    assert.equal(asked?.hostname, "mta-sts.a.test");
    assert.equal(asked?.pathname, "/.well-known/mta-sts.txt");
  });
  await t.step("a certificate for another name, and one that has expired", async () => {
    assert.match(await fetchFrom(other), /^sts-webpki-invalid: mta-sts\.a\.test: /);
    assert.match(await fetchFrom(expired), /^sts-webpki-invalid: /);
  });
  await t.step("an authority that is not trusted", async () => {
    const stranger = await createTestAuthority("stranger");
    assert.match(
      await fetchFrom(await stranger.issue({ names: ["mta-sts.a.test"] })),
      /^sts-webpki-invalid: /,
    );
  });
  const answers: Record<string, readonly [() => Response, RegExp]> = {
    "a redirect": [
      () => new Response("", { status: 301, headers: { location: "https://mta-sts.a.test/" } }),
      /^sts-policy-fetch-error: .*status 301/,
    ],
    "no policy": [() => new Response("", { status: 404 }), /^sts-policy-fetch-error: .*status 404/],
    "another media type": [
      () => new Response(POLICY, { headers: { "content-type": "text/html" } }),
      /^sts-policy-fetch-error: .*media type/,
    ],
    "too large": [
      () => new Response("x".repeat(65_537), { headers: plain }),
      /^sts-policy-invalid: .*65536 octets/,
    ],
    "no policy in it": [() => new Response("hello", { headers: plain }), /^sts-policy-invalid: /],
  };
  for (const [name, [respond, expected]] of Object.entries(answers)) {
    await t.step(name, async () => {
      answer = respond;
      assert.match(await fetchFrom(good), expected);
    });
  }
  await t.step("no answer in time", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    answer = () => promise.then(() => new Response(POLICY, { headers: plain }));
    const server = serve(good);
    const { port } = server.addr as Deno.NetAddr;
    const fetched = await fetchPolicy("a.test", {
      resolver,
      port,
      trusted: [authority.cert],
      allowPrivate: true,
      timeout: 50,
    });
    assert.ok(
      "failure" in fetched && fetched.failure === "sts-policy-fetch-error" && /in time/.test(fetched.why),
    );
    resolve();
    await server.shutdown();
  });
  await t.step("no address, DNS that fails, a private address", async () => {
    const ask = async (domain: string) => {
      const fetched = await fetchPolicy(domain, { resolver });
      return "failure" in fetched ? fetched.why : "a policy";
    };
    assert.match(await ask("missing.test"), /no usable address/);
    assert.match(await ask("broken.test"), /DNS: /);
    assert.match(await ask("a.test"), /no usable address/);
  });
});
