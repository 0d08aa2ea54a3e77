import assert from "node:assert/strict";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import { checkSpf, spfRecords, spfSyntaxError } from "./spf.ts";

const check = (
  record: string | readonly string[],
  address = "192.0.2.1",
  names: Readonly<Record<string, StaticName>> = {},
) =>
  checkSpf({ domain: "d.test", address }, {
    resolver: new StaticResolver(
      {
        "d.test": { ...names["d.test"], txt: typeof record === "string" ? [record] : record },
        ...rest(names),
      },
      { ptr: { "192.0.2.1": ["host.d.test", "host.other.test"] } },
    ),
  });

const rest = ({ "d.test": _, ...names }: Readonly<Record<string, StaticName>>) => names;

Deno.test("checkSpf() takes the first mechanism that matches, with its qualifier", async () => {
  for (
    const [record, address, result] of [
      ["v=spf1 ip4:192.0.2.1 -all", "192.0.2.1", "pass"],
      ["v=spf1 ip4:192.0.2.1 -all", "192.0.2.2", "fail"],
      ["v=spf1 ip4:192.0.2.0/31 ~all", "192.0.2.1", "pass"],
      ["v=spf1 ip4:192.0.2.0/31 ~all", "192.0.2.2", "softfail"],
      ["v=spf1 -ip4:192.0.2.1 +all", "192.0.2.1", "fail"],
      ["v=spf1 ?all", "192.0.2.1", "neutral"],
      ["v=spf1", "192.0.2.1", "neutral"],
      ["v=spf1 ip4:0.0.0.0/0 -all", "203.0.113.9", "pass"],
      ["v=spf1 ip6:2001:db8::/33 -all", "2001:db8:7fff::1", "pass"],
      ["v=spf1 ip6:2001:db8::/33 -all", "2001:db8:8000::1", "fail"],
      ["v=spf1 ip6:2001:db8::1 -all", "192.0.2.1", "fail"],
      ["V=SPF1 IP4:192.0.2.1 -ALL", "192.0.2.1", "pass"],
      ["v=spf1 unknown=1 ip4:192.0.2.1 -all", "192.0.2.1", "pass"],
    ] as const
  ) assert.equal((await check(record, address)).result, result, `${record} ${address}`);
});

Deno.test("checkSpf() looks up a, mx, exists, ptr, include and redirect", async () => {
  const names: Record<string, StaticName> = {
    "d.test": { a: ["192.0.2.1"], mx: [{ preference: 1, exchange: "host.d.test" }] },
    "host.d.test": { a: ["192.0.2.1"], aaaa: ["2001:db8::1"] },
    "1.2.0.192.list.test": { a: ["127.0.0.2"] },
    "in.test": { txt: ["v=spf1 ip4:192.0.2.1 -all"] },
    "out.test": { txt: ["v=spf1 -all"] },
    "text.test": { txt: ["hello"] },
  };
  for (
    const [record, result] of [
      ["v=spf1 a -all", "pass"],
      ["v=spf1 a:host.d.test -all", "pass"],
      ["v=spf1 a:host.d.test/24//64 -all", "pass"],
      ["v=spf1 mx -all", "pass"],
      ["v=spf1 ptr -all", "pass"],
      ["v=spf1 exists:%{ir}.list.test -all", "pass"],
      ["v=spf1 exists:%{d2}.list.test -all", "fail"],
      ["v=spf1 include:in.test -all", "pass"],
      ["v=spf1 include:out.test ~all", "softfail"],
      ["v=spf1 include:text.test -all", "permerror"],
      ["v=spf1 redirect=in.test", "pass"],
      ["v=spf1 redirect=text.test", "permerror"],
      ["v=spf1 include:d.test -all", "permerror"],
    ] as const
  ) assert.equal((await check(record, "192.0.2.1", names)).result, result, record);
  assert.equal((await check("v=spf1 mx -all", "2001:db8::1", names)).result, "pass");
});

Deno.test("checkSpf() keeps the limits of RFC 7208 §4.6.4", async () => {
  const many = Array.from({ length: 11 }, (_, i) => `a:h${i}.test`).join(" ");
  const names = Object.fromEntries(
    Array.from({ length: 11 }, (_, i) => [`h${i}.test`, { a: ["192.0.2.7"] }]),
  );
  assert.match(
    (await check(`v=spf1 ${many} -all`, "192.0.2.1", names)).reason ?? "",
    /more than 10 look-ups/,
  );
  assert.match((await check("v=spf1 a:x.test a:y.test a:z.test -all")).reason ?? "", /more than 2 names/);
});

Deno.test("checkSpf() tells no record, several, and DNS that fails", async () => {
  assert.deepEqual(await check(["hello"]), { result: "none" });
  assert.equal((await check(["v=spf1 -all", "v=spf1 +all"])).result, "permerror");
  assert.equal(
    (await check("v=spf1 a:x.test -all", "192.0.2.1", { "x.test": { fails: ["*"] } })).result,
    "temperror",
  );
});

Deno.test("spfSyntaxError() names what is wrong", () => {
  for (const record of ["v=spf1", "v=spf1 a mx/24 a//64 a:h.test/24 ptr ip6:::1/128 exp=e.test -all"]) {
    assert.equal(spfSyntaxError(record), undefined, record);
  }
  for (
    const term of [
      "ip4:192.0.2.300",
      "ip4:192.0.2.1/33",
      "ip6:192.0.2.1",
      "ip4",
      "a:",
      "ipv4:192.0.2.1",
      "all:x",
      "include:x.test/24",
      "-all;",
      "192.0.2.1",
    ]
  ) assert.match(spfSyntaxError(`v=spf1 ${term} -all`) ?? "", new RegExp(term.replace(/[.]/g, "\\.")), term);
  assert.deepEqual(spfRecords(["v=spf1", "v=spf10 a", "v=spf1 -all", "x"]), ["v=spf1", "v=spf1 -all"]);
});
