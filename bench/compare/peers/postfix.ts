/**
 * Postfix in the comparison, with OpenDKIM, OpenDMARC, policyd-spf and Dovecot for what it does not do itself.
 *
 * @module
 */
import { startCheckingMilters } from "../../../tests/support/peers/checking_milters.ts";
import { untilListening, untilListeningAt } from "../../../tests/support/peers/ports.ts";
import { type PostfixOptions, startPostfix } from "../../../tests/support/peers/postfix.ts";
import { runOk, startUntil } from "../../../tests/support/peers/process.ts";
import { startPostfixLogins } from "../../postfix_logins.ts";
import { HOSTNAME, startTheirs } from "../../server_under_load.ts";
import { FAIR_POSTFIX, makePostfixLog } from "../../servers.ts";
import { DOMAIN, type Peer, SELECTOR, SENDER, type Target, targetOf, type World } from "../peer.ts";

/** Debian's Postfix. */
export const POSTFIX: Peer = {
  name: "Postfix",
  warmUp: 500,
  version: async () => (await runOk("postconf", { args: ["-d", "-h", "mail_version"] })).trim(),
  start: { store: startStoring, check: startChecking, relay: startRelaying, sign: startSigning, submit },
  lacks: {},
};

async function startStoring({ certificate, dns }: World): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const { port, pid, maildir } = stack.use(await startTheirs({ certificate, dns }));
  return targetOf({ port, pids: [pid], maildir }, stack);
}

async function startChecking({ mail, dns }: World): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const milters = stack.use(await startCheckingMilters({ dns, keys: mail.keys, hostname: HOSTNAME }));
  const { settings, services } = milters;
  const { port, pid, maildir } = stack.use(await startTheirs({ dns, settings, services }));
  const helpers = "OpenDKIM, OpenDMARC, policyd-spf";
  return targetOf({ port, pids: [pid, ...milters.pids], maildir, with: helpers }, stack);
}

async function startRelaying({ dns }: World): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const { port, pid } = await startInto(stack, { dns });
  return targetOf({ port, pids: [pid] }, stack);
}

async function startSigning({ dns, folder, dkimKey }: World): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const socket = `${await folder.mkdir("opendkim", { mode: 0o777 })}/socket`;
  const settings = {
    Mode: "s",
    Syslog: "no",
    UMask: "000",
    Socket: `local:${socket}`,
    Domain: DOMAIN,
    Selector: SELECTOR,
    KeyFile: await folder.write("opendkim.pem", dkimKey, { mode: 0o600 }),
    Canonicalization: "relaxed/relaxed",
    // The temporary directory is open to all.
    RequireSafeKeys: "no",
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} ${value}\n`).join("");
  const config = await folder.write("opendkim.conf", lines);
  const openDkim = stack.use(
    await startUntil("opendkim", { args: ["-f", "-x", config], ready: () => untilListeningAt(socket) }),
  );
  const milters = { smtpd_milters: `unix:${socket}`, milter_default_action: "tempfail" };
  const { port, pid } = await startInto(stack, { dns, settings: milters });
  return targetOf({ port, pids: [pid, openDkim.pid], with: "OpenDKIM" }, stack);
}

async function submit({ certificate, dns }: World): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const { port, service, login, pid: dovecot } = await startPostfixLogins(stack, SENDER);
  const { pid } = await startInto(stack, { dns, certificate, services: [service] });
  await untilListening(port);
  return targetOf({
    port,
    pids: [pid, dovecot],
    tls: "implicit",
    login,
    with: "Dovecot",
  }, stack);
}

/** Starts one that relays by DNS, and stops with the stack. */
async function startInto(
  stack: AsyncDisposableStack,
  { settings, ...options }: PostfixOptions,
): Promise<{ readonly port: number; readonly pid: number }> {
  const log = await makePostfixLog();
  stack.defer(() => Deno.remove(log));
  const { port, program } = stack.use(
    await startPostfix({ settings: { ...FAIR_POSTFIX, maillog_file: log, ...settings }, ...options }),
  );
  return { port, pid: program.pid };
}
