/**
 * OpenSMTPD in the comparison.
 *
 * @module
 */
import { type OpenSmtpdOptions, startOpenSmtpd } from "../../../tests/support/peers/opensmtpd.ts";
import { run } from "../../../tests/support/peers/process.ts";
import { OPENSMTPD as PROGRAM, unpacked } from "../../../tests/support/peers/unpacked.ts";
import { type Peer, RECIPIENT, type Target, targetOf } from "../peer.ts";

/** Debian's opensmtpd. */
export const OPENSMTPD: Peer = {
  name: "OpenSMTPD",
  warmUp: 50,
  version: async () =>
    /OpenSMTPD (\S+)/.exec((await run(unpacked(PROGRAM), { args: ["-h"] })).stderr)?.[1] ?? "unknown",
  start: {
    store: ({ dns }) => start({ dns, mailboxes: [RECIPIENT] }),
    relay: ({ dns }) => start({ dns, byMx: true }),
  },
  lacks: {
    sign: "it signs by a filter that is not set up here",
    check: "it checks by filters that are not set up here",
    submit: "TLS does not work in Debian 12's build (OpenSMTPD issue 1171)",
  },
};

async function start(options: OpenSmtpdOptions): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const { port, program, maildir } = stack.use(await startOpenSmtpd(options));
  return targetOf({
    port,
    pids: [program.pid],
    maildir: maildir(RECIPIENT),
    startTls: false,
    // It listens with a backlog of 5: of 100 connections some wait for minutes.
    mostSessions: 20,
  }, stack);
}
