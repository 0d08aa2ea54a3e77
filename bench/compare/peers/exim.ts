/**
 * Exim in the comparison.
 *
 * @module
 */
import { type EximOptions, startExim } from "../../../tests/support/peers/exim.ts";
import { run } from "../../../tests/support/peers/process.ts";
import { EXIM as PROGRAM, unpacked } from "../../../tests/support/peers/unpacked.ts";
import {
  DOMAIN,
  type Peer,
  RECIPIENT,
  SELECTOR,
  SENDER,
  type Target,
  targetOf,
  type World,
} from "../peer.ts";

/** Debian's exim4-daemon-light. */
export const EXIM: Peer = {
  name: "Exim",
  warmUp: 100,
  version: async () =>
    /^Exim version (\S+)/.exec((await run(unpacked(PROGRAM), { args: ["-bV"] })).stdout)?.[1] ?? "unknown",
  start: {
    store: ({ dns, certificate }) => start({ dns, certificate, mailboxes: [RECIPIENT] }),
    relay: ({ dns }) => start({ dns, byMx: true }),
    sign: ({ dns, dkimKey: key }) =>
      start({
        dns,
        byMx: true,
        dkim: { domain: DOMAIN, selector: SELECTOR, key, canonicalization: "relaxed" },
      }),
    submit: startSubmission,
  },
  lacks: { check: "exim4-daemon-light checks DKIM alone" },
};

/**
 * Its default leaves what comes after ten messages of a connection to a queue run a minute later, and lets 20 connections
 * wait to be accepted, so that some of 100 wait for minutes.
 */
const FAIR = ["smtp_accept_queue_per_connection = 0", "smtp_connect_backlog = 1000"];

async function start(options: EximOptions): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const exim = stack.use(await startExim({ ...options, settings: FAIR, adoptsOrphans: true }));
  return targetOf({ port: exim.port, pids: [exim.program.pid], maildir: exim.maildir(RECIPIENT) }, stack);
}

async function startSubmission({ dns, certificate }: World): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const login = { user: SENDER, password: "secret" };
  const { port, pids } = stack.use(
    await start({ dns, certificate, login, byMx: true, submissionsOn: "127.0.0.1" }),
  );
  return targetOf({ port, pids, tls: "implicit", login }, stack);
}
