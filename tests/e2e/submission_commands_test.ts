// What the other commands know of serve-submit.
import assert from "node:assert/strict";
import { runMailapp } from "../support/mailapp.ts";
import { SubmissionMachine } from "../support/submission.ts";

Deno.test("check-config says what serve-submit would do, and who may send as whom", async () => {
  await using machine = await SubmissionMachine.create({
    changes: { "serve-submit.send_as": { alice: ["info@example.com"] } },
  });
  const { code, stdout } = await runMailapp(["check-config", "--config", machine.config]);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /\nserve-submit, as mx\.example\.com\n/);
  assert.ok(stdout.includes(`  listens on [::1]:${machine.tlsPort}, TLS from the start\n`), stdout);
  assert.ok(stdout.includes(`  listens on 127.0.0.1:${machine.port}, with STARTTLS\n`), stdout);
  assert.match(stdout, /checks passwords by \/.*\/state\/accounts\/accounts\.json\n/);
  assert.match(stdout, /alice may also send as info@example\.com\n/);
});

Deno.test("check-config names a damaged file of accounts, with which serve-submit would not start", async () => {
  await using machine = await SubmissionMachine.create();
  await Deno.writeTextFile(machine.workspace.file("state", "accounts", "accounts.json"), "{ broken");
  for (const more of [[], ["--start", "serve-submit"]]) {
    const { code, stdout, stderr } = await runMailapp(["check-config", ...more, "--config", machine.config]);
    assert.equal(code, 78);
    assert.match(stdout + stderr, /accounts\.json: not valid JSON.*Restore it from a backup/);
  }
});

Deno.test("check-config names the ports that serve-in and serve-submit both want, and what to set", async () => {
  await using both = await SubmissionMachine.create({
    changes: { "serve-in": { tls_port: 4465 }, "serve-submit": { tls_port: 4465 } },
  });
  const collision = await runMailapp(["check-config", "--config", both.config]);
  assert.equal(collision.code, 78);
  assert.match(
    collision.stdout,
    /error: serve-in and serve-submit both want 127\.0\.0\.1:4465\. Mail programs need it, and mail servers never use it: set tls_port = false in \[serve-in\]/,
  );
  await using plain = await SubmissionMachine.create({
    changes: { "serve-in": { port: 4587 }, "serve-submit": { port: 4587 } },
  });
  const { stdout } = await runMailapp(["check-config", "--config", plain.config]);
  assert.match(stdout, /both want 127\.0\.0\.1:4587: give \[serve-submit\] another port/);
});

Deno.test("serve-submit does not start without TLS, domains, or a port of serve-out, and check-config says so", async () => {
  const cases: readonly (readonly [Parameters<typeof SubmissionMachine.create>[0], RegExp])[] = [
    [{ changes: { tls: { cert: "", key: "" } } }, /tls: must have cert and key, or self_signed = true/],
    [{ changes: { "serve-in": { domains: [] } } }, /serve-in\.domains: must name at least one domain/],
    [{ changes: { "serve-out": { port: 0 } } }, /serve-out\.port: must be a port/],
  ];
  for (const [options, expected] of cases) {
    await using machine = await SubmissionMachine.create(options);
    const { code, stderr } = await runMailapp(["serve-submit", "--config", machine.config]);
    assert.equal(code, 78, stderr);
    assert.match(stderr, expected);
    const checked = await runMailapp(["check-config", "--start", "serve-submit", "--config", machine.config]);
    assert.equal(checked.code, 78);
    assert.match(checked.stderr, expected);
  }
});

Deno.test("healthcheck tells whether serve-submit answers, on either of its ports", async () => {
  for (const off of ["port", "tls_port"]) {
    await using machine = await SubmissionMachine.create({ changes: { "serve-submit": { [off]: false } } });
    const check = () => runMailapp(["healthcheck", "serve-submit", "--config", machine.config]);
    const before = await check();
    assert.equal(before.code, 69);
    {
      await using _serveSubmit = await machine.start("serve-submit");
      const alone = await check();
      assert.equal(alone.code, 69);
      assert.match(alone.stderr, /serve-out on 127\.0\.0\.1:\d+ does not answer/);
      await using _serveOut = await machine.start("serve-out");
      const during = await check();
      assert.equal(during.code, 0, during.stderr);
      assert.match(
        during.stdout,
        /^serve-submit on 127\.0\.0\.1:\d+: answers, and accepts mail\nserve-out on 127\.0\.0\.1:\d+: answers, and accepts mail\n$/,
      );
    }
  }
});

Deno.test("install writes a unit for serve-submit that hides mail, queue and keys from it", async () => {
  await using machine = await SubmissionMachine.create();
  const { code, stdout, stderr } = await runMailapp(["install", "--print", "--config", machine.config]);
  assert.equal(code, 0, stderr);
  const [, unit = ""] = /── \/etc\/systemd\/system\/mailapp-submit\.service\n([^]*?)\n# ── /.exec(stdout) ??
    [];
  assert.match(unit, /\nExecStart=\S+ serve-submit --config /);
  const [, hidden = ""] = /\nInaccessiblePaths=(.*)\n/.exec(unit) ?? [];
  const { workspace } = machine;
  for (const path of ["state/spool", "state/dkim", "state/incoming", "state/maildrop", "mail"]) {
    assert.ok(hidden.split(" ").includes(`-${workspace.file(path)}`), `${path}: ${hidden}`);
  }
  assert.match(unit, /\nCapabilityBoundingSet=\n/);
  assert.match(
    unit,
    /\nPropagatesReloadTo=mailapp-in\.service mailapp-out\.service(?: mailapp-policy\.service)?\n/,
  );
  for (const name of ["mailapp-in", "mailapp-out"]) {
    const other = stdout.slice(stdout.indexOf(`/${name}.service\n`));
    assert.match(/\nInaccessiblePaths=(.*)\n/.exec(other)?.[1] ?? "", /\/state\/accounts(?: |$)/);
  }
});
