// Disks: the power goes while serve-in works, and what is on the disk at that moment, without anything that was only in
// memory, is mounted as it would be after the restart; and a disk that fails.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { chance } from "../support/chance.ts";
import { Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { Strace, STRACE_NEEDS } from "../support/strace.ts";
import { readMaildir } from "./checked_message.ts";
import { Disk, DISK_NEEDS, run } from "./disk.ts";
import { checkAgainst, killUnderLoad } from "./load.ts";
import { deliverOne, LONG_ROUNDS, Mail, report, sendOne, serveIn } from "./setting.ts";

const ROUNDS = LONG_ROUNDS || 3;
const random = chance("power_loss_test");

const stored = (root: string, user: string) => readMaildir(join(root, "example.com", user));

testWith(
  DISK_NEEDS,
  `serve-in has what it answered for when the power goes under load, ${ROUNDS} times`,
  async () => {
    await using workspace = await Workspace.create();
    await using disk = await Disk.mount(workspace);
    const config = await workspace.configure();
    const mail = new Mail(workspace);
    let accepted = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const serving = await serveIn(config);
      await using _ = serving.server;
      const seen = await killUnderLoad(serving, { prefix: `r${round}`, random });
      await disk.afterPowerLoss((root) =>
        checkAgainst(seen, { alice: stored(root, "alice"), bob: stored(root, "bob") })
      );
      accepted += seen.accepted.size;
      for (const user of ["alice", "bob"]) mail.clear(user);
      // What has been cleared must be gone from the disk as well before the next round looks at it.
      await run("sync", "--file-system", workspace.file("mail"));
    }
    report(`${ROUNDS} losses of power: ${accepted} messages answered for, all there`);
    assert.ok(accepted > 0);
  },
);

testWith(
  [...DISK_NEEDS, ...STRACE_NEEDS],
  "a serve-in whose syncs are lies loses mail when the power goes",
  async () => {
    await using workspace = await Workspace.create();
    await using disk = await Disk.mount(workspace);
    const { server, port } = await serveIn(await workspace.configure());
    await using _ = server;
    await deliverOne(port, { mail: new Mail(workspace), users: ["alice"], octets: 2_000 });
    const honest = await disk.afterPowerLoss((root) => stored(root, "alice").length);
    assert.equal(honest, 1);
    await using strace = await Strace.attach(server.pid, { inject: ["fsync,fdatasync:retval=0"] });
    for (let number = 0; number < 5; number++) {
      assert.match((await sendOne(port, { to: ["alice@example.com"], octets: 2_000 })).reply, /^250 /);
    }
    assert.ok(strace.injected >= 10);
    const left = await disk.afterPowerLoss((root) => stored(root, "alice").length);
    assert.equal(left, 1, "what was not synced is there: the test above shows nothing");
  },
);

testWith(
  [...DISK_NEEDS, "fsck.ext4"],
  "serve-in on a disk that fails answers for nothing, until it is mended",
  async () => {
    await using workspace = await Workspace.create();
    await using disk = await Disk.mount(workspace);
    const { server, port } = await serveIn(await workspace.configure());
    await using _ = server;
    const mail = new Mail(workspace);
    const users = ["alice", "bob"];
    const to = users.map((user) => `${user}@example.com`);
    for (let number = 0; number < 5; number++) await deliverOne(port, { mail, users, octets: 20_000 });
    await disk.fail();
    // As full or as broken, as the kernel calls it; the first at the dot, others at RCPT.
    for (const octets of [400_000, 20_000, 2_000]) {
      assert.match((await sendOne(port, { to, octets })).reply, /^45[012] 4\.[23]\.[01] /);
    }
    await disk.mend();
    for (const user of users) assert.equal(mail.stored(user).length, 5);
    await deliverOne(port, { mail, users, octets: 400_000 });
    await deliverOne(port, { mail, users, octets: 2_000 });
    assert.equal(await server.stop(), 0);
  },
);
