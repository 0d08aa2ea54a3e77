/**
 * Reports about TLS (RFC 8460) as serve-out makes them: results are counted while it sends, kept in the data directory,
 * and reported on the day after to the domains that ask for it.
 *
 * @module
 */
import { readOwnFile } from "../storage/own_file.ts";
import { Buffer } from "node:buffer";
import { dirname, join } from "@std/path";
import { type Clock, systemClock, type Timer } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import type { DkimSigner } from "../dkim/sign.ts";
import type { Resolver } from "../dns/resolver.ts";
import type { Policies } from "../mta_sts/policies.ts";
import { addressScope } from "../net/ip_address.ts";
import type { Target } from "../relay/mx.ts";
import type { Queue } from "../relay/queue.ts";
import { pendingRecipient } from "../relay/queue_entry.ts";
import type { TlsVerdict } from "../relay/ready_session.ts";
import type { Scheduler } from "../relay/scheduler.ts";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { NewFile } from "../storage/new_file.ts";
import { httpsRequest } from "../tls/https_request.ts";
import { type ReportEndpoint, reportEndpoints, showEndpointUri } from "../tls_report/record.ts";
import { packReport, type ReportHead, reportMail } from "../tls_report/report.ts";
import {
  dayOf,
  type DomainResults,
  note,
  type ReportedPolicy,
  type Results,
  resultsFromJson,
  resultsToJson,
} from "../tls_report/results.ts";

/** The file in the data directory. */
export const REPORT_FILE = "tls-reports.json";

const LONGEST_FILE = 128 * 1024 * 1024;
const VERSION = 1;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** Delay until changed results are saved. */
const SAVE_AFTER = 5 * MINUTE;
/** Reports of a day go out at a random time within this period after its end (RFC 8460 §4.1). */
const WITHIN = 4 * HOUR;
const HTTPS_TIMEOUT = MINUTE;

/** What the reports depend on. */
export interface ReportParts {
  /** As it is now; a reload may change it. */
  readonly live: { readonly config: Config; readonly resolver: Resolver };
  /** The MTA-STS policies. */
  readonly policies: Pick<Policies, "peek" | "failure">;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** Draws from [0, 1). */
  readonly random?: () => number;
  /** Sends a report over HTTPS. */
  readonly post?: typeof httpsRequest;
}

/** How reports are sent. */
export interface ReportWay {
  readonly queue: Pick<Queue, "newId" | "add">;
  readonly scheduler: Pick<Scheduler, "submit">;
  readonly signer: Pick<DkimSigner, "sign">;
}

/** Counts, keeps and reports. */
export class TlsReports implements AsyncDisposable {
  readonly #parts: ReportParts;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #path: string;
  #results: Results = new Map();
  #way: ReportWay | undefined;
  #saveTimer: Timer | undefined;
  #sendTimer: Timer | undefined;
  #sending: Promise<void> | undefined;
  #saving: Promise<void> = Promise.resolve();
  readonly #stopping = new AbortController();

  private constructor(parts: ReportParts) {
    this.#parts = parts;
    this.#clock = parts.clock ?? systemClock;
    this.#random = parts.random ?? Math.random;
    this.#path = join(parts.live.config.dataDir, REPORT_FILE);
  }

  /** Opens the reports, with the stored counts. */
  static async open(parts: ReportParts): Promise<TlsReports> {
    const reports = new TlsReports(parts);
    await reports.#load();
    return reports;
  }

