// `mailapp alert` against a real HTTP server.
import assert from "node:assert/strict";
import { runMailapp, Workspace } from "../support/mailapp.ts";

Deno.test("alert test tells by the webhook, and says whether it works; alert unit names the unit", async () => {
  await using workspace = await Workspace.create();
  const bodies: Record<string, unknown>[] = [];
  let status = 200;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    bodies.push(await request.json());
    return new Response("", { status });
  });
  try {
    const config = await workspace.configure({
      alerts: { webhook: `http://127.0.0.1:${server.addr.port}/hook` },
    });
    const test = await runMailapp(["alert", "test", "--config", config]);
    assert.equal(test.code, 0, test.stderr);
    assert.match(test.stdout, /^webhook on 127\.0\.0\.1:\d+ \(json\): sent\n$/);
    const unit = await runMailapp(["alert", "unit", "mailapp-in.service", "--config", config]);
    assert.equal(unit.code, 0, unit.stderr);
    assert.deepEqual(bodies.map(({ title }) => title), [
      "mx.example.com: mailapp alert needs attention (test)",
      "mx.example.com: mailapp alert needs attention (server)",
    ]);
    assert.match(
      String(bodies[1]?.["text"]),
      /^mailapp-in\.service has failed, .*journalctl -u mailapp-in\.service/,
    );
    status = 500;
    const failed = await runMailapp(["alert", "test", "--config", config]);
    assert.equal(failed.code, 69);
    assert.match(failed.stderr, /the webhook answers 500/);
  } finally {
    await server.shutdown();
  }
});

Deno.test("alert says what is missing, and check-config what is wrong without showing the webhook", async () => {
  await using workspace = await Workspace.create();
  const nothing = await runMailapp(["alert", "test", "--config", await workspace.configure()]);
  assert.equal(nothing.code, 78);
  assert.match(nothing.stderr, /\[alerts\] has neither webhook nor mail_via/);
  const wrong = await workspace.configure({ alerts: { webhook: "http://hooks.example/services/s3cr3t" } });
  const first = await runMailapp(["check-config", "--config", wrong]);
  assert.equal(first.code, 78);
  assert.match(first.stderr, /alerts\.webhook.*must be an address such as/);
  assert.doesNotMatch(first.stderr, /s3cr3t/);
  const half = await workspace.configure({ alerts: { mail_via: "smtps://u@smtp.example.net" } });
  const second = await runMailapp(["check-config", "--config", half]);
  assert.equal(second.code, 78);
  for (const key of ["password_file", "mail_to", "mail_from"]) {
    assert.match(second.stderr, new RegExp(`alerts\\.${key}: must be set, since`));
  }
});

Deno.test("install writes a unit that tells of a server that systemd has given up, where there are alerts", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ alerts: { webhook: "https://hooks.example/x" } });
  const { stdout } = await runMailapp(["install", "--print", "--config", config]);
  assert.match(stdout, /^OnFailure=mailapp-alert@%n\.service$/m);
  assert.match(stdout, new RegExp(`^ExecStart=.* alert unit %i --config ${config}$`, "m"));
  const without = await runMailapp(["install", "--print", "--config", await workspace.configure()]);
  assert.doesNotMatch(without.stdout, /OnFailure|mailapp-alert/);
});
