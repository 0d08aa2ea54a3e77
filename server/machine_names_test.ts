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
    ...["web1.example.net", "[127.0.0.1]", "[IPv6:::1]"],
  ];
  for (const name of names) assert.equal(local(name), "example.com", name);
  for (const name of ["example.com", "b.test", "example.net", "web2", "a.localhost", "", "[192.0.2.1]"]) {
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
  assert.equal(machineDomain(parseConfig(`hostname = "mx.example.com"`), "web1")("localhost"), undefined);
});

Deno.test("rootMailWarnings() says when nobody reads what cron sends", () => {
  assert.match(rootMailWarnings(config()).join(), /root = "alice"/);
  assert.deepEqual(rootMailWarnings(config(`root = "alice"\n`)), []);
  assert.deepEqual(rootMailWarnings(parseConfig(`hostname = "mx.example.com"`)), []);
});
