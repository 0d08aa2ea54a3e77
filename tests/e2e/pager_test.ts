// Long output on a terminal: a pseudo-terminal of Python's, on which keys are typed as each prompt comes.
import assert from "node:assert/strict";
import { silentLogger } from "../../base/log.ts";
import { Spool } from "../../relay/spool/spool.ts";
import { Workspace } from "../support/mailapp.ts";
import { environmentOf, program } from "../support/program.ts";
import { PYTHON, run } from "../support/peers/process.ts";
import { newEntry } from "../support/queue_entry.ts";
import { testWith } from "../support/requires.ts";

/**
 * Types the next key at each prompt, and runs another command at the first one. Prints the exit code, that of the other
 * command, whether the terminal is in its normal mode again, and what was shown.
 */
const TYPIST = `
import fcntl, json, os, pty, struct, subprocess, sys, termios, time
keys, other, command = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
here, there = pty.openpty()
fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
os.set_blocking(here, False)
child = subprocess.Popen(command, stdin=there, stdout=there, stderr=there, start_new_session=True)
shown, prompts, code = b"", 0, None
while True:
    ended = child.poll() is not None
    try:
        shown += os.read(here, 65536)
    except BlockingIOError:
        if ended: break
        time.sleep(0.01)
    if shown.count(b"q: quit") > prompts:
        prompts += 1
        if code is None: code = subprocess.run(other, capture_output=True).returncode
        os.write(here, keys.pop(0).encode())
local = termios.tcgetattr(there)[3]
normal = bool(local & termios.ICANON) and bool(local & termios.ECHO)
print(json.dumps([child.returncode, code, normal, shown.decode()]))
`;

testWith(
  [PYTHON],
  "queue list pauses at each screenful of a terminal, holds nothing meanwhile, and leaves the terminal as it was",
  async () => {
    await using workspace = await Workspace.create();
    const config = await workspace.configure();
    await fill(workspace, 15);
    const [first = "", ...rest] = program();
    const typed = async (keys: readonly string[], ...args: readonly string[]) => {
      const other = [first, ...rest, "queue", "hold", "--all", "--config", config];
      const { code, stdout, stderr } = await run(PYTHON, {
        args: [
          ...["-c", TYPIST, JSON.stringify(keys), JSON.stringify(other), first, ...rest],
          ...[...args, "--config", config],
        ],
        env: { ...environmentOf("queue"), TERM: "xterm" },
      });
      assert.equal(code, 0, stderr);
      return JSON.parse(stdout) as [code: number, other: number | null, normal: boolean, shown: string];
    };
    const [code, other, normal, shown] = await typed([" ", "\r", "q"], "queue", "list");
    assert.deepEqual([code, other, normal], [0, 0, true], shown);
    // deno-lint-ignore no-control-regex
    const pages = shown.replaceAll("\r\n", "\n").split(/--More--[^\r]*\r\u001b\[K/);
    assert.deepEqual(pages.map((page) => page.split("\n").length - 1), [11, 11, 1, 0], shown);
    assert.match(pages[0] ?? "", /user0@late\.test[^]*user4@late\.test/);
    assert.match(pages[1] ?? "", /user5@late\.test[^]*user10@late\.test/);

    const all = await typed([], "queue", "list", "--no-pager");
    assert.deepEqual([all[0], all[1], all[2]], [0, null, true]);
    assert.match(all[3], /user0@[^]*user14@[^]*15 messages, 15 recipients held\r\n$/);
    assert.doesNotMatch(all[3], /--More--/);
    const short = await typed([], "queue", "list", "--limit", "2");
    assert.doesNotMatch(short[3], /--More--/);
    assert.match(short[3], /2 messages shown/);
  },
);

/** The queue of a stopped serve-out, with so many messages. */
async function fill(workspace: Workspace, messages: number): Promise<void> {
  await Deno.mkdir(workspace.file("state"));
  await using spool = await Spool.open({ directory: workspace.file("state", "spool"), logger: silentLogger });
  const message = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");
  for (let number = 0; number < messages; number++) {
    const entry = newEntry([`user${number}@late.test`], { id: spool.newId(), size: message.length });
    await spool.add(entry, message);
  }
}
