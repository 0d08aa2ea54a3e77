import assert from "node:assert/strict";
import { CommandError } from "../../server/exit_codes.ts";
import { parseSendmailOptions, type SendmailOptions } from "./options.ts";

const PLAIN: SendmailOptions = { mode: "send", fromHeader: false, ignoreDots: false, recipients: [] };

Deno.test("parseSendmailOptions() reads what programs have written for decades", () => {
  const cases: [string, Partial<SendmailOptions>][] = [
    ["", {}],
    ["-t", { fromHeader: true }],
    ["-t -i", { fromHeader: true, ignoreDots: true }],
    ["-ti", { fromHeader: true, ignoreDots: true }],
    ["-oi -oem -odb bob", { ignoreDots: true, recipients: ["bob"] }],
    ["-fa@x.test b@x.test", { sender: "a@x.test", recipients: ["b@x.test"] }],
    ["-f a@x.test -i -- -b@x.test", { sender: "a@x.test", ignoreDots: true, recipients: ["-b@x.test"] }],
    ["-ra@x.test", { sender: "a@x.test" }],
    ["-i -f <> bob", { sender: "<>", ignoreDots: true, recipients: ["bob"] }],
    ["-FAlice bob", { fullName: "Alice", recipients: ["bob"] }],
    ["-bm -v -n bob", { recipients: ["bob"] }],
    ["-B8BITMIME -O DeliveryMode=b -L tag bob", { recipients: ["bob"] }],
    ["-bs", { mode: "smtp" }],
    ["-bp", { mode: "queue" }],
    ["-bi", { mode: "aliases" }],
    ["-q", { mode: "retry" }],
    ["-qf", { mode: "retry" }],
    ["-qImi1x0b2k", { mode: "retry", retry: { ids: ["mi1x0b2k"] } }],
    ["-qRExample.NET", { mode: "retry", retry: { domain: "example.net" } }],
    ["-qSa@x.test", { mode: "retry", retry: { sender: "a@x.test" } }],
    ["-q30m", { mode: "nothing" }],
    ["-N success,DELAY -R hdrs -V id1 bob", {
      notify: ["SUCCESS", "DELAY"],
      dsn: { ret: "HDRS", envelopeId: "id1" },
      recipients: ["bob"],
    }],
    ["-Nnever", { notify: ["NEVER"] }],
    ["-C /etc/x.toml", { config: "/etc/x.toml" }],
    ["--config /etc/x.toml bob", { config: "/etc/x.toml", recipients: ["bob"] }],
    ["--config=/etc/x.toml", { config: "/etc/x.toml" }],
  ];
  for (const [line, expected] of cases) {
    const options = parseSendmailOptions(line.split(" ").filter((word) => word !== ""));
    assert.deepEqual(options, { ...PLAIN, ...expected }, line);
  }
});

Deno.test("parseSendmailOptions() takes the empty sender as the null sender", () => {
  assert.equal(parseSendmailOptions(["-f", "", "bob"]).sender, "");
});

Deno.test("parseSendmailOptions() refuses what it does not know", () => {
  for (
    const args of [["-k"], ["-f"], ["-bd"], ["-bv"], ["-N", "often"], ["-N", "never,delay"], ["-R", "half"], [
      "--tls",
    ]]
  ) {
    assert.throws(
      () => parseSendmailOptions(args),
      (error) => error instanceof CommandError && error.exitCode === 64,
      args.join(" "),
    );
  }
});

Deno.test("parseSendmailOptions() says what to do instead of what is done otherwise here", () => {
  const cases: [arg: string, advice: RegExp][] = [
    ["-bd", /systemctl start mailapp-in/],
    ["-bv", /mailapp explain/],
    ["-bh", /mailapp queue list/],
    ["-qX", /mailapp queue --help/],
  ];
  for (const [arg, advice] of cases) assert.throws(() => parseSendmailOptions([arg]), advice, arg);
});
