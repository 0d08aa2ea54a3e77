// Two serve-out on one queue in PostgreSQL: one killed, the other frozen past its lease, under load. Whatever was
// answered 250 arrives, and what arrives twice has a record of the dot without a reply.
import assert from "node:assert/strict";
import { ControlClient } from "../../relay/control_client.ts";
import { CONTROL_SOCKET } from "../../relay/control_socket.ts";
import { Dialogue } from "../support/dialogue.ts";
import { documentedJson, namesIn } from "../support/json_docs.ts";
import { type LoggedEvent, runMailapp, Workspace } from "../support/mailapp.ts";
import { type PostgresServer, testsWithPostgres } from "../support/postgres_server.ts";
import { until } from "../support/until.ts";
import { checkedMessage, submit } from "./checked_message.ts";
import { configureServeOut, queueIdOf, Receiver, serveOut } from "./serve_out_setting.ts";
import { LONG_ROUNDS, type Serving } from "./setting.ts";

/** How often one is killed and the other frozen. */
const ROUNDS = LONG_ROUNDS || 1;

/** A host with its own directory, on the queue that the others have too. */
async function configureHost(
  workspace: Workspace,
  { port, url }: { port: number; url: string },
): Promise<string> {
  const urlFile = workspace.file("queue.url");
  await Deno.writeTextFile(urlFile, `${url}\n`, { mode: 0o600 });
  const config = await configureServeOut(workspace, port);
  const text = await Deno.readTextFile(config);
  await Deno.writeTextFile(
    config,
    `${text}\n[queue]\nstore = "postgres"\nurl_file = "${urlFile}"\ndurability = "primary"\nlease = "5s"\n` +
      '[serve-out.timeouts]\ndata_end = "2s"\n',
  );
  return config;
}

