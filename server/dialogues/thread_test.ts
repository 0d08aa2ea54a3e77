import assert from "node:assert/strict";
import { parseConfig } from "../../config/load.ts";
import { createNameParts } from "../../maildir/unique_name.ts";
import { createSharedCounts } from "../../smtp/shared_connection_counts.ts";
import { createSharedClaims } from "../../storage/shared_claims.ts";
import { Dialogue } from "../../tests/support/dialogue.ts";
import { NO_CHECKS, Workspace } from "../../tests/support/mailapp.ts";
import { toml } from "../../tests/support/program.ts";
import { until } from "../../tests/support/until.ts";
import type { FromDialogues, ServeInDialoguesStart, ToDialogues } from "./messages.ts";
import { runServeInDialogues } from "./serve_in_thread.ts";
import type { DialoguesScope } from "./thread.ts";

Deno.test("a thread that is told another configuration and other ports while it starts uses these", async () => {
  await using workspace = await Workspace.create();
  const configFor = (domain: string) =>
    parseConfig(toml({
      "": { hostname: "mx.example.com", data_dir: workspace.file("state") },
      log: { file: workspace.file("log") },
      "serve-in": { domains: [domain], min_free_space: 0 },
      "serve-in.checks": NO_CHECKS,
      mailboxes: { path: workspace.file("mail", "{domain}", "{user}"), users: ["alice"] },
      "mailboxes.aliases": { postmaster: "alice" },
    }));
  await Deno.mkdir(workspace.file("state", "incoming"), { recursive: true });
  let port: number;
  {
    using free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    port = free.addr.port;
  }
  const heard: FromDialogues[] = [];
  const scope: DialoguesScope<ServeInDialoguesStart> = {
    name: "",
    postMessage: (message) => void heard.push(message),
    onmessage: null,
  };
  runServeInDialogues(scope);
  const tell = (data: ToDialogues<ServeInDialoguesStart>) =>
    scope.onmessage?.({ data } as MessageEvent<ToDialogues<ServeInDialoguesStart>>);
  tell({
    kind: "start",
    start: {
      ...{ server: "serve-in", dnsServers: [], isTerminal: false, thread: 0 },
      nameParts: createNameParts(),
      claims: createSharedClaims({ threads: 2, paths: 2 }),
      counts: createSharedCounts({ threads: 1, clients: 10 }),
      config: configFor("before.example"),
      endpoints: [],
    },
  });
  tell({ kind: "follow", endpoints: [{ address: "127.0.0.1", port, tls: "off", tentative: false }] });
  tell({ kind: "apply", number: 1, config: configFor("after.example") });
  await until(() => heard.some(({ kind }) => kind === "done"), "the answer");
  assert.deepEqual(heard.map(({ kind }) => kind), ["loaded", "ready", "done"]);
  {
    using dialogue = await Dialogue.connect(port);
    await dialogue.hear();
    await dialogue.say("HELO client.test");
    await dialogue.say("MAIL FROM:<>");
    assert.match(await dialogue.say("RCPT TO:<alice@after.example>"), /^250 /);
    assert.match(await dialogue.say("RCPT TO:<alice@before.example>"), /^550 /);
  }
  tell({ kind: "stop", reason: "SIGTERM", accepting: false });
  await until(() => heard.at(-1)?.kind === "ended", "its end");
});
