import assert from "node:assert/strict";
import { parseConfig } from "../../config/load.ts";
import { firstConfig } from "./first_config.ts";

Deno.test("firstConfig() writes where serve-in listens, as a word or as addresses", () => {
  const serveIn = (more: { listen?: readonly string[]; port?: number }) =>
    parseConfig(firstConfig({
      hostname: "mx.example.com",
      dataDir: "/var/lib/mailapp",
      domains: ["example.com"],
      users: ["alice"],
      postmaster: "alice",
      submission: false,
      mailPath: "/var/mail/{domain}/{user}",
      dkim: {},
      ...more,
    })).serveIn;
  assert.deepEqual([serveIn({}).listen, serveIn({}).port], ["auto", 25]);
  assert.equal(serveIn({ listen: ["any"] }).listen, "any");
  assert.equal(serveIn({ listen: ["eth0"] }).listen, "eth0");
  assert.deepEqual(serveIn({ listen: ["192.0.2.1"] }).listen, ["192.0.2.1"]);
  assert.deepEqual(serveIn({ listen: ["192.0.2.1", "2001:db8::1"], port: 2525 }).listen, [
    "192.0.2.1",
    "2001:db8::1",
  ]);
  assert.equal(serveIn({ port: 2525 }).port, 2525);
});
