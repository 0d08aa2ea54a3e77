import assert from "node:assert/strict";
import { testWith } from "../../tests/support/requires.ts";
import { storageTester } from "./service_account.ts";

testWith(
  [...(Deno.uid() === 0 ? [] : ["root"]), "setpriv"],
  "storageTester() tests paths for an account that passwd does not have",
  async () => {
    const dataDir = await Deno.makeTempDir();
    try {
      await Deno.chown(dataDir, 54_321, 54_321);
      const { who, ask } = await storageTester({ dataDir });
      if (who !== "the account 54321") {
        return assert.notEqual(who, "root", "this machine has an account for mailapp");
      }
      const [own, other] = await ask([dataDir, "/root"]);
      assert.deepEqual([own?.write, other?.write], [true, false]);
    } finally {
      await Deno.remove(dataDir);
    }
  },
);