  /** Counts the outcome of TLS with a host of a domain, except by routes and for reports themselves. */
  note(
    { policyDomain, relaxed, configured, sts, host, address }: Target,
    { dane, problem, local = "" }: TlsVerdict,
  ): void {
    if (policyDomain === undefined || relaxed || configured) return;
    const policy = this.#policyOf(policyDomain, dane);
    const unlisted = policy.type === "sts" && sts?.allowed === false;
    // Without a policy a certificate cannot fail.
    const counts = policy.type !== "no-policy-found" || problem?.type === "starttls-not-supported" ||
      problem?.type === "validation-failure";
    const failed = unlisted
      ? { type: "validation-failure", reason: "the policy does not list the host" }
      : problem !== undefined && counts
      ? { type: problem.type, reason: problem.why }
      : undefined;
    const missing = policy.type === "no-policy-found"
      ? this.#parts.policies.failure(policyDomain)
      : undefined;
    const session = { domain: policyDomain, policy };
    note(
      this.#results,
      missing !== undefined
        ? {
          domain: policyDomain,
          policy: { ...policy, type: "sts" },
          failure: {
            type: missing,
            host: "",
            address: "",
            sender: "",
            reason: "the policy could not be fetched",
          },
        }
        : failed === undefined
        ? session
        : { ...session, failure: { ...failed, host, address, sender: local } },
      this.#clock.now(),
    );
    this.#saveTimer ??= this.#clock.after(SAVE_AFTER, () => {
      this.#saveTimer = undefined;
      this.#save();
    });
  }

  /** Starts to send reports. */
  start(way: ReportWay): void {
    this.#way = way;
    this.#plan();
  }

  /** Sends the reports of past days that are requested and not yet sent. */
  async send(): Promise<void> {
    const today = dayOf(this.#clock.now());
    for (const [day, domains] of this.#results) {
      if (day >= today) continue;
      for (const [domain, results] of domains) {
        if (this.#stopping.signal.aborted) return;
        if (await this.#report({ domain, day }, results)) domains.delete(domain);
      }
      if (domains.size === 0 || Date.parse(today) - Date.parse(day) > 24 * HOUR) this.#results.delete(day);
    }
    await this.#save();
  }

  /** Waits until what is being sent and saved is done. */
  async idle(): Promise<void> {
    await this.#sending;
    await this.#saving;
  }

  /** Stops, and saves the counts. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    this.#saveTimer?.cancel();
    this.#sendTimer?.cancel();
    await this.idle();
    await this.#save();
  }

  #policyOf(domain: string, dane: TlsVerdict["dane"]): ReportedPolicy {
    if (dane.kind === "records") {
      const strings = dane.records.map(({ usage, selector, matchingType, data }) =>
        `${usage} ${selector} ${matchingType} ${Buffer.from(data).toString("hex").toUpperCase()}`
      );
      return { type: "tlsa", strings, mxHosts: [] };
    }
    if (dane.kind !== "none") return { type: "tlsa", strings: [], mxHosts: [] };
    const kept = this.#parts.policies.peek(domain);
    if (kept === undefined || kept.policy.mode === "none") {
      return { type: "no-policy-found", strings: [], mxHosts: [] };
    }
    const strings = kept.text.split("\n").map((line) => line.trimEnd()).filter((line) => line !== "");
    return { type: "sts", strings, mxHosts: kept.policy.mx };
  }

  /** Schedules within four hours after midnight; overdue reports go soon. */
  #plan(): void {
    const now = this.#clock.now();
    const midnight = Date.parse(dayOf(now)) + 24 * HOUR;
    const waiting = [...this.#results.keys()].some((day) => day < dayOf(now));
    const wait = waiting ? this.#random() * HOUR : midnight - now + this.#random() * WITHIN;
    this.#sendTimer = this.#clock.after(wait, () => {
      this.#sending = this.send().catch((error) => {
        this.#parts.logger.error("tls_report.failed", { error: errorText(error) });
      }).finally(() => {
        if (!this.#stopping.signal.aborted) this.#plan();
      });
    });
  }

  /** Whether nothing is left to do about the domain. */
  async #report({ domain, day }: { domain: string; day: string }, results: DomainResults): Promise<boolean> {
    const { live: { config, resolver }, logger } = this.#parts;
    if (!config.serveOut.tlsReports || this.#way === undefined) return true;
    const answer = await resolver.txt(`_smtp._tls.${domain}`, { signal: this.#stopping.signal });
    if (answer.kind === "failed") return false;
    const endpoints = answer.kind === "found" ? reportEndpoints(answer.records) : [];
    if (endpoints.length === 0) return true;
    const submitter = config.serveOut.qualifyDomain;
    const id = this.#way.queue.newId();
    const head: ReportHead = {
      organization: submitter,
      contact: `postmaster@${submitter}`,
      id,
      domain,
      day,
    };
    const report = packReport(head, results);
    let done = true;
    for (const endpoint of endpoints) {
      const to = showEndpointUri(endpoint);
      if (results.sent.includes(to)) continue;
      try {
        if (endpoint.kind === "mail") await this.#mail(endpoint.address, { head, report, way: this.#way });
        else await this.#post(endpoint, report);
        results.sent.push(to);
        logger.info("tls_report.sent", { domain, day, to });
      } catch (error) {
        done = false;
        logger.warn("tls_report.not_sent", { domain, day, to, error: errorText(error) });
      }
    }
    return done;
  }

  async #mail(
    to: string,
    { head, report, way: { queue, scheduler, signer } }: {
      readonly head: ReportHead;
      readonly report: Uint8Array;
      readonly way: ReportWay;
    },
  ): Promise<void> {
    const { hostname, serveOut: { qualifyDomain } } = this.#parts.live.config;
    const now = this.#clock.now();
    const id = queue.newId();
    const from = `postmaster@${qualifyDomain}`;
    const message = await signer.sign(
      id,
      reportMail({ head, report, submitter: qualifyDomain, from, to, hostname, now }),
    );
    const domain = to.slice(to.lastIndexOf("@") + 1).toLowerCase();
    await queue.add({
      id,
      acceptedAt: now,
      // No one waits for a notice about it.
      reversePath: "",
      body: "7BIT",
      smtputf8: false,
      // A report must not fail because of what it reports (RFC 8460 §3). So it is not counted either.
      tlsOptional: true,
      size: message.length,
      content: { eightBitHeader: false, eightBitBody: false },
      recipients: [{ ...pendingRecipient(to, domain), notify: ["NEVER"], delayNotified: true }],
    }, message);
    scheduler.submit({ id, age: 0, due: [{ domain, at: 0 }] });
  }

  async #post(
    { host, port, path }: Extract<ReportEndpoint, { kind: "https" }>,
    report: Uint8Array,
  ): Promise<void> {
    const { live: { config, resolver }, post = httpsRequest } = this.#parts;
    const { signal } = this.#stopping;
    const answers = await Promise.all([resolver.a(host, { signal }), resolver.aaaa(host, { signal })]);
    const addresses = answers.flatMap((answer) => answer.kind === "found" ? answer.records : [])
      .filter((address) => config.serveOut.allowPrivateTargets || addressScope(address) === "public");
    if (addresses.length === 0) throw new Error(`${host} has no usable address`);
    const { status } = await post({
      host,
      port,
      path,
      addresses: addresses.slice(0, 4),
      headers: { "content-type": "application/tlsrpt+gzip" },
      body: report,
      maxBody: 64 * 1024,
      timeout: HTTPS_TIMEOUT,
      clock: this.#clock,
      signal,
    });
    if (status < 200 || status > 299) throw new Error(`HTTP status ${status}`);
  }

  async #load(): Promise<void> {
    try {
      const { mailapp, days } = JSON.parse(await readOwnFile(this.#path, { most: LONGEST_FILE }));
      if (mailapp !== VERSION) throw new Error("not a file of TLS results");
      this.#results = resultsFromJson(days);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      this.#parts.logger.warn("tls_report.not_read", { path: this.#path, error: errorText(error) });
    }
  }

  #save(): Promise<void> {
    return this.#saving = this.#saving.then(() => this.#write()).catch((error) => {
      this.#parts.logger.warn("tls_report.not_saved", { path: this.#path, error: errorText(error) });
    });
  }

  async #write(): Promise<void> {
    if (this.#results.size === 0) {
      await Deno.remove(this.#path).catch(() => {});
      return;
    }
    const file = await NewFile.createAnew(`${this.#path}.new`, { mode: 0o600 });
    const text = JSON.stringify({ mailapp: VERSION, days: resultsToJson(this.#results) });
    await file.write(Buffer.from(`${text}\n`));
    await file.finish();
    await file.publish(this.#path);
    await new DirectorySyncer().sync(dirname(this.#path));
  }
}
