// The part of docs/guide/first-hour.md about a certificate and MTA-STS, on a host with Pebble as the authority and BIND
// as DNS; and another host, which obeys the policy, and reports its outcome.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { type Bind, startBind } from "../support/peers/bind.ts";
import { startPebble } from "../support/peers/pebble.ts";
import { runOk, until } from "../support/peers/process.ts";
import { fromSource } from "../support/program.ts";
import { testWith } from "../support/requires.ts";

const GUIDE = new URL("../../docs/guide/first-hour.md", import.meta.url);
const PROMPT = fromSource(fileURLToPath(new URL("../support/prompt_server.ts", import.meta.url)));
const HERE = "198.51.100.1";

/** The commands of the guide's section about TLS. */
async function guideCommands(): Promise<string[]> {
  const [, section = ""] = /^## [^\n]*verify[^\n]*\n([^]*?)^## /m.exec(await Deno.readTextFile(GUIDE)) ?? [];
  return [...section.matchAll(/^```console\n([^]*?)^```/gm)].flatMap(([, block = ""]) =>
    block.trim().split("\n")
  );
}

testWith(
  [...HOST_PROGRAMS, "pebble", "named", "curl", "swaks"],
  "the first hour ends with a verified certificate and an enforced MTA-STS policy, which another host obeys and reports on",
  async (t) => {
    await using stack = new AsyncDisposableStack();
    const workspace = stack.use(await Workspace.create());
    const other = stack.use(await Workspace.create());
    const hosts = stack.use(await makeHosts());
    const config = workspace.file("config.toml");
    const ours = { through: hosts.server };
    const mailapp = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await runMailapp([...args, "--config", config], ours);
      assert.equal(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
      return stdout;
    };
    let bind: Bind | undefined;
    const publish = async () => {
      await bind?.[Symbol.asyncDispose]();
      const where = { address: HERE, port: 53, through: hosts.server };
      bind = await startBind(
        { "example.com": { whole: await mailapp("dns") }, "client.test": clientZone },
        where,
      );
    };
    stack.defer(async () => await bind?.[Symbol.asyncDispose]());
    const edit = async (change: (text: string) => string) =>
      await Deno.writeTextFile(config, change(await Deno.readTextFile(config)));

    // The other host, its key of DKIM first.
    const otherConfig = await other.configure({
      "": { hostname: "out.client.test", data_dir: other.file("state") },
      dns: { servers: [`${HERE}:53`] },
      "serve-in": { domains: [] },
      "serve-out": {
        listen: ["127.0.0.1"],
        port: 25,
        qualify_domain: "client.test",
        allow_private_targets: true,
        retry: ["1s"],
      },
      mailboxes: { users: [] },
      "mailboxes.aliases": {},
    });
    const made = await runMailapp(["dkim", "new", "client.test", "--config", otherConfig]);
    assert.equal(made.code, 0, made.stderr);
    const [, key = ""] = /(?:^|\n)("client\.test" = \{.*\})/.exec(made.stdout) ?? [];
    await Deno.writeTextFile(otherConfig, `\n[dkim]\n${key}\n`, { append: true });
    const records = JSON.parse(
      (await runMailapp(["dns", "--json", "--config", otherConfig], {
        through: hosts.client,
      })).stdout,
    ).records as { name: string; type: string; presentation: string }[];
    const clientZone = records.filter(({ type }) => type === "TXT").map(({ name, presentation }) =>
      `${name}. TXT ${presentation}`
    ).join("\n");

    await t.step("init, with a certificate from an authority and a policy", async () => {
      const { code, stdout, stderr } = await runMailapp([
        ...["init", "--config", config, "--hostname", "mx.example.com", "--domain", "example.com"],
        ...["--mailbox", "alice", "--postmaster", "alice", "--acme", "--mta-sts", "--yes"],
        ...[
          "--data-dir",
          workspace.file("state"),
          "--mail-path",
          workspace.file("mail", "{domain}", "{user}"),
        ],
      ], ours);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /certificate obtain/);
    });
    const pebble = stack.use(
      await startPebble({ through: hosts.server, dns: `${HERE}:53`, refusedNonces: 0 }),
    );
    // What differs from a host on the Internet: its authority, its DNS server, and that its addresses are private ones.
    await edit((text) =>
      text.replace(
        /^(\[tls\.acme\].*\n)/m,
        `$1directory = "${pebble.directory}"\nca_file = "${pebble.caFile}"\n`,
      ) +
      `\n[dns]\nservers = ["${HERE}:53"]\n\n[serve-out]\nallow_private_targets = true\n\n[log]\nformat = "json"\n`
    );
    await mailapp("check-config");
    await publish();
    let serveIn = stack.use(new RunningMailapp(["serve-in", "--config", config], ours));
    await serveIn.event("server.ready");

    let servePolicy: RunningMailapp | undefined;
    await t.step("the guide's commands", async () => {
      const commands = await guideCommands();
      assert.ok(commands.length >= 4, commands.join("\n"));
      for (const command of commands) {
        const words = command.split(" ");
        if (words[0] === "mailapp" && words[1] !== "doctor" && words[1] !== "install") {
          await mailapp(...words.slice(1));
        } else if (command.includes("mailapp-policy") && servePolicy === undefined) {
          servePolicy = stack.use(new RunningMailapp(["serve-policy", "--config", config], ours));
          await servePolicy.event("server.ready");
        }
      }
      assert.ok(servePolicy);
      assert.match(await mailapp("certificate", "show"), /names +mx\.example\.com, mta-sts\.example\.com\n/);
    });
    const curl = [...hosts.server, "curl", "-sSk", "https://127.0.0.1:15000/roots/0"];
    const root = await runOk(curl[0] ?? "", { args: curl.slice(1) });
    await Deno.writeTextFile(workspace.file("root.pem"), root);
    const env = { DENO_CERT: workspace.file("root.pem") };

    await t.step("from testing to enforce, as the guide says", async () => {
      await edit((text) => text.replace(/^mode = "testing".*$/m, 'mode = "enforce"'));
      servePolicy?.signal("SIGHUP");
      await servePolicy?.event("config.reloaded");
      await publish();
    });

    await t.step("doctor finds nothing wrong with the policy and the certificate", async () => {
      const { stdout } = await runMailapp(["doctor", "--json", "--config", config], { ...ours, env });
      const { findings } = JSON.parse(stdout) as {
        findings: { id: string; outcome: string; what: string }[];
      };
      const of = (check: string) => findings.filter(({ id }) => id.split(".")[0] === check);
      assert.deepEqual(of("mta-sts").map(({ outcome, what }) => [outcome, what]), [["ok", "mode enforce"]]);
      assert.deepEqual(of("certificate").map(({ outcome }) => outcome), ["ok"]);
    });

    const serveOut = () =>
      new RunningMailapp(["serve-out", "--config", otherConfig], {
        through: hosts.client,
        env,
        program: PROMPT,
      });
    const send = async (subject: string) => {
      const [swaks = "", ...rest] = [...hosts.client, "swaks"];
      const header = ["--header", `Subject: ${subject}`];
      await runOk(swaks, {
        args: [
          ...rest,
          "--server",
          "127.0.0.1",
          "--from",
          "a@client.test",
          "--to",
          "alice@example.com",
          ...header,
        ],
      });
    };
    {
      await using sending = serveOut();
      await sending.event("server.ready");
      await t.step("the other host obeys", async () => {
        await send("first");
        const { policy, tls } = await sending.event("attempt.relayed");
        assert.deepEqual([policy, tls], ["mta-sts", "verified"]);
        await until(async () => (await workspace.stored("alice")).length === 1, { what: "the message" });
      });
      await t.step("and sends nothing to a server with a self-signed certificate", async () => {
        assert.equal(await serveIn.stop(), 0);
        const stranger = workspace.file("stranger.toml");
        const text = (await Deno.readTextFile(config)).replace(
          /^\[tls\.acme\][^[]*/m,
          "[tls]\nself_signed = true\n",
        )
          .replace(/^\[serve-policy\][^[]*\[mta_sts\][^[]*/m, "").replace(
            /^data_dir = .*$/m,
            (line) => line.replace("state", "stranger"),
          );
        await Deno.writeTextFile(stranger, text);
        await using other = new RunningMailapp(["serve-in", "--config", stranger], ours);
        await other.event("server.ready");
        await send("second");
        const { policy, error } = await sending.event("attempt.deferred");
        assert.equal(policy, "mta-sts");
        assert.match(String(error), /certificate not accepted/);
        assert.equal(await other.stop(), 0);
      });
      serveIn = stack.use(new RunningMailapp(["serve-in", "--config", config], ours));
      await serveIn.event("server.ready");
      await t.step("the message goes when the certificate is right again", async () => {
        await until(async () => (await workspace.stored("alice")).length === 2, {
          what: "the second message",
        });
      });
      assert.equal(await sending.stop(), 0);
    }

    await t.step("its report of that day arrives, signed, and is put into words", async () => {
      // A day later.
      const path = other.file("state", "tls-reports.json");
      const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);
      const kept = JSON.parse(await Deno.readTextFile(path));
      assert.equal(kept.days.length, 1);
      kept.days[0].day = day(Date.now() - 86_400_000);
      await Deno.writeTextFile(path, JSON.stringify(kept));
      await using sending = serveOut();
      await sending.event("tls_report.sent", { where: { domain: "example.com" } });
      await until(async () => (await workspace.stored("alice")).length === 3, { what: "the report" });
      const folder = workspace.file("mail", "example.com", "alice", "new");
      let report = "";
      for (const name of await workspace.stored("alice")) {
        const text = await Deno.readTextFile(`${folder}/${name}`);
        if (/^TLS-Report-Domain: example\.com$/mi.test(text)) report = `${folder}/${name}`;
      }
      assert.notEqual(report, "");
      const message = await Deno.readTextFile(report);
      assert.match(message, /^TLS-Report-Submitter: client\.test$/mi);
      assert.match(
        message,
        /^Authentication-Results: mx\.example\.com;[^]*?dkim=pass[^]*?header\.d=client\.test/m,
      );
      const { code, stdout: words, stderr } = await runMailapp(["tls-report", report]);
      assert.equal(code, 0, stderr);
      assert.match(words, /client\.test/);
      assert.match(words, /example\.com/);
      assert.match(words, /certificate-not-trusted|certificate/);
      assert.equal(await sending.stop(), 0);
    });
    assert.equal(await serveIn.stop(), 0);
    assert.equal(await servePolicy?.stop(), 0);
  },
);
