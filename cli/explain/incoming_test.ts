import assert from "node:assert/strict";
import { describeIncoming } from "./incoming.ts";

Deno.test("describeIncoming() shows the client's address once where it has no name", () => {
  const first = (helo: string, ip: string) =>
    describeIncoming({
      address: "alice@here.test",
      from: "",
      ip,
      helo,
      recipient: "accepted",
      iprev: { result: "fail" },
      listings: [],
      ignoredLists: [],
      outcome: "inbox",
      folders: [],
    }).split("\n")[0];
  assert.equal(first("[192.0.2.1]", "192.0.2.1"), "to alice@here.test, from <>, by [192.0.2.1]");
  assert.equal(first("[IPv6:2001:db8::1]", "2001:db8::1"), "to alice@here.test, from <>, by [2001:db8::1]");
  assert.equal(first("mx.out.test", "192.0.2.1"), "to alice@here.test, from <>, by mx.out.test [192.0.2.1]");
});
