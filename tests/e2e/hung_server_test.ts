// A serve-out that hangs: its process is there and its ports take connections, but it says nothing. The commands that ask
// it end, and say so.
import assert from "node:assert/strict";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";

Deno.test("commands end where serve-out hangs, and say that it does not answer", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({
    log: { file: workspace.file("mailapp.log") },
    dns: { servers: ["127.0.0.1:9"] },
    "serve-in": { domains: [] },
    "serve-out": { listen: ["127.0.0.1"], port: freePort(), min_free_space: 0 },
    mailboxes: { users: [] },
    "mailboxes.aliases": {},
  });
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  const answer = await runMailapp(["healthcheck", "serve-out", "--wait", "60", "--config", config]);
  assert.equal(answer.code, 0, answer.stderr);
  serveOut.signal("SIGSTOP");
  const ask = (...args: string[]) => runMailapp([...args, "--config", config]);
  const [status, list, trace, health, doctor] = await Promise.all([
    ask("status"),
    ask("queue", "list"),
    ask("trace", "nobody@nowhere.example"),
    ask("healthcheck", "serve-out"),
    ask("doctor", "--json"),
  ]);
  assert.match(status.stdout, /^serve-out +DOWN, /m);
  assert.match(
    status.stdout,
    /^! the queue could not be read: serve-out: it has not answered for 20 s$/m,
  );
  assert.equal(status.code, 69);
  assert.equal(list.code, 75, list.stderr);
  assert.match(list.stderr, /serve-out: it has not answered for 20 s/);
  assert.match(trace.stdout, /the queue could not be read: serve-out: it has not answered for 20 s/);
  assert.notEqual(health.code, 0);
  assert.match(doctor.stdout, /has not answered for 20 s/, doctor.stderr);
  serveOut.signal("SIGCONT");
  assert.equal((await ask("queue", "list")).code, 0);
});
