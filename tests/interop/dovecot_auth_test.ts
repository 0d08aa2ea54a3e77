// Dovecot of Debian's checks the passwords for serve-submit.
import assert from "node:assert/strict";
import { systemClock } from "../../base/clock.ts";
import { DovecotAuth } from "../../sasl/dovecot_auth.ts";
import { startDovecot } from "../support/peers/dovecot.ts";
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
