// The maildrop of a serve-out with its own permissions, which are fewer than those of the tests of its parts.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { dropMessage } from "../../relay/maildrop/drop.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { startServeOut } from "../support/peers/mailapp.ts";

/** Files beside a message by the name of its progress, as serve-out writes it and as any account can. */
const BESIDE: readonly (readonly [what: string, text: string, left: readonly string[]])[] = [
  ["what was done", '["done@y.test"]', ["left@y.test"]],
  // All but the first were written by no serve-out.
  ["an object", "{}", ["done@y.test", "left@y.test"]],
  ["a number", "1", ["done@y.test", "left@y.test"]],
  ["other numbers", "[1]", ["done@y.test", "left@y.test"]],
  ["half a list", '["done@y.test"', ["done@y.test", "left@y.test"]],
];

Deno.test("a message in the maildrop is taken whatever lies beside it, and one that was taken in part for the rest", async () => {
  await using folder = await makeFolder("maildrop");
  const options = { folder, routes: { "*": "127.0.0.1:9" } };
  const serveOut = await startServeOut(options);
  await serveOut[Symbol.asyncDispose]();
  const directory = folder.at("data/maildrop");
  const names = () => [...Deno.readDirSync(directory)].map(({ name }) => name);
  for (const [index, [, text]] of BESIDE.entries()) {
    const before = names();
    const head = { sender: `me${index}@x.test`, recipients: ["done@y.test", "left@y.test"] };
    await dropMessage(head, new TextEncoder().encode("Subject: x\n\nHi\n"), {
      directory,
      minFreeSpace: 0,
      syncDirectory: () => Promise.resolve(),
    });
    const name = names().find((name) => !before.includes(name));
    await Deno.writeTextFile(join(directory, `${name}.done`), text, { mode: 0o600 });
  }
  await using again = await startServeOut(options);
  for (const [index, [what, , left]] of BESIDE.entries()) {
    const taken = await again.anyEvent(["maildrop.accepted", "maildrop.deferred"], {
      from: `me${index}@x.test`,
    });
    assert.deepEqual(taken["to"], left, what);
  }
});
