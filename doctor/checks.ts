/**
 * The checks of doctor. To add one, write it in `doctor/checks/` and add it to the table here; its input goes
 * into {@linkcode Setup}.
 *
 * @module
 */
import { checkServeInCertificate } from "./checks/certificate.ts";
import { checkClock } from "./checks/clock.ts";
import { checkConfig, checkOwnAddresses } from "./checks/config.ts";
import { checkDkim } from "./checks/dkim.ts";
import { checkDmarc } from "./checks/dmarc.ts";
import { checkIncoming } from "./checks/incoming.ts";
import { checkListeners } from "./checks/listener.ts";
import { checkMaildrop } from "./checks/maildrop.ts";
import { checkMtaSts } from "./checks/mta_sts.ts";
import { checkMx } from "./checks/mx.ts";
import { checkWayOut } from "./checks/outward.ts";
import { checkServeOut } from "./checks/queue.ts";
import { checkReverseDns } from "./checks/reverse_dns.ts";
import { checkRights } from "./checks/rights.ts";
import { checkRoutes } from "./checks/routes.ts";
import { checkSpfRecords } from "./checks/spf.ts";
import { checkStorage } from "./checks/storage.ts";
import { checkSubmission } from "./checks/submission.ts";
import { checkTlsa } from "./checks/tlsa.ts";
import { checkTlsRpt } from "./checks/tlsrpt.ts";
import type { Examination } from "./examination.ts";
import type { Finding } from "./finding.ts";

/** One line of the table. */
export interface Check {
  /** The prefix of its finding ids, before the dot. */
  readonly name: string;
  /** Whether it is skipped if DNS does not answer at all. */
  readonly needsDns?: true;
  /** Runs the check. An error becomes a finding. */
  readonly run: (examination: Examination) => Promise<readonly Finding[]> | readonly Finding[];
}

/** All checks, in the order in which their findings are shown. They run at the same time. */
export const CHECKS: readonly Check[] = [
  { name: "config", run: ({ setup }) => checkConfig(setup) },
  { name: "storage", run: ({ setup }) => checkStorage(setup.storage) },
  { name: "rights", run: ({ setup }) => checkRights(setup) },
  { name: "maildrop", run: ({ setup }) => checkMaildrop(setup) },
  {
    name: "clock",
    run: ({ setup: { clock, dataDir, configFile } }) =>
      checkClock({ now: clock.now(), files: [dataDir, ...(configFile === undefined ? [] : [configFile])] }),
  },
  { name: "certificate", run: ({ setup }) => checkServeInCertificate(setup) },
  { name: "queue", run: ({ setup }) => checkServeOut(setup) },
  { name: "dns", run: async (examination) => (await examination.dns()).findings },
  {
    name: "address",
    run: async (examination) => [
      ...checkOwnAddresses(examination.setup),
      ...((await examination.dns()).down ? [] : (await examination.addresses()).findings),
    ],
  },
  { name: "mx", needsDns: true, run: async (examination) => checkMx(await examination.world()) },
  { name: "spf", needsDns: true, run: async (examination) => checkSpfRecords(await examination.world()) },
  {
    name: "dkim",
    needsDns: true,
    // `config` reports keys that cannot be read.
    run: async (examination) =>
      examination.setup.dkim === undefined ? [] : checkDkim(await examination.world()),
  },
  { name: "dmarc", needsDns: true, run: async (examination) => checkDmarc(await examination.world()) },
  { name: "reverse", needsDns: true, run: async (examination) => checkReverseDns(await examination.world()) },
  {
    name: "tlsa",
    needsDns: true,
    run: async (examination) =>
      ["known", "to-be-made"].includes(examination.setup.certificate.kind)
        ? checkTlsa(await examination.world(), examination.setup)
        : [],
  },
  {
    name: "mta-sts",
    needsDns: true,
    run: async (examination) => checkMtaSts(await examination.world(), examination.setup),
  },
  { name: "tlsrpt", needsDns: true, run: async (examination) => checkTlsRpt(await examination.world()) },
  { name: "incoming", needsDns: true, run: ({ setup }) => checkIncoming(setup) },
  { name: "smtp", run: ({ setup }) => checkListeners(setup) },
  {
    name: "submission",
    run: ({ setup: { submission } }) => submission === undefined ? [] : checkSubmission(submission),
  },
  { name: "route", run: ({ setup }) => checkRoutes(setup) },
  { name: "outward", needsDns: true, run: ({ setup }) => checkWayOut(setup) },
];
