// The twelve questions of docs/guide/operating.md, asked with its commands of a machine with 50,000 messages of history
// and 5,000 that wait.
import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { loadConfig } from "../config/load.ts";
import { formatJson } from "../observe/log_format.ts";
import { openSpool } from "../server/spool_parts.ts";
import { FakeDns } from "./support/fake_dns.ts";
import { runMailapp, RunningMailapp, Workspace } from "./support/mailapp.ts";
import { newEntry } from "./support/queue_entry.ts";
import { freePort } from "./support/peers/ports.ts";
import { run } from "./support/peers/process.ts";
import { until } from "./support/until.ts";

const HISTORY = 50_000;
const WAITING = 5_000;
const HOUR = 3_600_000;
const MESSAGE = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");

/** A question of the page: the commands that answer it, and the page of the dashboard that does. */
interface Question {
  readonly commands: readonly string[];
  readonly path: string;
}

/** The questions by their headings, without the number. */
async function questions(): Promise<Map<string, Question>> {
  const text = await Deno.readTextFile(new URL("../docs/guide/operating.md", import.meta.url));
  return new Map(
    text.split(/^## \d+\. /m).slice(1).map((section) => {
      const heading = section.slice(0, section.indexOf("\n"));
      const block = /^```console\n([^]*?)^```$/m.exec(section)?.[1] ?? "";
      const path = /^In the dashboard: `([^`]+)`$/m.exec(section)?.[1] ?? "";
      return [heading, { commands: block.trim().split("\n"), path }] as const;
    }),
  );
}

/** Messages that wait: 3,000 of them for late.example, 1,500 for slow.example, the rest each for its own domain. */
async function fillQueue(config: string): Promise<{ first: string; oldest: string }> {
  await using spool = await openSpool(await loadConfig(config, { env: Deno.env }), { logger: silentLogger });
  const now = Date.now();
  const ids: string[] = [];
  for (let at = 0; at < WAITING; at += 100) {
    await Promise.all(Array.from({ length: 100 }, async (_, offset) => {
      const index = at + offset;
      const id = spool.newId();
      ids[index] = id;
      const domain = index < 3000 ? "late.example" : index < 4500 ? "slow.example" : `d${index}.example`;
      const reply = index % 10 === 0
        ? "451 4.3.0 queue full"
        : `450 4.7.1 <u${index}@${domain}>: greylisted, ticket 7f3a9c${index}b2, come back in ${
          10_000 + index
        } ms`;
      await spool.add(
        newEntry([{
          address: `u${index}@${domain}`,
          attemptCount: 1 + (index % 9),
          nextAttemptAt: now + HOUR + ((index * 7919) % WAITING) * 1000,
          attempts: [{
            at: now - 60_000,
            host: `mx.${domain}`,
            address: "192.0.2.1",
            reply,
            status: "4.7.1",
          }],
        }], {
          id,
          reversePath: index % 2 === 0 ? "newsletter@example.com" : `p${index % 50}@example.com`,
          acceptedAt: now - HOUR - (WAITING - index) * 1000,
          size: MESSAGE.length,
        }),
        MESSAGE,
      );
    }));
  }
  return { first: ids[0] ?? "", oldest: ids[0] ?? "" };
}

/** The log of two days; gives where the message that is asked for was stored. */
async function writeLog(
  path: string,
  { queued, maildir }: { readonly queued: string; readonly maildir: string },
): Promise<{ readonly stored: string }> {
  const now = Date.now();
  using file = await Deno.open(path, { create: true, append: true });
  const write = async (lines: readonly string[]) => {
    const octets = new TextEncoder().encode(`${lines.join("\n")}\n`);
    for (let at = 0; at < octets.length;) at += await file.write(octets.subarray(at));
  };
  const line = (
    time: number,
    event: string,
    fields: Readonly<Record<string, string | number | boolean | string[]>>,
  ) => formatJson({ time, level: "info", event, fields: { server: "serve-in", ...fields } });
  const stored = `${maildir}/.Junk/cur/${Math.floor(now / 1000) - 90_000}.M1P2Q3Rdeadbeef.mx,S=2,W=2:2,S`;
  const asked = HISTORY / 3;
  let lines: string[] = [];
  for (let index = 0; index < HISTORY; index++) {
    const time = now - 40 * HOUR + index * (39 * HOUR / HISTORY);
    const isAsked = index === Math.floor(asked);
    const session = `ab12cd${index.toString(36)}`;
    const id = `${Math.floor(time / 1000).toString(36)}Q${index.toString(36)}R0123abcd`;
    const from = isAsked
      ? "ann@there.example"
      : index % 4 === 0
      ? "busy@there.example"
      : `s${index % 900}@there.example`;
    const file = isAsked ? stored.replace("/cur/", "/new/").replace(":2,S", "") : `/x/new/${index}.M1P2.mx`;
    lines.push(
      line(time, "message.delivered", { session, id, mailbox: "alice@example.com", file, bytes: 2000 }),
      line(time, "message.accepted", {
        session,
        peer: "198.51.100.7",
        id,
        from,
        to: ["alice@example.com"],
        octets: 2000,
        spf: isAsked ? "fail" : "pass",
        dmarc: isAsked ? "fail" : "pass",
        ...(isAsked && { junk: true, why: "DMARC policy of there.example: neither SPF nor DKIM is aligned" }),
      }),
      line(time, "session.closed", {
        session,
        peer: "198.51.100.7",
        reason: "quit",
        messages: 1,
        seconds: 0.2,
      }),
    );
    if (index % 50 === 0) {
      lines.push(line(time, "command.refused", {
        session,
        command: `RCPT TO:<x${index}@example.com>`,
        reply: `550 5.1.1 <x${index}@example.com>: no such mailbox here`,
      }));
    }
    if (lines.length > 5000) {
      await write(lines);
      lines = [];
    }
  }
  const fields = { server: "serve-out", id: queued };
  lines.push(
    line(now - HOUR, "message.accepted", {
      ...fields,
      session: "ef34ab0",
      from: "newsletter@example.com",
      to: ["u0@late.example"],
      octets: 17,
    }),
    line(now - 60_000, "attempt.deferred", {
      ...fields,
      recipient: "u0@late.example",
      host: "mx.late.example",
      address: "192.0.2.1",
      status: "4.3.0",
      reply: "451 4.3.0 queue full",
      attempts: 1,
      again_ms: HOUR,
    }),
  );
  await write(lines);
  await Deno.mkdir(`${maildir}/.Junk/cur`, { recursive: true });
  await Deno.writeTextFile(stored, "x\n");
  return { stored };
}

/** Reads pages of the dashboard as text, once it has read the log and the queue. */
async function lookAt(tokenFile: string, port: number): Promise<(path: string) => Promise<string>> {
  let token = "";
  const look = async (path: string) => {
    token ||= (await Deno.readTextFile(tokenFile)).trim();
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
    const html = await response.text();
    assert.equal(response.status, 200, html);
    return html.replaceAll(/<[^>]*>/g, " ").replaceAll("&lt;", "<").replaceAll("&gt;", ">")
      .replaceAll(/\s+/g, " ");
  };
  const isReady = async () => {
    const text = await look("/").catch(() => "still being read");
    return !text.includes("being read") && text.includes("serve-out up");
  };
  await until(isReady, "the dashboard", () => new Promise((resolve) => setTimeout(resolve, 50)));
  return look;
}

Deno.test("the twelve questions of docs/guide/operating.md are answered by its commands", async (t) => {
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start({ "example.com MX": { answers: [] } });
  const logFile = workspace.file("mailapp.log");
  const dashboardPort = freePort();
  const config = await workspace.configure({
    log: { file: logFile },
    dns: { servers: [dns.server] },
    tls: { self_signed: true },
    "serve-in": { port: freePort() },
    "serve-out": { listen: ["127.0.0.1"], port: freePort(), min_free_space: 0, expire_after: "5d" },
    dashboard: { listen: `127.0.0.1:${dashboardPort}` },
  });
  const { first, oldest } = await fillQueue(config);
  const maildir = workspace.file("mail", "example.com", "alice");
  const { stored } = await writeLog(logFile, { queued: first, maildir });
  await using serveIn = new RunningMailapp(["serve-in", "--config", config]);
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  for (const server of ["serve-in", "serve-out"]) {
    const answer = await runMailapp(["healthcheck", server, "--wait", "120", "--config", config]);
    assert.equal(answer.code, 0, answer.stderr);
  }

  const ask = async (commands: readonly string[]): Promise<string> => {
    let said = "";
    for (const command of commands) {
      const own = command.replaceAll("QUEUEID", first).replaceAll("/var/log/mailapp/mailapp.log", logFile);
      if (own.startsWith("mailapp ")) {
        const words = (own.match(/'[^']*'|\S+/g) ?? []).slice(1).map((word) =>
          word.replace(/^'(.*)'$/, "$1")
        );
        const { code, stdout, stderr } = await runMailapp([...words, "--config", config]);
        assert.equal(code, 0, `${own}: ${stderr}${stdout}`);
        said += stdout;
      } else said += (await run("sh", { args: ["-c", own] })).stdout;
    }
    return said;
  };
  const answers: Readonly<Record<string, readonly RegExp[]>> = {
    "Is it healthy?": [/^serve-in +up, since /m, /^serve-out +up, since /m, /^no problems$/m],
    "How much mail came in and went out, today and yesterday?": [/^today +\d+ /m, /^yesterday +[1-9]\d+ /m],
    "What do we refuse, and why?": [/since yesterday:\n +\d{3,} {2}550 5\.1\.1 <…>: no such mailbox here$/m],
    "When does the certificate end?": [/^certificate: good until \d{4}-\d\d-\d\d /m],
    "What waits in the queue, and for whom?": [
      /^3000 {2}late\.example, oldest \d+ (?:s|min|h): 450 4\.7\.1 <…>: greylisted/m,
      /^1500 {2}slow\.example/m,
    ],
    "Why is mail to late.example late?": [
      /^2700 {2}450 4\.7\.1 <…>: greylisted, ticket …, come back in … ms, oldest \d+ (?:s|min|h)$/m,
      /^ 300 {2}451 4\.3\.0 queue full, oldest \d+ (?:s|min|h)$/m,
    ],
    "When is it tried next?": [/^ {2}u\d+@late\.example: next try in \d+ (?:min|h), \d+ (?:try|tries)$/m],
    "Which message has waited longest?": [new RegExp(`^${oldest}  \\d+ (?:s|min|h)  `, "m")],
    "Who fills the queue?": [/^2500 {2}newsletter@example\.com, oldest /m],
    "Who has sent the most?": [
      /^sent the most from here, since yesterday:\n +1 {2}newsletter@example\.com$/m,
      /^sent the most to us, since yesterday:\n +\d{4,5} {2}busy@there\.example$/m,
    ],
    "Did the message that ann@there.example sent yesterday arrive, in which folder, and why there?": [
      /stored for alice@example\.com: /,
      /checks: spf: fail, dmarc: fail; filed as junk; DMARC policy of there\.example/,
      new RegExp(`^now in the folder Junk, seen by a mail reader:\n  ${stored}$`, "m"),
    ],
    "A user shows a bounce: what happened to the message?": [
      /u0@late\.example: deferred by mx\.late\.example \[192\.0\.2\.1\]: 451 4\.3\.0 queue full$/m,
      new RegExp(`^in the queue now:\n${first} `, "m"),
    ],
  };
  const pages: Readonly<Record<string, readonly RegExp[]>> = {
    "Is it healthy?": [/No problems\./, /serve-in\s+up /, /serve-out\s+up /],
    "How much mail came in and went out, today and yesterday?": [
      /today\s+\d/,
      /yesterday\s+[1-9]\d? ?\d{3} /,
    ],
    "What do we refuse, and why?": [/550 5\.1\.1 <…>: no such mailbox here\s+(?:1 )?\d{3} /],
    "When does the certificate end?": [/serve-in\s+up .*? until \d{4}-\d\d-\d\d /],
    "What waits in the queue, and for whom?": [
      /late\.example\s+3 ?000\s+\d+ (?:s|min|h)\s+450 4\.7\.1 <…>: greylisted/,
      /slow\.example\s+1 ?500 /,
    ],
    "Why is mail to late.example late?": [
      /450 4\.7\.1 <…>: greylisted, ticket …, come back in … ms\s+2 ?700 /,
      /451 4\.3\.0 queue full\s+300 /,
    ],
    "When is it tried next?": [/u\d+@late\.example\s+17 B\s+\d+\s+in \d+ (?:min|h) /],
    "Which message has waited longest?": [new RegExp(`Messages 1 to 50 .*? why\\s+${oldest} `)],
    "Who fills the queue?": [/newsletter@example\.com\s+2 ?500 /],
    "Who has sent the most?": [
      /Top senders of incoming mail.*?sender\s+messages\s+busy@there\.example\s+\d+ ?\d{3} /,
    ],
    "Did the message that ann@there.example sent yesterday arrive, in which folder, and why there?": [
      /stored for alice@example\.com: \S+\/\.Junk\/new\//,
      /checks: spf: fail, dmarc: fail; filed as junk; DMARC policy of there\.example/,
    ],
    "A user shows a bounce: what happened to the message?": [
      /u0@late\.example: deferred by mx\.late\.example \[192\.0\.2\.1\]: 451 4\.3\.0 queue full/,
      new RegExp(`In the queue now\\s+${first} `),
    ],
  };
  await using _dashboard = new RunningMailapp(["dashboard", "--config", config]);
  const look = await lookAt(workspace.file("state", "dashboard", "token"), dashboardPort);
  const page = await questions();
  assert.deepEqual([...page.keys()], Object.keys(answers));
  assert.equal(page.size, 12);
  for (const [heading, { commands, path }] of page) {
    await t.step(heading, async () => {
      const said = await ask(commands);
      for (const pattern of answers[heading] ?? []) assert.match(said, pattern);
    });
    await t.step(`${heading} (in the dashboard)`, async () => {
      const shown = await look(path.replaceAll("QUEUEID", first));
      assert((pages[heading] ?? []).length > 0);
      for (const pattern of pages[heading] ?? []) assert.match(shown, pattern);
    });
  }
  assert.equal(await serveIn.stop(), 0);
  assert.equal(await serveOut.stop(), 0);
});
