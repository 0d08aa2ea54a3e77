import assert from "node:assert/strict";
import { errorCode, storageCall, StorageError } from "./storage_error.ts";

Deno.test("errorCode() reads the code, or the number in Deno's message where there is none", () => {
  assert.equal(errorCode(Object.assign(new Error("full"), { code: "ENOSPC" })), "ENOSPC");
  assert.equal(errorCode(new Error("Disk quota exceeded (os error 122): rename '/a' -> '/b'")), "EDQUOT");
  assert.equal(errorCode(new Error("something else")), "");
  assert.equal(errorCode("no error"), "");
});

Deno.test("errorCode() of what Deno throws", async () => {
  const codeOf = async (call: () => Promise<unknown>) => {
    try {
      await call();
    } catch (error) {
      return errorCode(error);
    }
    return "none";
  };
  assert.equal(await codeOf(() => Deno.open("/nowhere/at/all")), "ENOENT");
  assert.equal(await codeOf(() => Deno.open("/etc/passwd", { write: true, createNew: true })), "EEXIST");
  using full = await Deno.open("/dev/full", { write: true });
  assert.equal(await codeOf(() => full.write(new Uint8Array(1))), "ENOSPC");
});

Deno.test("storageCall() names the step and the path, and wraps once", async () => {
  const cause = Object.assign(new Error("Input/output error"), { code: "EIO" });
  const inner = () => storageCall("sync", "/var/mail/x", () => Promise.reject(cause));
  await assert.rejects(storageCall("outer", "/y", inner), (error) => {
    assert.ok(error instanceof StorageError);
    assert.equal(error.message, "cannot sync /var/mail/x: Input/output error");
    assert.deepEqual([error.fault, error.code, error.path, error.cause], ["io", "EIO", "/var/mail/x", cause]);
    return true;
  });
});
