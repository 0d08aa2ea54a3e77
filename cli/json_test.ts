// `--json` of all commands: one style, and the shapes of docs/json.md.
import assert from "node:assert/strict";
import type { Command } from "commander";
import type { QueueEntry } from "../relay/queue_entry.ts";
import { openSpool } from "../server/spool_parts.ts";
import { loadConfig } from "../config/load.ts";
import { silentLogger } from "../base/log.ts";
import { FakeDns } from "../tests/support/fake_dns.ts";
import { runMailapp, Workspace } from "../tests/support/mailapp.ts";
import { dmarcRecord, dmarcReport } from "../tests/support/dmarc_report.ts";
import { newEntry } from "../tests/support/queue_entry.ts";
import { documentedJson, namesIn } from "../tests/support/json_docs.ts";
import { OutputClosedError } from "../server/io.ts";
import { describeProgram } from "./command_line/command_line.ts";
import { JsonArray } from "./command_line/json.ts";

/** All commands that take `--json`, such as `queue list`. */
async function commandsWithJson(): Promise<string[]> {
  const program = await describeProgram();
  const found: string[] = [];
  const walk = (command: Command, path: string) => {
    if (command.options.some(({ long }) => long === "--json")) found.push(path);
    for (const sub of command.commands) walk(sub as Command, `${path} ${sub.name()}`.trim());
  };
  walk(program, "");
  return found;
}

const MESSAGE = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");

async function queueUp(config: string, entries: readonly Parameters<typeof newEntry>[]): Promise<string[]> {
  await using spool = await openSpool(await loadConfig(config, { env: Deno.env }), { logger: silentLogger });
  const ids: string[] = [];
  for (const [recipients, options] of entries) {
    const id = spool.newId();
    const acceptedAt = Date.now() - 65_000;
    await spool.add(newEntry(recipients, { ...options, id, acceptedAt, size: MESSAGE.length }), MESSAGE);
    ids.push(id);
  }
  return ids;
}

/** Entries in which there is everything that there can be. */
function everything(): Parameters<typeof newEntry>[] {
  const attempt = {
    at: Date.now() - 60_000,
    host: "mx.a.test",
    address: "192.0.2.1",
    tls: "none" as const,
    policy: "mta-sts" as const,
    status: "4.4.2",
  };
  const full: Partial<QueueEntry> & { id: string } = {
    id: "",
    dsn: { ret: "FULL", envelopeId: "e1" },
    reversePath: "a@b.test",
  };
  return [
    [[
      {
        address: "u@a.test",
        notify: ["FAILURE"],
        originalRecipient: { type: "rfc822", address: "v@a.test" },
        attemptCount: 2,
        nextAttemptAt: Date.now() + 3_600_000,
        attempts: [{ ...attempt, reply: "450 4.2.0 later" }, {
          ...attempt,
          error: "no answer",
          dotSentNoReply: true,
        }],
      },
      { address: "w@a.test", notice: "0notice001" },
    ], full],
    [[{ address: "x@a.test", status: "held" }], { id: "", reversePath: "" }],
  ];
}

