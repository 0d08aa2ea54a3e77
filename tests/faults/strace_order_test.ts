// The checker against logs that are made up, with each rule broken in turn; then serve-in under load against it.
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { checkedMessage, submit } from "./checked_message.ts";
import { Mail, report, serveIn } from "./setting.ts";
import { checkOrder, STRACE_OPTIONS } from "./strace_order.ts";

const TMP = "/mail/alice/tmp/1.M1P1Q1R1.mx";
const NEW = "/mail/alice/new/1.M1P1Q1R1.mx,S=300,W=310";

/** The steps of one delivery, in order. */
const STEPS = {
  mkdir: '12 mkdir("/mail/alice", 0770) = 0',
  syncAbove: "12 fsync(9</mail>) = 0",
  create: `12 openat(AT_FDCWD</>, "${TMP}", O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0660) = 9<${TMP}>`,
  write:
    `11 write(9<${TMP}>, "Return-Path: <>\\nReceived: from x ([127.0.0.1])\\n\\tby mx with ESMTP\\n\\tid abc1; T"..., 200) = 200`,
  writeMore: `11 write(9<${TMP}>, "body"..., 100) = 100`,
  sync: `12 fsync(9<${TMP}>) = 0`,
  rename: `13 rename("${TMP}", "${NEW}") = 0`,
  syncDirectory: "12 fsync(9</mail/alice/new>) = 0",
  reply: '11 sendto(7<socket:[77]>, "250 2.0.0 abc1 accepted\\r\\n", 25, MSG_NOSIGNAL, NULL, 0) = 25',
};
type Steps = Record<keyof typeof STEPS, string>;

function logOf(steps: Partial<Steps>): string {
  return Object.values(steps).filter((line) => line !== "").join("\n");
}

/** The steps with this one moved after that one. */
function moved(step: keyof Steps, behind: keyof Steps): string {
  const entries = Object.entries(STEPS).filter(([name]) => name !== step);
  const at = entries.findIndex(([name]) => name === behind) + 1;
  return logOf(Object.fromEntries(entries.toSpliced(at, 0, [step, STEPS[step]])));
}

const unfinished = (line: string) => line.replace(/\) = .*/, " <unfinished ...>");
const resumed = (line: string, name: string) =>
  line.replace(/^(\d+) .*\) = /, `$1 <... ${name} resumed>) = `);

Deno.test("checkOrder() finds nothing wrong with a delivery in order", () => {
  const order = checkOrder(logOf(STEPS));
  assert.deepEqual(order, { replies: 1, files: 1, directorySyncs: 1, violations: [] });
});

Deno.test("checkOrder() puts together calls that others interrupt", () => {
  const log = logOf({
    ...STEPS,
    sync: [unfinished(STEPS.sync), "14 fsync(5</mail/bob/new>) = 0", resumed(STEPS.sync, "fsync")].join("\n"),
  });
  assert.deepEqual(checkOrder(log), { replies: 1, files: 1, directorySyncs: 2, violations: [] });
});

