// The power goes while serve-in works: what a file system of its own has on its disk at that moment, without anything
// that was only in memory, is mounted as it would be after the restart.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { Strace } from "../support/strace.ts";
import { readMaildir } from "./checked_message.ts";
import { checkAgainst, killUnderLoad } from "./load.ts";
import { asRoot, deliverOne, Mail, sendOne, serveIn } from "./setting.ts";

const LONG = Deno.env.has("MAILAPP_FAULT_ROUNDS");
const ROUNDS = LONG ? 50 : 4;

const PROGRAMS = asRoot("mount", "mkfs.ext4", ...hasLoopDevices() ? [] : ["loop devices"]);

function hasLoopDevices(): boolean {
  try {
    return Deno.statSync("/dev/loop-control").isCharDevice === true;
  } catch {
    return false;
  }
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args }).output();
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

/** An ext4 below `mail/` of a workspace, on a device that is a file. Disposed, all is unmounted. */
class Disk implements AsyncDisposable {
  readonly #workspace: Workspace;
  readonly #mounts = new AsyncDisposableStack();
  readonly #image: string;

  private constructor(workspace: Workspace) {
    this.#workspace = workspace;
    this.#image = workspace.file("device", "disk");
  }

  static async mount(workspace: Workspace): Promise<Disk> {
    const disk = new Disk(workspace);
    await disk.#mount(["-t", "tmpfs", "-o", "size=256m", "mailapp-test"], workspace.file("device"));
    await run("truncate", "--size=64M", disk.#image);
    await run(
      "mkfs.ext4",
      "-q",
      "-E",
      "lazy_itable_init=0,lazy_journal_init=0",
      "-O",
      "^metadata_csum",
      disk.#image,
    );
    // The file system writes nothing by itself for minutes: only what a sync asks for gets onto the disk.
    await disk.#mount(["-o", "loop,commit=300", disk.#image], workspace.file("mail"));
    await Deno.remove(workspace.file("mail", "lost+found"), { recursive: true });
    return disk;
  }

  /** Mounts what is on the disk at this moment, and gives its messages for each user. */
  async afterPowerLoss<T>(look: (root: string) => T): Promise<T> {
    const copy = this.#workspace.file("device", "copy");
    const root = this.#workspace.file("after");
    await run("cp", "--sparse=always", this.#image, copy);
    await Deno.mkdir(root, { recursive: true });
    await run("mount", "-o", "loop", copy, root);
    try {
      return look(root);
    } finally {
      await run("umount", root);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#mounts.disposeAsync();
  }

  async #mount(args: readonly string[], path: string): Promise<void> {
    await Deno.mkdir(path, { recursive: true });
    await run("mount", ...args, path);
    // Lazily: the kernel lets go of the file under a loop device a moment later.
    this.#mounts.defer(() => run("umount", "--lazy", path));
  }
}

const stored = (root: string, user: string) => readMaildir(join(root, "example.com", user));

testWith(
  PROGRAMS,
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
      const seen = await killUnderLoad(serving, { prefix: `r${round}` });
      await disk.afterPowerLoss((root) =>
        checkAgainst(seen, { alice: stored(root, "alice"), bob: stored(root, "bob") })
      );
      accepted += seen.accepted.size;
      for (const user of ["alice", "bob"]) mail.clear(user);
      // What has been cleared must be gone from the disk as well before the next round looks at it.
      await run("sync", "--file-system", workspace.file("mail"));
    }
    if (LONG) console.log(`${ROUNDS} losses of power: ${accepted} messages answered for, all there`);
    assert.ok(accepted > 0);
  },
);

testWith(
  [...PROGRAMS, "strace"],
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