Deno.test("mailapp with --json prints what docs/json.md says, in one style, for every command", async (t) => {
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start();
  const common = {
    dns: { servers: [dns.server] },
    "serve-in": { domains: ["here.test"], port: 2, listen: ["127.0.0.1"], min_free_space: 0 },
    mailboxes: { path: workspace.file("mail", "{domain}", "{user}"), users: ["alice"] },
    "mailboxes.aliases": { postmaster: "alice" },
    "serve-out": { min_free_space: 0, allow_private_targets: true },
    'serve-out.routes."*"': { host: "127.0.0.1", port: 1 },
  };
  const plain = await workspace.configure(common);
  const made = await runMailapp(["dkim", "new", "here.test", "--config", plain]);
  assert.equal(made.code, 0, made.stderr);
  const [key] = [...Deno.readDirSync(workspace.file("state", "dkim"))].filter(({ name }) =>
    name.endsWith(".pem")
  );
  const config = await workspace.configure({
    ...common,
    'dkim."here.test"': { selector: "s1", key: workspace.file("state", "dkim", key?.name ?? "") },
  });
  const message = workspace.file("message.eml");
  const signature = `DKIM-Signature: v=1; a=rsa-sha256; d=b.test; s=s1; h=from; bh=${
    "A".repeat(43)
  }=; b=AAAA\n`;
  await Deno.writeTextFile(message, `${signature}From: a@b.test\nSubject: x\n\nx\n`);
  await queueUp(config, everything());

  const docs = await documentedJson();
  const covered = new Set<string>();
  const seen = new Map<string, Set<string>>();
  const check = async (
    section: string,
    { args, code = 0, command, bare = false }: {
      readonly args: readonly string[];
      readonly code?: number;
      readonly command?: string;
      /** Whether the command goes by no configuration. */
      readonly bare?: boolean;
    },
  ) => {
    const name = command ?? args.filter((arg) => /^[a-z-]+$/.test(arg) && !arg.startsWith("-")).join(" ");
    await t.step(`mailapp ${args.join(" ")}`, async () => {
      const finished = await runMailapp([...args, "--json", ...(bare ? [] : ["--config", config])]);
      assert.equal(finished.code, code, finished.stderr);
      assert.match(finished.stdout, /^[[{][^]*[\]}]\n$/);
      const { names, wrong } = namesIn(JSON.parse(finished.stdout));
      assert.deepEqual(wrong, []);
      assert.ok(names.size > 0, "nothing was printed that could be compared");
      const known = docs.get(section) ?? assert.fail(`docs/json.md has no section ${section}`);
      assert.deepEqual([...names].filter((name) => !known.has(name)), [], `${section}: not in docs/json.md`);
      covered.add(name);
      const before = seen.get(section) ?? new Set();
      seen.set(section, new Set([...before, ...names]));
    });
  };

  await check("mailapp queue list, show", { args: ["queue", "list"] });
  for (const group of ["domain", "reason", "sender"]) {
    await check("mailapp queue list --group", {
      args: ["queue", "list", "--group", group],
      command: "queue list",
    });
  }
  const listed = JSON.parse((await runMailapp(["queue", "list", "--json", "--config", config])).stdout);
  const ids: string[] = listed.map(({ id }: { id: string }) => id);
  assert.equal(ids.length, 2);
  await check("mailapp queue list, show", { args: ["queue", "show", ...ids], command: "queue show" });
  const actions = "mailapp queue retry, hold, release, bounce, remove";
  for (const action of ["hold", "retry", "release", "bounce"]) {
    await check(actions, { args: ["queue", action, ...ids], command: `queue ${action}` });
  }
  await queueUp(config, everything());
  await check(actions, { args: ["queue", "remove", "--all", "--yes"], command: "queue remove" });
  const log = workspace.file("traced.log");
  const file = workspace.file("mail", "here.test", "alice", "new", "1795478460.M1P2Q3Rdeadbeef.mx");
  await Deno.mkdir(workspace.file("mail", "here.test", "alice", "new"), { recursive: true });
  await Deno.writeTextFile(file, "x\n");
  const line = (event: string, fields: Readonly<Record<string, unknown>>) =>
    `${
      JSON.stringify({ time: new Date().toISOString(), level: "info", event, session: "abcd12", ...fields })
    }\n`;
  const envelope = { id: "tozc1oQ1R0123abcd", from: "a@b.test", to: ["alice@here.test"], octets: 3 };
  await Deno.writeTextFile(
    log,
    line("message.accepted", { ...envelope, message_id: "<m@b.test>" }) +
      line("message.delivered", { id: envelope.id, mailbox: "alice@here.test", file }) +
      line("attempt.deferred", {
        id: envelope.id,
        recipient: "u@a.test",
        host: "mx.a.test",
        reply: "450 no",
        again_ms: 5,
      }),
  );
  await check("mailapp status", { args: ["status", "--log", log], command: "status", code: 69 });
  await check("mailapp trace", { args: ["trace", "alice@here.test", "--log", log], command: "trace" });
  await check("mailapp explain", { args: ["explain", "u@a.test"], command: "explain" });
  await check("mailapp explain", { args: ["explain", "alice@here.test"], command: "explain" });
  await check("mailapp explain", { args: ["explain", "nobody@here.test"], command: "explain" });
  await check("mailapp explain --from --ip", {
    args: ["explain", "alice@here.test", "--from", "a@b.test", "--ip", "192.0.2.1"],
    command: "explain",
  });
  await check("mailapp check-message", {
    args: ["check-message", message, "--ip", "192.0.2.1", "--from", "a@b.test"],
    command: "check-message",
  });
  await workspace.configure({ ...common, "tls.acme": { directory: "https://127.0.0.1:1/directory" } });
  await check("mailapp certificate show", { args: ["certificate", "show"], code: 65 });
  await workspace.configure({
    ...common,
    'dkim."here.test"': { selector: "s1", key: workspace.file("state", "dkim", key?.name ?? "") },
  });
  const report = workspace.file("report.json");
  const detail = { "result-type": "validation-failure", "failed-session-count": 1 };
  await Deno.writeTextFile(
    report,
    JSON.stringify({
      "date-range": { "start-datetime": "2026-11-29T00:00:00Z", "end-datetime": "2026-11-29T23:59:59Z" },
      policies: [{ "failure-details": [detail] }],
    }),
  );
  await check("mailapp tls-report", { args: ["tls-report", report], command: "tls-report", bare: true });
  const reportAboutDmarc = workspace.file("report.xml");
  await Deno.writeTextFile(reportAboutDmarc, dmarcReport([dmarcRecord()]));
  await check("mailapp dmarc-report", {
    args: ["dmarc-report", reportAboutDmarc],
    command: "dmarc-report",
    bare: true,
  });
  await check("mailapp doctor", { args: ["doctor", "--probe", "probe.test"], command: "doctor", code: 69 });
  await check("mailapp selftest", {
    args: ["selftest", "--only", "setting"],
    command: "selftest",
    code: 69,
  });
  const decided = workspace.file("decided.log");
  const head = { time: "2026-11-30T08:00:00.000Z", level: "info" };
  await Deno.writeTextFile(
    decided,
    [
      {
        event: "message.accepted",
        server: "serve-out",
        id: "q1",
        from: "a@b.test",
        to: ["b@c.test"],
        octets: 9,
      },
      {
        event: "attempt.deferred",
        id: "q1",
        recipient: "b@c.test",
        host: "mx.c.test",
        dot_sent_no_reply: true,
      },
      { event: "attempt.relayed", id: "q1", recipient: "b@c.test", host: "mx.c.test" },
      { event: "attempt.failed", id: "q1", recipient: "d@c.test", reply: "550 5.1.1 no" },
      {
        event: "message.accepted",
        server: "serve-in",
        id: "m1",
        from: "a@b.test",
        to: ["x@here.test"],
        octets: 9,
      },
    ].map((fields) => `${JSON.stringify({ ...head, ...fields })}\n`).join(""),
  );
  await check("mailapp duplicates", { args: ["duplicates", "--log", decided], command: "duplicates" });
  await check("mailapp what-if", {
    args: ["what-if", "--log", decided, "--since", "2026-11-01"],
    command: "what-if",
  });
  await check("mailapp dns", { args: ["dns"] });
  await check("mailapp dkim show", { args: ["dkim", "show"] });
  const accounts = "mailapp account list, show, add, password, app-password, disable, enable, remove";
  const account = (name: string, ...args: string[]) =>
    check(accounts, { args: ["account", name, ...args], command: `account ${name}` });
  await account("add", "alice");
  await account("password", "alice");
  await account("app-password", "alice", "phone");
  for (const name of ["show", "disable", "enable"]) await account(name, "alice");
  await account("list");
  await account("remove", "alice");

  await t.step("no command was left out", async () => {
    // It needs a database: tests/faults/several_hosts_test.ts compares it.
    covered.add("queue hosts");
    assert.deepEqual((await commandsWithJson()).filter((command) => !covered.has(command)), []);
  });
  await t.step("what is always there was seen", () => {
    for (const section of ["mailapp queue list, show", "mailapp dkim show", accounts]) {
      assert.deepEqual(
        [...docs.get(section) ?? []].filter((name) => !seen.get(section)?.has(name)),
        [],
        section,
      );
    }
  });
});

