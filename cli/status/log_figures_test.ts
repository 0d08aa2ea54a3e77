import assert from "node:assert/strict";
import { fileSource } from "../../observe/log_files.ts";
import { type LogFigures, readFigures } from "./log_figures.ts";

const NOW = Date.parse("2026-11-30T12:30:00Z");
const OWN = ["127.0.0.1", "::1", "192.0.2.25"];

const line = (event: string, fields: Record<string, unknown>) =>
  JSON.stringify({ time: "2026-11-30T12:10:00.000Z", level: "info", event, ...fields }) + "\n";

/** The figures of a log of these lines. */
async function figuresOf(...lines: readonly string[]): Promise<LogFigures> {
  const directory = await Deno.makeTempDir({ prefix: "mailapp-figures-" });
  try {
    const path = `${directory}/mailapp.log`;
    await Deno.writeTextFile(path, lines.join(""));
    return await readFigures([fileSource(path)], {
      now: NOW,
      isOwnAddress: (address) => OWN.includes(address),
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const sum = ({ hours }: LogFigures, key: "refused" | "submitted") =>
  hours.reduce((total, { figures }) => total + figures[key], 0);

Deno.test("readFigures() counts a message once that serve-submit hands to serve-out", async () => {
  const figures = await figuresOf(
    line("message.accepted", { server: "serve-submit", id: "s1.1", queue_id: "mi1x0b2k00000a3f7c2q" }),
    line("message.accepted", { server: "serve-out", id: "mi1x0b2k00000a3f7c2q" }),
  );
  assert.equal(sum(figures, "submitted"), 1);
});

Deno.test("readFigures() counts a refused recipient once, though DATA after it is refused, too", async () => {
  const refused = { server: "serve-in", peer: "198.51.100.7" };
  const figures = await figuresOf(
    line("command.refused", {
      ...refused,
      command: "RCPT TO:<who@a.test>",
      reply: "550 5.1.1 No such mailbox here",
    }),
    line("command.refused", {
      ...refused,
      command: "DATA",
      reply: "503 5.5.1 No valid recipient; say RCPT TO:<address> first",
    }),
    line("command.refused", { ...refused, command: "DATA", reply: "452 4.3.1 Insufficient system storage" }),
  );
  assert.equal(sum(figures, "refused"), 2);
  assert.deepEqual(figures.refusals.map(({ words }) => words.slice(0, 9)), ["452 4.3.1", "550 5.1.1"]);
});

Deno.test("readFigures() leaves out what was refused to a probe, wherever its line comes from", async () => {
  const refused = { command: "RCPT TO:<x@y.test>", reply: "550 5.7.1 Relaying denied", probe: "doctor" };
  const figures = await figuresOf(
    // On standard error the server is not in the line.
    line("command.refused", { ...refused, peer: "127.0.0.1" }),
    line("command.refused", { ...refused, peer: "198.51.100.7", server: "serve-in" }),
    line("command.refused", { ...refused, peer: "127.0.0.1", server: "serve-submit" }),
  );
  assert.equal(sum(figures, "refused"), 0);
});

Deno.test("readFigures() leaves out what serve-in refuses to this machine: tests, and mail that serve-out counts", async () => {
  const refused = (fields: Record<string, unknown>) =>
    line("command.refused", { command: "RCPT TO:<x@y.test>", reply: "550 5.7.1 Relaying denied", ...fields });
  for (
    const [fields, count] of [
      [{ server: "serve-in", peer: "192.0.2.25" }, 0],
      [{ server: "serve-in", peer: "127.0.0.1" }, 0],
      [{ server: "serve-submit", peer: "::1" }, 0],
      [{ peer: "192.0.2.25" }, 0],
      [{ server: "serve-in", peer: "198.51.100.7" }, 1],
      // The clients of serve-out are programs of this machine; without a name it may be serve-out.
      [{ server: "serve-out", peer: "127.0.0.1" }, 1],
      [{ peer: "127.0.0.1" }, 1],
    ] as const
  ) {
    assert.equal(sum(await figuresOf(refused(fields)), "refused"), count, JSON.stringify(fields));
  }
});

Deno.test("readFigures() counts logins, pauses and limits by the hour", async () => {
  const at = (time: string, events: readonly string[]) =>
    events.map((event) => line(event, { time: `2026-11-30T${time}:00.000Z`, login: "alice@example.com" }));
  const { hours, refusals, deferrals } = await figuresOf(
    ...at("11:10", ["login.accepted", "login.accepted", "login.refused"]),
    ...at("12:10", ["login.accepted", "login.put_off", "login.unavailable", "login.paused", "login.limited"]),
  );
  const logins = hours.slice(-2).map(({ figures }) => [
    figures.loginsAccepted,
    figures.loginsRefused,
    figures.loginsPutOff,
    figures.loginPauses,
    figures.loginsLimited,
  ]);
  assert.deepEqual(logins, [[2, 1, 0, 0, 0], [1, 0, 2, 1, 1]]);
  assert.deepEqual([refusals, deferrals], [[], []]);
});

Deno.test("readFigures() counts what became of attempts under each TLS policy", async () => {
  const attempt = (result: string, policy?: unknown) =>
    line(`attempt.${result}`, { recipient: "x@y.test", ...(policy !== undefined && { policy }) });
  const { policies } = await figuresOf(
    attempt("relayed", "mta-sts"),
    attempt("deferred", "mta-sts"),
    attempt("relayed", "dane"),
    attempt("relayed", "dane"),
    attempt("failed", "configuration"),
    attempt("relayed"),
    // What serve-out does not write.
    attempt("relayed", "other"),
    attempt("relayed", { policy: "dane" }),
  );
  assert.deepEqual(policies, [
    { policy: "configuration", relayed: 0, deferred: 0, failed: 1 },
    { policy: "dane", relayed: 2, deferred: 0, failed: 0 },
    { policy: "mta-sts", relayed: 1, deferred: 1, failed: 0 },
  ]);
});
