/**
 * A disk that can lose power and break.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Workspace } from "../support/mailapp.ts";
import { asRoot } from "./setting.ts";

/** What a test with a disk asks for. */
export const DISK_NEEDS: readonly string[] = asRoot(
  "mount",
  "mkfs.ext4",
  ...hasLoopDevices() ? [] : ["loop devices"],
);

function hasLoopDevices(): boolean {
  try {
    return Deno.statSync("/dev/loop-control").isCharDevice === true;
  } catch {
    return false;
  }
}

/** Runs a program, which must succeed. */
export async function run(program: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args }).output();
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

/** An ext4 below `mail/` of a workspace, on a device that is a file. Disposed, all is unmounted. */
export class Disk implements AsyncDisposable {
  readonly #workspace: Workspace;
  readonly #mounts = new AsyncDisposableStack();
  readonly #image: string;
  #copies = 0;

  private constructor(workspace: Workspace) {
    this.#workspace = workspace;
    this.#image = workspace.file("device", "disk");
  }

  /** Makes and mounts it. */
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
    await disk.#mountImage();
    disk.#mounts.defer(() => disk.#unmountImage());
    await Deno.remove(workspace.file("mail", "lost+found"), { recursive: true });
    return disk;
  }

  /** Mounts what is on the disk at this moment, and gives its messages for each user. */
  async afterPowerLoss<T>(look: (root: string) => T): Promise<T> {
    const copy = this.#workspace.file("device", `copy${++this.#copies}`);
    const root = this.#workspace.file("after");
    await run("cp", "--sparse=always", this.#image, copy);
    await Deno.mkdir(root, { recursive: true });
    await run("mount", "-o", "loop", copy, root);
    try {
      return look(root);
    } finally {
      await run("umount", root);
      await Deno.remove(copy);
    }
  }

  /** From now on nothing that is new gets onto the disk; what is written over may, as with some broken disks. */
  async fail(): Promise<void> {
    using file = await Deno.open(this.#ballast, { create: true, write: true });
    const page = new Uint8Array(4096);
    try {
      for (;;) await file.write(page);
    } catch (error) {
      assert.match(String(error), /No space left/);
    }
  }

  /** Makes it whole again, as an administrator would: unmounted, checked, mounted. */
  async mend(): Promise<void> {
    await Deno.remove(this.#ballast);
    await this.#unmountImage();
    const { code, stdout } = await new Deno.Command("fsck.ext4", { args: ["-fy", this.#image] }).output();
    // 1: errors were corrected.
    assert.ok(code <= 1, new TextDecoder().decode(stdout));
    await this.#mountImage();
  }

  /** Unmounts all. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#mounts.disposeAsync();
  }

  get #ballast(): string {
    return this.#workspace.file("device", "ballast");
  }

  async #mountImage(): Promise<void> {
    const mail = this.#workspace.file("mail");
    await Deno.mkdir(mail, { recursive: true });
    // The file system writes nothing by itself for minutes: only what a sync asks for gets onto the disk.
    await run("mount", "-o", "loop,commit=300", this.#image, mail);
  }

  async #unmountImage(): Promise<void> {
    await run("umount", this.#workspace.file("mail"));
  }

  async #mount(args: readonly string[], path: string): Promise<void> {
    await Deno.mkdir(path, { recursive: true });
    await run("mount", ...args, path);
    // Lazily: the kernel lets go of the file under a loop device a moment later.
    this.#mounts.defer(() => run("umount", "--lazy", path));
  }
}
