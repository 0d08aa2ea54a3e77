import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { parseConfig } from "../config/load.ts";
import { sendingLimitCheck } from "../doctor/problem_checks.ts";
import { localSubmissionPolicy } from "../smtp/server_policy.ts";
import { reply } from "../smtp/reply.ts";
import { SmtpServer } from "../smtp/server.ts";
import { tellPostmaster } from "./submit_parts.ts";

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
    /alice@example\.com has sent as much as it may .*messages_an_hour = 100/,
  );
});
