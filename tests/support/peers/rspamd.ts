/**
 * Debian's Rspamd in its own folder, without Redis and without the Internet; it must be started as root.
 *
 * @module
 */
import { account } from "./accounts.ts";
import { makeFolder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { startUntil, until } from "./process.ts";

/** A message with `X-Test: marked` is marked, one with `X-Test: rewritten` gets another subject. */
const RULES = `
for name, score in pairs({ marked = 8.0, rewritten = 11.0 }) do
  rspamd_config['TEST_' .. name:upper()] = {
    callback = function(task) return task:get_header('X-Test') == name end,
    score = score,
    group = 'test',
  }
end
`;

/** Modules that ask others, and wait for them at the start. */
const ON_THE_INTERNET = ["asn", "fuzzy_check", "mx_check", "phishing", "rbl", "url_redirector"];

/** A running Rspamd; tests tell it by a field what to say. */
export interface Rspamd extends AsyncDisposable {
  /** On 127.0.0.1: HTTP, `/checkv2`. */
  readonly port: number;
  /** On 127.0.0.1: the milter protocol. */
  readonly milterPort: number;
}

/** Starts Rspamd and waits until it answers, which takes 10 to 20 seconds. */
export async function startRspamd({ dnsPort }: { readonly dnsPort: number }): Promise<Rspamd> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("rspamd"));
  const { uid, gid } = await account("_rspamd");
  const [port, controller, milterPort] = [freePort(), freePort(), freePort()];
  await folder.mkdir("local.d");
  const data = await folder.mkdir("data", { uid, gid });
  const settings: Readonly<Record<string, string>> = {
    "worker-normal.inc": `bind_socket = "127.0.0.1:${port}";\ncount = 1;\n`,
    "worker-controller.inc": `bind_socket = "127.0.0.1:${controller}";\n`,
    "worker-proxy.inc": `bind_socket = "127.0.0.1:${milterPort}";\nmilter = yes;\n` +
      `upstream "local" {\n  default = yes;\n  self_scan = yes;\n}\ncount = 1;\n`,
    "logging.inc": 'type = "console";\nlevel = "error";\n',
    // Compiling its expressions takes a minute of processor time.
    "options.inc":
      `disable_hyperscan = true;\ndns {\n  nameserver = ["127.0.0.1:${dnsPort}"];\n  timeout = 1s;\n  retransmits = 1;\n}\n`,
    "actions.conf": 'rewrite_subject = 10;\nsubject = "[junk] %s";\n',
  };
  await folder.write("rspamd.local.lua", RULES);
  for (const module of ON_THE_INTERNET) await folder.write(`local.d/${module}.conf`, "enabled = false;\n");
  for (const [name, text] of Object.entries(settings)) await folder.write(`local.d/${name}`, text);
  const variables = { LOCAL_CONFDIR: folder.path, DBDIR: data, RUNDIR: data, LOGDIR: data };
  const program = await startUntil("rspamd", {
    args: [
      ...["-f", "-u", "_rspamd", "-g", "_rspamd"],
      ...Object.entries(variables).map(([name, value]) => `--var=${name}=${value}`),
    ],
    ready: () =>
      until(async () => {
        const answer = await fetch(`http://127.0.0.1:${port}/ping`).catch(() => undefined);
        await answer?.body?.cancel();
        return answer?.status === 200;
      }, { what: "Rspamd", within: 120_000 }),
  });
  stack.defer(() => program.stop());
  const all = stack.move();
  return {
    port,
    milterPort,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
