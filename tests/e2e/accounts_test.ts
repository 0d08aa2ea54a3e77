// Accounts as people change them while serve-submit runs.
import assert from "node:assert/strict";
import { runMailapp, RunningMailapp } from "../support/mailapp.ts";
import { startDovecot } from "../support/peers/dovecot.ts";
import { until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { PASSWORD, SubmissionMachine } from "../support/submission.ts";

/** The reply to a login. */
async function login(machine: SubmissionMachine, name: string, password: string): Promise<string> {
  using client = await machine.connect();
  return (await client.say(`AUTH PLAIN ${btoa(`\0${name}\0${password}`)}`)).slice(0, 3);
}

Deno.test("what mailapp account changes counts for the running serve-submit, and a damaged file changes nothing", async () => {
  await using machine = await SubmissionMachine.create({ logins: [] });
  const account = async (...args: string[]) => {
    const { code, stdout, stderr } = await runMailapp([
      "account",
      ...args,
      "--config",
      machine.config,
      "--json",
    ]);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  };
  await using serveSubmit = await machine.start("serve-submit");
  const read = (after: number) => serveSubmit.event("accounts.read", { after });
  /** A login that waits for the file to be read again, which a look at it does. */
  const becomes = (code: string, name: string, password: string) =>
    until(async () => await login(machine, name, password) === code, { what: `${code} for ${name}` });

  const { password } = await account("add", "alice");
  await becomes("235", "alice@example.com", password);
  assert.equal((await read(1))["accounts"], 1);
  const phone = await account("app-password", "alice", "phone");
  await becomes("235", "Alice@Example.com.", phone.password);
  await account("app-password", "alice", "--remove", "phone");
  await becomes("535", "alice@example.com", phone.password);
  await account("disable", "alice");
  await becomes("535", "alice@example.com", password);
  await account("enable", "alice");
  await becomes("235", "alice@example.com", password);
  await Deno.writeTextFile(machine.workspace.file("state", "accounts", "accounts.json"), "{");
  await until(async () => {
    assert.equal(await login(machine, "alice@example.com", password), "235");
    return serveSubmit.events.some(({ event }) => event === "accounts.kept");
  }, { what: "accounts.kept" });
});

Deno.test("serve-submit does not start with a file of accounts that is damaged, and says which", async () => {
  await using machine = await SubmissionMachine.create();
  await Deno.writeTextFile(machine.workspace.file("state", "accounts", "accounts.json"), "{}");
  await using serveSubmit = new RunningMailapp(["serve-submit", "--config", machine.config]);
  assert.equal(await serveSubmit.ended(), 78);
  assert.match(serveSubmit.transcript(), /accounts\.json: the accounts cannot be read: version: /);
});

testWith(
  ["dovecot"],
  "serve-submit has Debian's Dovecot check passwords, and puts logins off while that is not there",
  async () => {
    const mailboxes = [{ user: "alice@example.com", maildir: "/nonexistent", uid: 65534, gid: 65534 }];
    await using dovecot = await startDovecot({ mailboxes });
    await using machine = await SubmissionMachine.create({
      logins: [],
      changes: { "serve-submit": { auth: `dovecot:${dovecot.authSocket}` } },
    });
    await using serveSubmit = await machine.start("serve-submit");
    assert.equal(await login(machine, "alice@example.com", "secret"), "235");
    assert.equal(await login(machine, "alice@example.com", PASSWORD), "535");
    await dovecot.program.stop();
    // Its auth process serves the connection for a while yet.
    await until(async () => await login(machine, "alice@example.com", "secret") === "454", { what: "454" });
    const { error } = await serveSubmit.event("login.unavailable");
    assert.ok(String(error).startsWith(`${dovecot.authSocket}: `), String(error));
  },
);
