/**
 * Stores a certificate in a directory, and dies by SIGKILL before the file call with the number given.
 *
 *     deno run -A saving_certificate.ts DIRECTORY WORD NUMBER
 *
 * Prints `saved` if it comes to the end.
 *
 * @module
 */
import { CertificateFiles } from "../../acme/certificate_files.ts";

const [directory = "", word = "", number = ""] = Deno.args;
let left = Number(number);

/** Has each call of these methods counted. */
function count(object: object, names: readonly string[]): void {
  for (const name of names) {
    const original = Reflect.get(object, name) as (...args: unknown[]) => unknown;
    Reflect.set(object, name, function (this: unknown, ...args: unknown[]) {
      if (--left === 0) {
        Deno.kill(Deno.pid, "SIGKILL");
        // Nothing more happens, even if the signal takes a moment.
        return new Promise(() => {});
      }
      return original.apply(this, args);
    });
  }
}

count(Deno, [
  ...[
    "mkdir",
    "open",
    "openSync",
    "rename",
    "renameSync",
    "symlink",
    "remove",
    "removeSync",
    "writeTextFile",
  ],
]);
count(Deno.FsFile.prototype, ["write", "writeSync", "sync", "syncData", "syncSync", "truncate"]);

await new CertificateFiles(directory).save({ cert: word, key: word }, { now: Date.now() });
console.log("saved");
