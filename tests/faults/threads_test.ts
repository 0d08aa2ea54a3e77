// serve-in with four threads, killed under load: whatever was answered 250 is there, and nothing torn.
import assert from "node:assert/strict";
import { chance } from "../support/chance.ts";
import { Workspace } from "../support/mailapp.ts";
import { checkAgainst, killUnderLoad } from "./load.ts";
import { LONG_ROUNDS, Mail, report, serveIn } from "./setting.ts";

const ROUNDS = LONG_ROUNDS || 3;

Deno.test(`serve-in with four threads killed ${ROUNDS} times under load has what it answered for`, async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ "serve-in": { threads: 4 } });
  const mail = new Mail(workspace);
  const random = chance("threads_test");
  let accepted = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const { server, port } = await serveIn(config);
    await using _ = server;
    const seen = await killUnderLoad({ server, port }, { prefix: `r${round}`, random });
    checkAgainst(seen, { alice: mail.stored("alice"), bob: mail.stored("bob") });
    accepted += seen.accepted.size;
    for (const user of ["alice", "bob"]) {
      mail.clear(user);
      for (const name of mail.tmp(user)) await Deno.remove(mail.path(user, "tmp", name));
    }
  }
  report(`${ROUNDS} kills with 4 threads: ${accepted} messages answered for, all there`);
  assert.ok(accepted > 0);
});
