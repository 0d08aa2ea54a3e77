// What the commands print on a terminal of 80 columns: a pseudo-terminal of Python's.
import assert from "node:assert/strict";
import { silentLogger } from "../../base/log.ts";
import { Spool } from "../../relay/spool/spool.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { PYTHON, run } from "../support/peers/process.ts";
import { environmentOf, program } from "../support/program.ts";
import { newEntry } from "../support/queue_entry.ts";
import { testWith } from "../support/requires.ts";

const COLUMNS = 80;

/** Runs commands, each on a terminal of its own; prints what each has shown, and its exit code. */
const TERMINALS = `
import fcntl, json, os, pty, struct, subprocess, sys, termios
results = []
for command in json.loads(sys.argv[1]):
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, ${COLUMNS}, 0, 0))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=there, stderr=there, start_new_session=True)
    os.close(there)
    shown = b""
    while True:
        try: more = os.read(here, 65536)
        except OSError: break
        if not more: break
        shown += more
    os.close(here)
    results.append([child.wait(), shown.decode()])
print(json.dumps(results))
`;

/** What is copied somewhere else, and so keeps its lines: records of DNS. */
const COPIED = ["dns", "dkim show"];

/** The queue of a stopped serve-out, with a message that several hosts have refused for now. */
async function fill(workspace: Workspace): Promise<string> {
  await Deno.mkdir(workspace.file("state"), { recursive: true });
  await using spool = await Spool.open({ directory: workspace.file("state", "spool"), logger: silentLogger });
  const message = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");
  const id = spool.newId();
  const recipients = [1, 2, 3].map((number) =>
    `a.person.with.a.long.name.${number}@a-department.a-company-with-a-long-name.test`
  );
  await spool.add(newEntry(recipients, { id, size: message.length, acceptedAt: Date.now() }), message);
  return id;
}

testWith([PYTHON], "what commands print fits a terminal of 80 columns, but for records of DNS", async () => {
  await using workspace = await Workspace.create();
  const file = await workspace.configure({
    dns: { servers: ["127.0.0.1:1"] },
    "tls.acme": { email: "alice@example.com" },
    "serve-submit": { listen: ["127.0.0.1"], port: 5870, tls_port: 4650 },
    "mailboxes.aliases": { "a.rather.long.name.of.a.list": ["alice", "bob"], postmaster: "alice" },
  });
  const id = await fill(workspace);
  const made = await runMailapp(["dkim", "new", "example.com", "--config", file]);
  assert.equal(made.code, 0, made.stderr);
  const [, key = ""] = /^("example\.com" = \{.*\})$/m.exec(made.stdout) ?? [];
  await Deno.writeTextFile(file, `\n[dkim]\n${key}\n`, { append: true });
  const log = workspace.file("mail.log");
  await Deno.writeTextFile(log, "");
  const commands = [
    "check-config",
    "doctor --all",
    "status",
    `status --log ${log}`,
    "queue list",
    `queue show ${id}`,
    `queue retry ${id} --dry-run`,
    `trace ${id} --log ${log}`,
    "explain alice@example.com",
    "explain nobody@example.com",
    "account add alice@example.com --generate",
    "account list",
    "account show alice@example.com",
    "certificate show",
    "dkim show",
    "dns",
    "help queue list",
  ];
  const [first = "", ...rest] = program();
  const { code, stdout, stderr } = await run(PYTHON, {
    args: [
      "-c",
      TERMINALS,
      JSON.stringify(commands.map((command) => [first, ...rest, ...command.split(" ")])),
    ],
    env: { ...environmentOf("queue"), TERM: "xterm", MAILAPP_CONFIG: file },
    within: 300_000,
  });
  assert.equal(code, 0, stderr);
  const results = JSON.parse(stdout) as [code: number, shown: string][];
  const wide: string[] = [];
  for (const [index, [code, shown]] of results.entries()) {
    const command = commands[index] ?? "";
    assert.ok([0, 64, 65, 69].includes(code) && shown !== "", `${command}: ${code}\n${shown}`);
    if (COPIED.some((copied) => command.startsWith(copied))) continue;
    const lines = shown.split(/\r?\n/).map((line) => line.slice(line.lastIndexOf("\r") + 1));
    // deno-lint-ignore no-control-regex
    const bare = lines.map((line) => line.replaceAll(/\u001b\[[\d;]*[A-Za-z]/g, ""));
    // A word that is longer than the line stays whole, so that it can be copied.
    wide.push(
      ...bare.filter((line) => line.length > COLUMNS && /\S\s+\S/.test(line)).map((line) =>
        `${command}: ${line}`
      ),
    );
  }
  assert.deepEqual(wide, []);
});