const BROKEN: Readonly<Record<string, readonly [log: string, violation: RegExp]>> = {
  "nothing is written": [STEPS.reply, /250 for abc1, of which nothing was written/],
  "the file is not synced": [logOf({ ...STEPS, sync: "" }), /not been synced between/],
  "something is written after the sync": [moved("writeMore", "sync"), /not been synced between/],
  "something is written after the rename": [moved("writeMore", "rename"), /not been synced between/],
  "the sync begins before the write is over": [
    logOf({
      ...STEPS,
      writeMore: unfinished(STEPS.writeMore),
      sync: [
        unfinished(STEPS.sync),
        resumed(STEPS.writeMore, "write"),
        resumed(STEPS.sync, "fsync"),
      ].join("\n"),
    }),
    /not been synced between/,
  ],
  "the sync is over only after the rename": [
    logOf({
      ...STEPS,
      sync: unfinished(STEPS.sync),
      rename: [STEPS.rename, resumed(STEPS.sync, "fsync")].join("\n"),
    }),
    /not been synced between/,
  ],
  "the sync failed": [
    logOf({ ...STEPS, sync: STEPS.sync.replace("= 0", "= -1 EIO (Input/output error) (INJECTED)") }),
    /had a sync that failed/,
  ],
  "the sync failed and was tried again": [
    logOf({ ...STEPS, sync: `${STEPS.sync.replace("= 0", "= -1 EIO (Input/output error)")}\n${STEPS.sync}` }),
    /had a sync that failed/,
  ],
  "fewer bytes are written than the name says": [
    logOf({ ...STEPS, writeMore: "" }),
    /200 octets written, and S=300/,
  ],
  "a write is cut short": [
    logOf({ ...STEPS, writeMore: STEPS.writeMore.replace("= 100", "= 60") }),
    /260 octets written, and S=300/,
  ],
  "the file is not renamed": [logOf({ ...STEPS, rename: "" }), /had not been renamed/],
  "the rename failed": [
    logOf({ ...STEPS, rename: STEPS.rename.replace("= 0", "= -1 ENOSPC (No space left on device)") }),
    /had not been renamed/,
  ],
  "the rename comes after the reply": [moved("rename", "reply"), /had not been renamed/],
  "the directory is not synced": [logOf({ ...STEPS, syncDirectory: "" }), /not synced in \/mail\/alice\/new/],
  "another directory is synced": [
    logOf({ ...STEPS, syncDirectory: STEPS.syncDirectory.replace("alice", "bob") }),
    /not synced in \/mail\/alice\/new/,
  ],
  "the directory is synced before the rename": [
    moved("syncDirectory", "sync"),
    /not synced in \/mail\/alice\/new/,
  ],
  "the shared sync of the directory had begun before the rename was over": [
    logOf({
      ...STEPS,
      rename: [unfinished(STEPS.rename), unfinished(STEPS.syncDirectory), resumed(STEPS.rename, "rename")]
        .join("\n"),
      syncDirectory: resumed(STEPS.syncDirectory, "fsync"),
    }),
    /not synced in \/mail\/alice\/new/,
  ],
  "the sync of the directory is not over when the reply begins": [
    logOf({
      ...STEPS,
      syncDirectory: unfinished(STEPS.syncDirectory),
      reply: [STEPS.reply, resumed(STEPS.syncDirectory, "fsync")].join("\n"),
    }),
    /not synced in \/mail\/alice\/new/,
  ],
  "the sync of the directory failed and was tried again": [
    logOf({
      ...STEPS,
      syncDirectory: `${
        STEPS.syncDirectory.replace("= 0", "= -1 EIO (Input/output error)")
      }\n${STEPS.syncDirectory}`,
    }),
    /had a sync of \/mail\/alice\/new that failed/,
  ],
  "a directory was made and its name is not synced": [
    logOf({ ...STEPS, syncAbove: "" }),
    /not synced in \/mail$/,
  ],
};

for (const [what, [log, violation]] of Object.entries(BROKEN)) {
  Deno.test(`checkOrder() tells when ${what}`, () => {
    const { violations } = checkOrder(log);
    assert.equal(violations.length, 1, JSON.stringify(violations));
    assert.match(violations[0] ?? "", violation);
  });
}

testWith(
  ["strace"],
  "serve-in answers 250 only for what is synced, under load, by strace's log",
  async () => {
    await using workspace = await Workspace.create();
    const log = workspace.file("strace.log");
    const { server, port } = await serveIn(
      await workspace.configure({ "serve-in": { max_connections_per_ip: 100 } }),
      {
        through: ["strace", "-D", "-o", log, ...STRACE_OPTIONS],
      },
    );
    await using _ = server;
    const mail = new Mail(workspace);
    const clients = 24;
    const messages = 6;
    const digests = new Map<string, string>();
    await Promise.all(Array.from({ length: clients }, async (_, client) => {
      using dialogue = await Dialogue.connect(port);
      await dialogue.hear();
      await dialogue.say("EHLO client.test");
      for (let number = 0; number < messages; number++) {
        const message = checkedMessage(`c${client}n${number}`, number === 3 ? 300_000 : 3_000);
        const to = ["alice@example.com", "bob@example.com"].slice(0, client % 4 === 0 ? 2 : 1);
        const reply = await submit(dialogue, message, { to });
        assert.match(reply, /^250 2\.0\.0 /);
        digests.set(message.id, message.digest);
      }
    }));
    assert.equal(await server.stop(), 0);
    for (const { id, digest } of mail.stored("alice")) assert.equal(digest, digests.get(id));
    const order = checkOrder(await Deno.readTextFile(log));
    assert.deepEqual(order.violations, []);
    assert.equal(order.replies, clients * messages);
    assert.equal(order.files, mail.stored("alice").length + mail.stored("bob").length);
    assert.equal(mail.stored("alice").length, clients * messages);
    report(
      `${order.replies} replies in order: ${order.files} files, ${order.directorySyncs} syncs of directories`,
    );
    // Or else nothing was shown of syncs that several share.
    assert.ok(order.directorySyncs < order.files, `${order.directorySyncs} syncs of ${order.files} names`);
  },
);
