import assert from "node:assert/strict";
import { configArgument } from "./config_argument.ts";

Deno.test("configArgument() names a file only where it must, as a shell takes it", () => {
  assert.equal(configArgument(undefined), "");
  assert.equal(configArgument("/etc/mailapp/config.toml"), "");
  assert.equal(configArgument("/srv/a.toml"), " --config /srv/a.toml");
  assert.equal(configArgument("/srv/a's $b.toml"), " --config '/srv/a'\\''s $b.toml'");
});