/** Hands messages over until told to stop or the server dies; adds what was accepted. */
async function handOver(
  { port }: Serving,
  { prefix, accepted, stop }: { prefix: string; accepted: Map<string, string>; stop: AbortSignal },
): Promise<void> {
  try {
    using dialogue = await Dialogue.connect(port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    for (let number = 0; !stop.aborted; number++) {
      const message = checkedMessage(`${prefix}n${number}`, number % 9 === 4 ? 700_000 : 2_000);
      const reply = await submit(dialogue, message, { to: [`x@d${number % 4}.test`] });
      if (reply === "") return;
      if (reply.startsWith("250")) accepted.set(message.id, queueIdOf(reply));
    }
  } catch (error) {
    const gone = [Deno.errors.ConnectionReset, Deno.errors.ConnectionRefused, Deno.errors.BrokenPipe];
    if (!gone.some((kind) => error instanceof kind)) throw error;
  }
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function entries(server: PostgresServer, url: string): Promise<number> {
  const [row] = await server.query(
    new URL(url).pathname.slice(1),
    "SELECT count(*)::int AS n FROM mailapp.entry WHERE head IS NOT NULL",
  );
  return Number(row?.n);
}

testsWithPostgres("serve-out on a queue in PostgreSQL", {
  "refuses a database that is not migrated, and one without a standby where one is needed": async (
    server,
  ) => {
    await using workspace = await Workspace.create();
    const config = await configureHost(workspace, {
      port: 1,
      url: await server.newDatabase({ migrated: false }),
    });
    for (const command of [["serve-out"], ["queue", "hosts"], ["queue", "list"], ["queue", "drain", "x"]]) {
      const unmigrated = await runMailapp([...command, "--config", config]);
      assert.equal(unmigrated.code, 78, unmigrated.stderr);
      assert.match(unmigrated.stderr, /mailapp queue migrate/);
    }
    assert.equal((await runMailapp(["queue", "migrate", "--config", config])).code, 0);
    const text = await Deno.readTextFile(config);
    await Deno.writeTextFile(config, text.replace('durability = "primary"\n', ""));
    const lonely = await runMailapp(["serve-out", "--config", config]);
    assert.equal(lonely.code, 78);
    assert.match(lonely.stderr, /synchronous_standby_names/);
    await Deno.chmod(workspace.file("queue.url"), 0o644);
    const open = await runMailapp(["serve-out", "--config", config]);
    assert.equal(open.code, 78);
    assert.match(open.stderr, /chmod/);
  },
  "shows all of it to commands on any host, which may act on what another host has": async (server) => {
    const url = await server.newDatabase();
    await using receiver = new Receiver();
    receiver.atDot = () => Promise.resolve("refuse");
    await using first = await Workspace.create();
    await using second = await Workspace.create();
    const config = await configureHost(first, { port: receiver.port, url });
    const other = await configureHost(second, { port: receiver.port, url });
    const host = await serveOut(config);
    await using _server = host.server;
    using dialogue = await Dialogue.connect(host.port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    const id = queueIdOf(await submit(dialogue, checkedMessage("one", 500), { to: ["x@d.test"] }));
    await host.server.event("attempt.deferred");
    // It is tried every second, so that its host keeps it.
    const explained = await runMailapp(["explain", "--json", "x@d.test", "--config", other]);
    const owners = [{ name: "mx.example.com", messages: 1 }];
    assert.deepEqual(
      JSON.parse(explained.stdout).everywhere,
      { messages: 1, hosts: owners },
      explained.stderr,
    );
    const state = JSON.parse((await runMailapp(["status", "--json", "--config", other])).stdout);
    assert.equal(state.queue.messages, 1);
    assert.deepEqual(state.queue.hosts, owners);
    {
      // As the dashboard and doctor of the other host see it; and it stays where it is.
      const { server: beside } = await serveOut(other);
      await using _beside = beside;
      const client = await ControlClient.find(second.file("state", CONTROL_SOCKET)) ??
        assert.fail("no socket");
      const [seen] = await Array.fromAsync(client.list({}));
      assert.equal(seen?.entry.id, id);
      assert.equal(seen?.host, "mx.example.com");
      const acted = await Array.fromAsync(client.apply("retry", { ids: [id] }));
      assert.deepEqual(acted.map(({ changed, inFlight }) => changed.length + inFlight.length), [1]);
      assert.equal(await beside.stop(), 0, beside.transcript());
    }
    const held = await runMailapp(["queue", "hold", id, "--config", other]);
    assert.equal(held.code, 0, held.stderr + held.stdout);
    const shown = await runMailapp(["queue", "list", "--json", "--config", other]);
    const [view] = JSON.parse(shown.stdout);
    assert.equal(view.id, id);
    assert.equal(view.recipients[0].status, "held");
    const message = await runMailapp(["queue", "cat", id, "--config", other]);
    assert.match(message.stdout, /^Received: [\s\S]*\nSubject: /, message.stderr);
    const hosts = JSON.parse((await runMailapp(["queue", "hosts", "--json", "--config", other])).stdout);
    const { names, wrong } = namesIn(hosts);
    assert.deepEqual(wrong, []);
    assert.deepEqual(names, (await documentedJson()).get("mailapp queue hosts"));
    assert.equal(hosts.hosts.filter(({ state }: { state: string }) => state === "serving").length, 1);
    receiver.atDot = () => Promise.resolve("take");
    assert.equal((await runMailapp(["queue", "release", id, "--config", other])).code, 0);
    await receiver.has("one");
    // Into the spool and back: under the same id, and once.
    receiver.atDot = () => Promise.resolve("refuse");
    const again = queueIdOf(await submit(dialogue, checkedMessage("two", 500), { to: ["x@d.test"] }));
    await host.server.event("attempt.deferred", { where: { id: again } });
    assert.equal((await runMailapp(["queue", "hold", again, "--config", other])).code, 0);
    for (const [from, to] of [["postgres", "spool"], ["spool", "postgres"]]) {
      const copied = await runMailapp([
        "queue",
        "copy",
        "--from",
        from ?? "",
        "--to",
        to ?? "",
        "--config",
        other,
      ]);
      assert.equal(copied.code, 0, copied.stderr);
      assert.match(copied.stdout, /moved: 1 message/);
    }
    receiver.atDot = () => Promise.resolve("take");
    assert.equal((await runMailapp(["queue", "release", again, "--config", other])).code, 0);
    await receiver.has("two");
  },
  [`loses nothing where one host is killed and another frozen past its lease, ${ROUNDS} times`]: async (
    server,
  ) => {
    const url = await server.newDatabase();
    await using receiver = new Receiver();
    await using first = await Workspace.create();
    await using second = await Workspace.create();
    const configs = [
      await configureHost(first, { port: receiver.port, url }),
      await configureHost(second, { port: receiver.port, url }),
    ] as const;
    const accepted = new Map<string, string>();
    const unanswered = new Set<unknown>();
    const told: LoggedEvent[] = [];
    const note = ({ server }: Serving) => {
      told.push(...server.events);
      for (const { event, id, dot_sent_no_reply } of server.events) {
        if (event === "attempt.deferred" && dot_sent_no_reply) unanswered.add(id);
      }
    };
    for (let round = 0; round < ROUNDS; round++) {
      const killed = await serveOut(configs[0]);
      const frozen = await serveOut(configs[1]);
      await using _killed = killed.server;
      await using _frozen = frozen.server;
      const stop = new AbortController();
      const clients = [killed, frozen].flatMap((host, index) =>
        [0, 1].map((client) =>
          handOver(host, { prefix: `r${round}h${index}c${client}`, accepted, stop: stop.signal })
        )
      );
      await killed.server.event("message.accepted", { after: 10 });
      await frozen.server.event("message.accepted", { after: 10 });
      frozen.server.signal("SIGSTOP");
      killed.server.signal("SIGKILL");
      await killed.server.ended();
      note(killed);
      // What both had waits until another host finds that their leases are over.
      const relief = await serveOut(configs[0]);
      await using _relief = relief.server;
      await relief.server.event("queue.host_dead", { after: 1 });
      frozen.server.signal("SIGCONT");
      await frozen.server.event("queue.joined", { after: 1 });
      stop.abort();
      await Promise.all(clients);
      await until(
        async () => await entries(server, url) === 0,
        "the queue to become empty",
        () => sleep(200),
      );
      for (const host of [frozen, relief]) {
        note(host);
        host.server.signal("SIGTERM");
        assert.equal(await host.server.ended(), 0, host.server.transcript());
      }
    }
    assert.ok(accepted.size >= 20 * ROUNDS);
    const missing = [...accepted.keys()].filter((id) => receiver.copies(id).length === 0);
    assert.deepEqual(missing, []);
    const doubled = [...accepted].filter(([id, queueId]) =>
      receiver.copies(id).length > 1 && !unanswered.has(queueId)
    );
    assert.deepEqual(doubled, []);
    // mailapp duplicates says the same of the hosts' logs.
    const log = first.file("hosts.log");
    await Deno.writeTextFile(log, told.map((event) => `${JSON.stringify(event)}\n`).join(""));
    const { stdout, stderr } = await runMailapp([
      "duplicates",
      "--json",
      "--config",
      configs[0],
      "--log",
      log,
    ]);
    const listed = new Set(
      (JSON.parse(stdout) as { kind: string; id: string; again_at?: string }[]).filter(({ kind, again_at }) =>
        kind === "duplicate" && again_at !== undefined
      ).map(({ id }) => id),
    );
    const unlisted = [...accepted].filter(([id, queueId]) =>
      receiver.copies(id).length > 1 && !listed.has(queueId)
    );
    assert.deepEqual(unlisted, [], stderr);
  },
});
