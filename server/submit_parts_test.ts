import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { parseConfig } from "../config/load.ts";
import { sendingLimitCheck } from "../doctor/problem_checks.ts";
import { localSubmissionPolicy } from "../smtp/server_policy.ts";
import { reply } from "../smtp/reply.ts";
import { SmtpServer } from "../smtp/server.ts";
import { X509Certificate } from "node:crypto";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { until } from "../tests/support/until.ts";
import type { CertificatePair } from "../tls/certificates.ts";
import { submitDirectory } from "./parts.ts";
import { tellPostmaster, watchServeSubmit } from "./submit_parts.ts";

const LIMITED = { login: "alice@example.com", key: "messages_an_hour", limit: 100 };

Deno.test("postmaster is told of a login at its limit by a message that serve-out takes", async () => {
  const problems = await sendingLimitCheck(() => [LIMITED])();
  const taken: { to: string; from: unknown; text: string }[] = [];
  let full = false;
  const server = new SmtpServer({
    hostname: "mx.example.com",
    policy: localSubmissionPolicy,
    logger: silentLogger,
    delivery: {
      checkRecipient: () =>
        full ? { accepted: false, reply: reply(452, "4.3.1", "full") } : { accepted: true },
      begin({ reversePath, recipients: [recipient] }) {
        let text = "";
        return {
          id: "Q1",
          write: (chunk) => void (text += new TextDecoder().decode(chunk)),
          commit: () => {
            taken.push({ to: recipient?.forwardPath.text ?? "", from: reversePath, text });
            return Promise.resolve();
          },
          [Symbol.asyncDispose]: () => Promise.resolve(),
        };
      },
    },
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = server.serve(listener);
  try {
    const config = parseConfig(
      `hostname = "mx.example.com"\n[serve-in]\ndomains = ["example.com"]\n[serve-submit]\n` +
        `[serve-out]\nlisten = ["127.0.0.1"]\nport = ${listener.addr.port}\n`,
    );
    await tellPostmaster(problems, config);
    full = true;
    await assert.rejects(tellPostmaster(problems, config), /does not take it/);
  } finally {
    await server.shutdown({ grace: 1000 });
    await serving;
  }
  assert.equal(taken.length, 1);
  assert.deepEqual([taken[0]?.to, taken[0]?.from], ["postmaster@example.com", null]);
  const text = taken[0]?.text ?? "";
  assert.match(text, /^From: mailapp serve-submit <postmaster@example\.com>\r$/m);
  assert.match(
    text.replaceAll(/\s+/g, " "),
    /alice@example\.com has reached its sending limit .*messages_an_hour = 100/,
  );
});

Deno.test("watchServeSubmit() sends an alert about a login at its limit and about a serve-out that does not answer", async () => {
  const alerts: { server: string; text: string }[] = [];
  const hook = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    alerts.push(await request.json());
    return new Response("");
  });
  const directory = await Deno.makeTempDir({ prefix: "mailapp-submit-" });
  // A port on which nothing listens any more.
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  closed.close();
  try {
    const config = parseConfig(
      `hostname = "mx.example.com"\ndata_dir = "${directory}"\n[serve-in]\ndomains = ["example.com"]\n` +
        `[serve-submit]\n[serve-out]\nlisten = ["127.0.0.1"]\nport = ${closed.addr.port}\n` +
        `[alerts]\nwebhook = "http://127.0.0.1:${hook.addr.port}/"\n`,
    );
    await Deno.mkdir(submitDirectory(config));
    const authority = await createTestAuthority();
    const leaf = new X509Certificate((await authority.issue({ names: ["mx.example.com"] })).cert);
    const clock = new FakeClock(Date.now());
    let limited = [LIMITED];
    await using _watch = await watchServeSubmit({ config }, {
      certificates: { pair: { leaf } as CertificatePair },
      limits: {
        get limited() {
          return limited.map((login) => ({ ...login, at: clock.now() }));
        },
      },
      clock,
      logger: new RecordingLog(),
    });
    const look = async (ms: number, count: number) => {
      await until(() => clock.pending > 0, "the next look", settle);
      await clock.advance(ms);
      await until(() => alerts.length === count, `${count} alerts`, settle);
    };
    await look(2 * 60_000, 1);
    assert.match(alerts[0]?.text ?? "", /alice@example\.com has reached its sending limit/);
    limited = [];
    await look(10 * 60_000, 2);
    assert.equal(alerts[1]?.server, "serve-submit");
    assert.match(alerts[1]?.text ?? "", /serve-out does not answer/);
  } finally {
    await hook.shutdown();
    await Deno.remove(directory, { recursive: true });
  }
});
