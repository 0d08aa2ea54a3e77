/**
 * Our own servers in the comparison.
 *
 * @module
 */
import { VERSION } from "../../../server/version.ts";
import { startServeOut } from "../../../tests/support/peers/mailapp.ts";
import { PASSWORD, SubmissionMachine } from "../../../tests/support/submission.ts";
import { startOurs, UNLIMITED } from "../../server_under_load.ts";
import { WARM_UP } from "../../servers.ts";
import { ALL_CHECKS, DNS_PORT } from "../../signed_mail.ts";
import {
  CONNECTIONS_PER_HOST,
  DOMAIN,
  type Peer,
  SELECTOR,
  type Target,
  targetOf,
  type World,
} from "../peer.ts";

/** serve-in, serve-out, and serve-submit with serve-out behind it. */
export const MAILAPP: Peer = {
  name: "mailapp",
  warmUp: WARM_UP,
  version: () => Promise.resolve(VERSION),
  start: {
    store: ({ certificate }) => startStoring({ certificate }),
    check: () => startStoring({ checks: ALL_CHECKS, dnsPort: DNS_PORT }),
    relay: (world) => startRelaying(world),
    sign: (world) => startRelaying(world, { sign: true }),
    submit: startSubmission,
  },
  lacks: {},
};

async function startStoring(options: Parameters<typeof startOurs>[0]): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const { port, pid, maildir } = stack.use(await startOurs(options));
  return targetOf({ port, pids: [pid], maildir }, stack);
}

async function startRelaying({ folder, dkimKey }: World, { sign = false } = {}): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const key = await folder.write("mailapp-dkim.pem", dkimKey, { mode: 0o600 });
  const server = stack.use(
    await startServeOut({
      dnsPort: DNS_PORT,
      logFile: folder.at(`serve-out-${crypto.randomUUID()}.log`),
      settings: { max_connections_per_host: CONNECTIONS_PER_HOST },
      ...sign && { dkim: { [DOMAIN]: [{ selector: SELECTOR, key }] } },
    }),
  );
  return targetOf({ port: server.port, pids: [server.program.pid] }, stack);
}

async function startSubmission({ folder, dns }: World): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const user = "alice@example.com";
  const machine = stack.use(
    await SubmissionMachine.create({
      logins: [user],
      logFile: folder.at("submission.log"),
      changes: {
        dns: { servers: [`${dns}:${DNS_PORT}`] },
        "serve-out": { allow_private_targets: true, max_connections_per_host: CONNECTIONS_PER_HOST },
        "serve-submit": UNLIMITED,
      },
    }),
  );
  const serveOut = stack.use(await machine.start("serve-out"));
  const serveSubmit = stack.use(await machine.start("serve-submit"));
  return targetOf({
    port: machine.tlsPort,
    pids: [serveSubmit.pid, serveOut.pid],
    tls: "implicit",
    login: { user, password: PASSWORD },
  }, stack);
}
