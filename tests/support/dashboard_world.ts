/**
 * The dashboard with real servers, a queue and a log.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "@std/path";
import { silentLogger } from "../../base/log.ts";
import { loadConfig } from "../../config/load.ts";
import { failure, ok, warning } from "../../doctor/finding.ts";
import { findingsFile, saveFindings } from "../../doctor/saved_findings.ts";
import { formatJson } from "../../observe/log_format.ts";
import { openSpool } from "../../server/spool_parts.ts";
import { dmarcRecord, dmarcReport, reportMail, zipOf } from "./dmarc_report.ts";
import { runMailapp, RunningMailapp, Workspace } from "./mailapp.ts";
import { freePort } from "./peers/ports.ts";
import { newEntry } from "./queue_entry.ts";
import { until } from "./until.ts";

const HOUR = 3_600_000;
const MESSAGE = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");
/** What nobody may ever see run, turn round or move. */
export const HOSTILE =
  `"><script>document.title="owned"</script><img src=//evil.example/x onerror=alert(1)>\u202egpj\u001b[2J`;

/** The page with its servers; all of it ends with it. */
export class World implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  url = "";
  token = "";
  logFile = "";
  config = "";
  ids: string[] = [];
  serveOut: RunningMailapp | undefined;
  dashboard: RunningMailapp | undefined;
  /** The control socket of serve-out. */
  socket = "";
  /** The ports of serve-out: SMTP, and metrics. */
  ports: readonly number[] = [];

  static async start(waiting: number): Promise<World> {
    const world = new World();
    try {
      const workspace = world.#stack.use(await Workspace.create());
      const port = freePort();
      world.ports = [freePort(), freePort()];
      const [outPort = 0, metricsPort = 0] = world.ports;
      world.url = `http://127.0.0.1:${port}`;
      world.logFile = workspace.file("mailapp.log");
      world.config = await workspace.configure({
        log: { file: world.logFile },
        dns: { servers: ["127.0.0.1:9"] },
        tls: { self_signed: true },
        "serve-in": { port: freePort() },
        "serve-out": { listen: ["127.0.0.1"], port: outPort, min_free_space: 0 },
        metrics: { serve_in: `127.0.0.1:${freePort()}`, serve_out: `127.0.0.1:${metricsPort}` },
        // The Maildir of another mailbox is not to be read.
        mailboxes: { users: ["alice", "reports"] },
        dashboard: { listen: `127.0.0.1:${port}`, reports: "reports@example.com" },
      });
      const inbox = workspace.file("mail", "example.com", "reports", "new");
      await Deno.mkdir(inbox, { recursive: true });
      const records = [
        dmarcRecord(),
        dmarcRecord({ source: "2001:db8::7", count: 40, dkim: "pass" }),
        dmarcRecord({ source: HOSTILE.replaceAll("<", "&lt;").replace("\u001b", ""), count: 0 }),
      ];
      await Deno.writeFile(
        join(inbox, "1796000000.M1P2Q3R0.mx"),
        reportMail(zipOf(new TextEncoder().encode(dmarcReport(records))), "application/zip"),
      );
      world.ids = await fillQueue(world.config, waiting);
      await saveFindings(findingsFile(workspace.file("state")), {
        at: Date.now(),
        findings: [
          ok("dns.ok", "127.0.0.1", "it answers"),
          warning("mx.odd", "example.com", { what: HOSTILE, next: HOSTILE, dialogue: [HOSTILE] }),
          failure("smtp.closed", "192.0.2.1:25", { what: "it is closed", next: "Open it." }),
        ],
      });
      await writeLog(world.logFile, world.ids[0] ?? "");
      const { config } = world;
      const serveOut = world.#stack.use(new RunningMailapp(["serve-out", "--config", config]));
      world.serveOut = serveOut;
      world.#stack.use(new RunningMailapp(["serve-in", "--config", config]));
      for (const server of ["serve-in", "serve-out"]) {
        const answer = await runMailapp(["healthcheck", server, "--wait", "120", "--config", config]);
        assert.equal(answer.code, 0, answer.stderr);
      }
      world.dashboard = world.#stack.use(new RunningMailapp(["dashboard", "--config", config]));
      await until(() => world.logged("dashboard.ready").length > 0, "the dashboard");
      world.socket = workspace.file("state", "control.sock");
      world.token = (await Deno.readTextFile(workspace.file("state", "dashboard", "token"))).trim();
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The events of this name in the log. */
  logged(name: string): Record<string, unknown>[] {
    return Deno.readTextFileSync(this.logFile).split("\n").filter((line) =>
      line.includes(`"event":"${name}"`)
    )
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** A request as a program makes it. */
  async ask(
    path: string,
    init: RequestInit = {},
  ): Promise<{ status: number; text: string; location: string }> {
    const headers = { authorization: `Bearer ${this.token}`, ...init.headers };
    const response = await fetch(this.url + path, { redirect: "manual", ...init, headers });
    return {
      status: response.status,
      text: await response.text(),
      location: response.headers.get("location") ?? "",
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

async function fillQueue(config: string, count: number): Promise<string[]> {
  await using spool = await openSpool(await loadConfig(config, { env: Deno.env }), { logger: silentLogger });
  const now = Date.now();
  const ids = Array.from({ length: count }, () => spool.newId());
  for (let at = 0; at < count; at += 100) {
    await Promise.all(
      ids.slice(at, at + 100).map(async (id, offset) => {
        const index = at + offset;
        const domain = index === 1 ? "odd.example" : index % 2 === 0 ? "late.example" : "slow.example";
        const reply = index === 1 ? `450 4.7.1 ${HOSTILE}` : "450 4.7.1 greylisted, come back later";
        const attempt = {
          at: now - 60_000,
          host: `mx.${domain}`,
          address: "192.0.2.1",
          reply,
          status: "4.7.1",
        };
        await spool.add(
          newEntry([{
            address: `u${index}@${domain}`,
            attemptCount: 1 + index % 9,
            nextAttemptAt: now + HOUR + index * 1000,
            attempts: [attempt],
          }], {
            id,
            reversePath: index % 3 === 0 ? "newsletter@example.com" : `p${index % 50}@example.com`,
            acceptedAt: now - HOUR - (count - index) * 10,
            size: MESSAGE.length,
          }),
          MESSAGE,
        );
      }),
    );
  }
  return ids;
}

async function writeLog(path: string, queued: string): Promise<void> {
  const now = Date.now();
  const line = (before: number, event: string, fields: Record<string, string | number | string[]>) =>
    formatJson({ time: now - before, level: "info", event, fields }) + "\n";
  await Deno.writeTextFile(
    path,
    line(20 * 60_000, "message.accepted", {
      server: "serve-out",
      id: queued,
      session: "ef34ab0",
      from: "newsletter@example.com",
      to: ["u0@late.example"],
      octets: 17,
    }) +
      line(10 * 60_000, "command.refused", {
        server: "serve-in",
        session: "ab12cd3",
        peer: "198.51.100.7",
        command: `RCPT TO:<${HOSTILE}>`,
        reply: `550 5.1.1 <${HOSTILE}>: no such mailbox here`,
      }) +
      line(5 * 60_000, "attempt.deferred", {
        server: "serve-out",
        id: queued,
        recipient: "u0@late.example",
        host: "mx.late.example",
        address: "192.0.2.1",
        status: "4.7.1",
        reply: `450 4.7.1 ${HOSTILE}`,
        attempts: 1,
        again_ms: HOUR,
      }),
  );
}
