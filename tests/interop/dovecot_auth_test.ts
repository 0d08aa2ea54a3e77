// Dovecot of Debian's checks the passwords for serve-submit, and those of accounts of ours.
import assert from "node:assert/strict";
import { systemClock } from "../../base/clock.ts";
import { DovecotAuth } from "../../sasl/dovecot_auth.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { startDovecot } from "../support/peers/dovecot.ts";
import { PYTHON, runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

testWith(["dovecot"], "DovecotAuth has Debian's Dovecot check logins", async () => {
  await using dovecot = await startDovecot({
    mailboxes: [{ user: "alice@example.com", maildir: "/nonexistent", uid: 65534, gid: 65534 }],
  });
  using auth = new DovecotAuth({ path: dovecot.authSocket, clock: systemClock });
  const credentials = auth.credentialsFor({ address: "192.0.2.1", session: "s" });
  assert.deepEqual(await credentials.check("alice@example.com", "secret"), {
    kind: "right",
    login: "alice@example.com",
  });
  const verdicts = await Promise.all([
    credentials.check("alice@example.com", "wrong"),
    credentials.check("bob@example.com", "secret"),
    credentials.check("alice@example.com", "secret"),
    credentials.check("alice@example.com", "sec\tret\n"),
  ]);
  assert.deepEqual(verdicts.map(({ kind }) => kind), ["wrong", "wrong", "right", "wrong"]);
});

testWith(["dovecot", PYTHON], "Debian's Dovecot logs in by the file that account export writes", async () => {
  await using place = await Workspace.create();
  // For the account of Dovecot's auth process.
  await Deno.chmod(place.path, 0o755);
  const config = await place.configure({ "serve-submit": {} });
  const mailapp = async (args: readonly string[], stdin?: string) => {
    const { code, stdout, stderr } = await runMailapp(["account", ...args, "--config", config], {
      ...(stdin !== undefined && { stdin }),
    });
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const password = "korrekt Pferd Batterie";
  await mailapp(["add", "alice", "--password-stdin"], `${password}\n`);
  const phone = JSON.parse(await mailapp(["app-password", "alice", "phone", "--json"])).password as string;
  await mailapp(["add", "bob", "--password-stdin"], `${password}\n`);
  await mailapp(["disable", "bob"]);
  const files = [await mailapp(["export", "dovecot"]), await mailapp(["export", "dovecot", "--nth", "2"])];
  for (const [n, text] of files.entries()) {
    const passwordFile = place.file(`users${n}`);
    await Deno.writeTextFile(passwordFile, text);
    await using dovecot = await startDovecot({
      mailboxes: [{ user: "alice@example.com", maildir: place.file("maildir"), uid: 65534, gid: 65534 }],
      passwordFile,
    });
    using auth = new DovecotAuth({ path: dovecot.authSocket, clock: systemClock });
    const check = async (login: string, password: string) =>
      (await auth.credentialsFor({ address: "192.0.2.1", session: "s" }).check(login, password)).kind;
    const [right, other] = n === 0 ? [password, phone] : [phone, password];
    assert.equal(await check("alice@example.com", right), "right");
    assert.deepEqual(
      await Promise.all([check("alice@example.com", other), check("bob@example.com", password)]),
      ["wrong", "wrong"],
    );
    const login = `
import imaplib, sys
imap = imaplib.IMAP4("127.0.0.1", int(sys.argv[1]))
print(imap.login("alice@example.com", sys.argv[2])[0])`;
    assert.equal(await runOk(PYTHON, { args: ["-c", login, String(dovecot.port), right] }), "OK\n");
  }
});