Deno.test("mailapp with --json says errors in JSON, too, with the exit code, wherever they come from", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ "serve-out": { min_free_space: 0 } });
  const nothing = workspace.file("nothing.toml");
  await Deno.writeTextFile(nothing, 'hostname = "mx.here.test"\n');
  const broken = workspace.file("broken.toml");
  await Deno.writeTextFile(broken, "[serve-out]\nport = 99999\n");
  const cases: [args: string[], code: number, message: RegExp][] = [
    [["queue", "retry", "--config", config], 64, /^queue retry: select messages by/],
    [["queue", "list", "--nonsense", "--config", config], 64, /unknown option '--nonsense'/],
    [["explain", "u@@a.test", "--config", config], 65, /^u@@a\.test: /],
    [["check-message", workspace.file("none"), "--config", config], 66, /none: /],
    [["dns", "--config", nothing], 78, /nothing to publish/],
    [["doctor", "--config", broken], 78, /serve-out\.port/],
    [["dkim", "show", "--config", workspace.file("none.toml")], 66, /none\.toml/],
  ];
  for (const [args, code, message] of cases) {
    const finished = await runMailapp([...args, "--json"]);
    assert.equal(finished.code, code, `${args.join(" ")}: ${finished.stderr}`);
    const { error, ...rest } = JSON.parse(finished.stdout);
    assert.deepEqual([rest, error.exit_code, Object.keys(error)], [{}, code, ["message", "exit_code"]]);
    assert.match(error.message, message);
    assert.match(
      finished.stderr,
      message.source.startsWith("^") ? new RegExp(`^mailapp: ${message.source.slice(1)}`) : message,
    );
  }
  // What was asked for is not there: a list without it, and the exit code.
  const missing = await runMailapp(["queue", "show", "0nothere1", "--json", "--config", config]);
  assert.deepEqual([missing.code, missing.stdout], [69, "[]\n"]);
  const shown = await runMailapp(["dkim", "show", "--json", "--config", config]);
  assert.deepEqual([shown.code, shown.stdout], [0, "[]\n"]);
});

Deno.test("JsonArray prints nothing more once its reader is gone, as in mailapp … --json | head", () => {
  let room = 2;
  const printed: string[] = [];
  const out = (text: string) => {
    if (room-- === 0) throw new OutputClosedError({});
    printed.push(text);
  };
  const print = () => {
    using array = new JsonArray({ out });
    for (let i = 0; i < 5; i++) array.add(i);
    array.end();
  };
  assert.throws(print, (error) => error instanceof OutputClosedError);
  assert.deepEqual(printed, ["[\n0", ",\n1"]);
});
