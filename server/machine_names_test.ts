import assert from "node:assert/strict";
import { parseConfig } from "../config/load.ts";
import { machineDomain, rootMailWarnings } from "./machine_names.ts";

const config = (text = "") =>
  parseConfig(`hostname = "mx.example.com"
[serve-in]
domains = ["example.com", "b.test"]
[mailboxes]
users = ["alice"]
[mailboxes.aliases]
postmaster = "alice"
${text}`);

Deno.test("machineDomain() knows the machine's names, and leaves all others alone", () => {
  const local = machineDomain(config(), "web1.example.net");
  const names = [
    ...["localhost", "LOCALHOST", "localhost.localdomain", "mx.example.com", "web1", "web1.localdomain"],
    ...["web1.example.net", "[127.0.0.1]", "[IPv6:::1]", "127.0.0.1", "127.0.1.1", "[127.1.2.3]"],
    ...["[IPv6:0:0:0:0:0:0:0:1]", "[ipv6:::ffff:127.0.0.1]", "[IPv6:::ffff:7f00:1]", "[::1]", "::1"],
  ];
  for (const name of names) assert.equal(local(name), "example.com", name);
  for (
    const name of [
      "example.com",
      "b.test",
      "example.net",
      "web2",
      "a.localhost",
      "",
      "[192.0.2.1]",
      "192.0.2.1",
      "127.example",
    ]
  ) {
    assert.equal(local(name), undefined, name);
  }
});

Deno.test("machineDomain() goes by the qualify domain and by routes, and knows nothing without mailboxes", () => {
  const qualified = machineDomain(config(`[serve-out]\nqualify_domain = "b.test"\n`), "web1");
  assert.equal(qualified("localhost"), "b.test");
  const elsewhere = machineDomain(config(`[serve-out]\nqualify_domain = "corp.test"\n`), "web1");
  assert.equal(elsewhere("localhost"), "example.com");
  const routed = machineDomain(config(`[serve-out.routes]\n"mx.example.com" = "192.0.2.9"\n`), "web1");
  assert.equal(routed("mx.example.com"), undefined);
});

Deno.test("machineDomain() leads names of a machine without mailboxes to its qualify domain", () => {
  for (
    const [text, home] of [["", "web1.example.com"], [
      '[serve-out]\nqualify_domain = "example.com"',
      "example.com",
    ]]
  ) {
    const local = machineDomain(parseConfig(`hostname = "web1.example.com"\n${text}`), "web1.example.com");
    for (
      const name of [
        "localhost",
        "localhost.localdomain",
        "[127.0.0.1]",
        "[IPv6:::1]",
        "web1",
        "web1.localdomain",
      ]
    ) {
      assert.equal(local(name), home, name);
    }
    // It may have an MX record.
    for (const name of ["web1.example.com", "example.com", "example.net", ""]) {
      assert.equal(local(name), undefined, name);
    }
  }
  const routed = machineDomain(
    parseConfig(`hostname = "web1.example.com"\n[serve-out.routes]\nlocalhost = "192.0.2.9"\n`),
    "web1",
  );
  assert.equal(routed("localhost"), undefined);
  assert.equal(routed("web1"), "web1.example.com");
  const bare = machineDomain(
    parseConfig(`hostname = "web1.test"\n[serve-out]\nqualify_domain = "localhost"\n`),
    "web1",
  );
  assert.equal(bare("localhost"), undefined);
});

Deno.test("rootMailWarnings() says when mail from cron has no mailbox", () => {
  assert.match(rootMailWarnings(config()).join(), /root = "alice"/);
  assert.deepEqual(rootMailWarnings(config(`root = "alice"\n`)), []);
  const alone = (text: string) =>
    rootMailWarnings(parseConfig(`hostname = "web1.example.com"\n${text}`)).join();
  assert.match(alone(""), /root@web1\.example\.com.*\[serve-out\] qualify_domain$/);
  assert.equal(alone('[serve-out]\nqualify_domain = "example.com"'), "");
  assert.equal(alone('[serve-out.routes]\n"*" = "smtp.provider.test"'), "");
});
