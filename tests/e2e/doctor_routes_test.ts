// doctor and check-config on what the way out needs: routes with TLS and login, password files, source addresses.
import assert from "node:assert/strict";
import { FakeDns } from "../support/fake_dns.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";

interface Report {
  readonly findings: readonly { readonly id: string; readonly subject: string; readonly what: string }[];
}

Deno.test("doctor tries a route as serve-out would use it, and names what is wrong with it", async () => {
  await using dns = await FakeDns.start();
  await using workspace = await Workspace.create();
  const password = workspace.file("password");
  await Deno.writeTextFile(password, "\ufeffsecret\n", { mode: 0o600 });
  await using serveIn = new RunningMailapp([
    "serve-in",
    "--config",
    await workspace.configure({ tls: { self_signed: true } }),
  ]);
  const { port } = await serveIn.event("listener.ready");
  const findings = async (route: Record<string, unknown>, serveOut: Record<string, unknown> = {}) => {
    const config = await workspace.configure({
      tls: { self_signed: true },
      dns: { servers: [dns.server] },
      "serve-out": { min_free_space: 0, allow_private_targets: true, ...serveOut },
      'serve-out.routes."*"': { host: "127.0.0.1", port, ...route },
    });
    const { stdout } = await runMailapp(["doctor", "--json", "--config", config]);
    return (JSON.parse(stdout) as Report).findings;
  };
  const about = async (route: Record<string, unknown>, serveOut?: Record<string, unknown>) => {
    const found = (await findings(route, serveOut)).find(({ id }) => id.split(".")[0] === "route");
    return `${found?.id} ${found?.what}`;
  };
  assert.equal(await about({ tls: "prefer" }), "route it takes mail from here: TLS, unverified");
  assert.match(await about({ tls: "verify" }), /^route\.refused .*self[- _]signed/i);
  assert.match(
    await about({ tls: "verify", user: "u", password_file: password }),
    /^route\.refused .*self[- _]signed/i,
  );
  assert.match(
    await about({ tls: "prefer" }, { source_ipv4: "192.0.2.77" }),
    /^route\.refused no interface of this machine has the source address/,
  );
  const sources = await findings({ tls: "prefer" }, { source_ipv4: "192.0.2.77" });
  assert.ok(sources.some(({ id, subject }) => id === "address.source" && subject === "192.0.2.77"));
  assert.ok(!sources.some(({ id, subject }) => id === "address.missing" && subject === "192.0.2.77"));
  assert.ok(sources.some(({ id }) => id === "outward.source"));
  assert.equal(await serveIn.stop(), 0);
  assert.match(await about({ tls: "prefer" }), /^route\.refused the route's host does not answer: .*refused/);
});

Deno.test("check-config names a domain of ours whose mail is not signed while others' is", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ "serve-in": { domains: ["new.example", "sub.old.example"] } });
  const made = await runMailapp(["dkim", "new", "old.example", "--config", config]);
  assert.equal(made.code, 0, made.stderr);
  const key = workspace.file("state", "dkim");
  const [file] = [...Deno.readDirSync(key)].filter(({ name }) => name.endsWith(".pem"));
  const path = await workspace.configure({
    "serve-in": { domains: ["new.example", "sub.old.example"] },
    mailboxes: { users: ["alice"] },
    'dkim."old.example"': { selector: "s1", key: `${key}/${file?.name}` },
  });
  const { stdout } = await runMailapp(["check-config", "--config", path]);
  assert.match(stdout, /warning: mail from new\.example is not signed/);
  assert.doesNotMatch(stdout, /sub\.old\.example is not signed/);
});
