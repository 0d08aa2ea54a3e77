// Metrics beside Prometheus: promtool finds nothing to say of them and of contrib/, and Prometheus scrapes both servers.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { freePort } from "../support/peers/ports.ts";
import { run, runOk, startUntil, until } from "../support/peers/process.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { WireClient } from "../support/wire_client.ts";

const CONTRIB = fileURLToPath(new URL("../../contrib/", import.meta.url));
const MESSAGE = "Subject: x\r\nFrom: a@client.test\r\n\r\nx\r\n";

/** One message from here to a server. */
async function send(port: number, { to }: { readonly to: string }): Promise<void> {
  using client = await WireClient.connect(port);
  await client.hear();
  const commands = ["EHLO client.test", "MAIL FROM:<a@client.test>", `RCPT TO:<${to}>`, "DATA"];
  for (const command of [...commands, `${MESSAGE}.`, "QUIT"]) {
    assert.match(await client.say(command), /^[23]/, command);
  }
}

testWith(
  ["promtool"],
  "promtool finds the rules of contrib/ right, and each alert fires for its problem alone",
  async () => {
    await runOk("promtool", { args: ["check", "rules", `${CONTRIB}alerts.yml`] });
    await runOk("promtool", { args: ["test", "rules", `${CONTRIB}alerts_test.yml`] });
  },
);

testWith(
  ["promtool", "prometheus"],
  "Prometheus scrapes both servers, and promtool finds nothing wrong with what they say",
  async () => {
    await using workspace = await Workspace.create();
    const [inPort, outPort, promPort] = [freePort(), freePort(), freePort()];
    const config = await workspace.configure({
      metrics: { serve_in: `127.0.0.1:${inPort}`, serve_out: `127.0.0.1:${outPort}` },
      "serve-in": { port: freePort() },
      "serve-out": { listen: ["127.0.0.1"], port: 0, min_free_space: 0 },
    });
    await using serveIn = new RunningMailapp(["serve-in", "--config", config]);
    await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
    assert.equal((await serveIn.event("metrics.ready"))["port"], inPort);
    await serveOut.event("metrics.ready");
    const { port } = await serveOut.event("listener.ready");
    await send(Number(port), { to: "alice@example.com" });
    await serveOut.event("attempt.relayed");

    const texts = await Promise.all([inPort, outPort].map(async (port) => {
      const response = await fetch(`http://127.0.0.1:${port}/metrics`);
      return await response.text();
    }));
    for (const stdin of texts) {
      const { code, stdout, stderr } = await run("promtool", { args: ["check", "metrics"], stdin });
      assert.deepEqual([code, stdout, stderr], [0, "", ""]);
    }
    await Deno.writeTextFile(
      workspace.file("prometheus.yml"),
      [
        "global: { scrape_interval: 1s }",
        "scrape_configs:",
        `  - { job_name: mailapp-in, static_configs: [{ targets: ["127.0.0.1:${inPort}"] }] }`,
        `  - { job_name: mailapp-out, static_configs: [{ targets: ["127.0.0.1:${outPort}"] }] }`,
        "",
      ].join("\n"),
    );
    const query = async (expression: string) => {
      const url = `http://127.0.0.1:${promPort}/api/v1/query?query=${encodeURIComponent(expression)}`;
      const response = await fetch(url);
      const { data } = await response.json() as {
        data: { result: { metric: Record<string, string>; value: [number, string] }[] };
      };
      return data.result.map(({ metric, value }) => `${metric["job"]} ${value[1]}`).sort();
    };
    await using _prometheus = await startUntil("prometheus", {
      args: [
        `--config.file=${workspace.file("prometheus.yml")}`,
        `--storage.tsdb.path=${workspace.file("tsdb")}`,
        `--web.listen-address=127.0.0.1:${promPort}`,
      ],
      ready: () =>
        until(async () => (await query("up == 1").catch(() => [])).length === 2, { what: "two targets up" }),
    });
    assert.deepEqual(await query("mailapp_messages_accepted_total"), ["mailapp-in 1", "mailapp-out 1"]);
    assert.deepEqual(await query('mailapp_relay_attempts_total{result="relayed"}'), ["mailapp-out 1"]);
    assert.deepEqual(await query("mailapp_maildir_deliveries_total{filing='inbox'}"), ["mailapp-in 1"]);
    assert.deepEqual(await query("mailapp_storage_sync_seconds_count{what='message'} > bool 0"), [
      "mailapp-in 1",
      "mailapp-out 1",
    ]);
    assert.deepEqual(await query("mailapp_relay_seconds_count"), ["mailapp-out 1"]);
    assert.equal(await serveIn.stop(), 0);
    assert.equal(await serveOut.stop(), 0);
  },
);

Deno.test("a server whose port of [metrics] is taken says so, and does not start", async () => {
  await using workspace = await Workspace.create();
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    const config = await workspace.configure({ metrics: { serve_in: `127.0.0.1:${taken.addr.port}` } });
    const { code, stderr } = await runMailapp(["serve-in", "--config", config]);
    assert.equal(code, 69);
    assert.match(stderr, /\[metrics\] cannot listen on 127\.0\.0\.1:\d+: another program has that port/);
  } finally {
    taken.close();
  }
});

Deno.test("[metrics] takes no address that others reach, unless there is a token", async () => {
  await using workspace = await Workspace.create();
  const open = await workspace.configure({ metrics: { serve_in: "0.0.0.0:9465" } });
  const { code, stderr } = await runMailapp(["check-config", "--config", open]);
  assert.equal(code, 78);
  assert.match(stderr, /metrics\.serve_in[^]*must be a loopback address, or token_file be set/);
  await Deno.writeTextFile(workspace.file("token"), "0123456789abcdef0123456789abcdef\n", { mode: 0o600 });
  const guarded = await workspace.configure({
    metrics: { serve_in: "0.0.0.0:0", token_file: workspace.file("token") },
  });
  await using serveIn = new RunningMailapp(["serve-in", "--config", guarded]);
  const { port } = await serveIn.event("metrics.ready");
  const ask = async (authorization: string) => {
    const response = await fetch(`http://127.0.0.1:${port}/metrics`, { headers: { authorization } });
    await response.body?.cancel();
    return response.status;
  };
  assert.deepEqual(
    [await ask("Bearer wrong"), await ask("Bearer 0123456789abcdef0123456789abcdef")],
    [401, 200],
  );
});
