import assert from "node:assert/strict";
import { makeMaildrop } from "../../relay/maildrop/directory.ts";
import { parseDroppedHead } from "../../relay/maildrop/dropped_head.ts";
import { EXIT } from "../../server/exit_codes.ts";
import { Workspace } from "../../tests/support/mailapp.ts";
import { leave } from "./maildrop.ts";

async function setting(stack: AsyncDisposableStack) {
  const workspace = stack.use(await Workspace.create());
  const directory = workspace.file("maildrop");
  await makeMaildrop(directory);
  const server = { addresses: [], port: 0, dataDir: workspace.path, maxMessageSize: 1000, minFreeSpace: 0 };
  return {
    leave: (recipients: readonly string[]) =>
      leave({ sender: "me@x.test", recipients, bytes: new TextEncoder().encode("Subject: x\n\nHi\n") }, {
        server,
        reason: "it does not run",
      }),
    files: () => Array.from(Deno.readDirSync(directory), ({ name }) => workspace.file("maildrop", name)),
  };
}

const some = (count: number) => Array.from({ length: count }, (_, i) => `r${i}@y.test`);

Deno.test("leave() keeps a message to many in several files", async () => {
  await using stack = new AsyncDisposableStack();
  const { leave, files } = await setting(stack);
  assert.equal(await leave(some(2500)), EXIT.ok);
  const heads = files().map((path) => parseDroppedHead(Deno.readTextFileSync(path).split("\n", 1)[0] ?? ""));
  assert.deepEqual(heads.map(({ recipients }) => recipients.length).sort(), [1000, 1000, 500]);
  assert.deepEqual(heads.flatMap(({ recipients }) => recipients).sort(), some(2500).sort());
});

Deno.test("leave() keeps nothing of a message to many where it cannot keep all: its program comes again", async () => {
  await using stack = new AsyncDisposableStack();
  const { leave, files } = await setting(stack);
  // More than the first line of the second file may take.
  const tooLong = `${"x".repeat(1000)}@y.test`;
  await assert.rejects(leave([...some(1000), tooLong]), { exitCode: EXIT.data });
  assert.deepEqual(files(), []);
});
