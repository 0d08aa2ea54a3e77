import assert from "node:assert/strict";
import { basename } from "@std/path";
import { DebianMachine, MACHINE_PROGRAMS } from "./debian_machine.ts";
import { testWith } from "./requires.ts";

testWith(
  MACHINE_PROGRAMS,
  "DebianMachine.boot() leaves nothing of a machine whose script fails",
  async () => {
    const error = await DebianMachine.boot({
      hostname: "mx.example.com",
      prepare: 'dirname "$PWD" >&2; exit 3',
    }).then(async (machine) => {
      await machine[Symbol.asyncDispose]();
      return undefined;
    }, (error: unknown) => error);
    assert.ok(error instanceof Error);
    const [directory = ""] = /^\/\S*mailapp-machine-\w+$/m.exec(error.message) ?? [];
    assert.notEqual(directory, "", error.message);
    for (
      const path of [directory, ...["", "systemd/"].map((at) => `/sys/fs/cgroup/${at}${basename(directory)}`)]
    ) {
      await assert.rejects(Deno.stat(path), Deno.errors.NotFound, path);
    }
  },
);
