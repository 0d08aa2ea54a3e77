/**
 * The DMARC and TLS reports that others have sent to a mailbox of ours.
 *
 * Whoever knows the address can put anything there: files, their content, the work for them and what is kept are
 * bounded, and nothing in a report is to be believed.
 *
 * @module
 */
import { join } from "@std/path";
import type { Clock } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import {
  AggregateReportError,
  type AggregateRow,
  readAggregateReport,
} from "../../dmarc/aggregate_report.ts";
import { type ReadDetail, readReport, ReportError } from "../../tls_report/read.ts";

/** A DMARC report; `rows` are those with the most failures. */
export interface DmarcSummary {
  readonly organization: string;
  readonly domain: string;
  /** Milliseconds since the epoch; `NaN` if not said. */
  readonly from: number;
  readonly to: number;
  readonly passed: number;
  readonly failed: number;
  readonly rows: readonly AggregateRow[];
}

/** What a TLS report says of one policy. */
export interface TlsSummary {
  readonly organization: string;
  readonly domain: string;
  /** `sts`, `tlsa` or `no-policy-found`. */
  readonly policy: string;
  readonly from: number;
  readonly to: number;
  readonly successes: number;
  readonly failures: number;
  readonly details: readonly ReadDetail[];
}

/** All of them. */
export interface ReportsState {
  /** The newest first. */
  readonly dmarc: readonly DmarcSummary[];
  readonly tls: readonly TlsSummary[];
  /** Messages that are no reports, or that cannot be read. */
  readonly others: number;
  /** Messages that are not looked at: those of before, and those that are too long. */
  readonly leftOut: number;
  /** Whether some are still to be read. */
  readonly reading: boolean;
  /** Why the mailbox cannot be read. */
  readonly problem?: string;
}

/** What {@linkcode ReceivedReports} needs. */
export interface ReportsOptions {
  /** The Maildir; only its inbox is read. Absent: no mailbox is named. */
  readonly maildir?: string;
  /** Tells the time. */
  readonly clock: Clock;
}

/** How long a state is shown before the mailbox is looked at again, in milliseconds. */
const FRESH = 60_000;
/** How long the first visitor waits, in milliseconds. */
const PATIENCE = 300;
/** Reading a message for this long, in milliseconds, others have had to wait. */
const LONG = 50;
/** The newest messages that are looked at. */
const MAX_FILES = 500;
/** Names in the Maildir. */
const MAX_NAMES = 100_000;
/** Octets of a message, and of a report when it is unpacked. */
const MAX_FILE = 5 * 1024 * 1024;
const MAX_REPORT = 4 * 1024 * 1024;
/** Of one report. */
const MAX_ROWS = 20;
/** Characters of a text. */
const MAX_TEXT = 255;
/** As serve-in and other Maildir deliveries name files: seconds first. */
const NAME = /^(\d{9,11})\.[^:]{1,200}/;

/** What a file holds; nothing if it is no report. */
type Content = {
  readonly dmarc?: DmarcSummary;
  readonly tls?: readonly TlsSummary[];
  readonly isTooLong?: true;
};

interface Found {
  readonly unique: string;
  readonly path: string;
  readonly seconds: number;
}

/** Reads the mailbox now and then, each message once. */
export class ReceivedReports {
  readonly #options: ReportsOptions;
  /** By the unique part of the name. */
  #known = new Map<string, Content>();
  #state: ReportsState = { dmarc: [], tls: [], others: 0, leftOut: 0, reading: true };
  #reading: Promise<void> | undefined;
  #until = -Infinity;

  /** Nothing is read yet. */
  constructor(options: ReportsOptions) {
    this.#options = options;
  }

  /** Whether there is a mailbox. */
  get isConfigured(): boolean {
    return this.#options.maildir !== undefined;
  }

  /** The state as it was found last; a stale one is renewed in the background. Never throws. */
  async look(): Promise<ReportsState> {
    const { clock, maildir } = this.#options;
    if (maildir !== undefined && this.#reading === undefined && clock.monotonic() >= this.#until) {
      this.#reading = this.#read(maildir).finally(() => {
        this.#reading = undefined;
        this.#until = clock.monotonic() + FRESH;
      });
    }
    if (this.#state.reading && this.#reading !== undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = clock.after(PATIENCE, resolve);
      await Promise.race([this.#reading, promise]);
      timer.cancel();
    }
    return this.#state;
  }

  /** Waits until nothing is under way. */
  async idle(): Promise<void> {
    await this.#reading;
  }

  /** Reads a file. What takes long is followed by a pause as long, so that pages are served meanwhile. */
  async #readInTurn(path: string): Promise<Content | undefined> {
    const { clock } = this.#options;
    const began = clock.monotonic();
    const content = await readContent(path);
    const took = clock.monotonic() - began;
    if (took >= LONG) await new Promise<void>((resolve) => clock.after(took, resolve));
    return content;
  }

  async #read(maildir: string): Promise<void> {
    try {
      const { files, more } = await newest(maildir);
      const known = new Map<string, Content>();
      for (const { unique, path } of files) {
        const content = this.#known.get(unique) ?? await this.#readInTurn(path);
        if (content !== undefined) known.set(unique, content);
      }
      this.#known = known;
      const contents = [...known.values()];
      this.#state = {
        dmarc: contents.flatMap(({ dmarc }) => dmarc ?? []),
        tls: contents.flatMap(({ tls }) => tls ?? []),
        others: contents.filter(({ dmarc, tls, isTooLong }) => !dmarc && !tls && !isTooLong).length,
        leftOut: more + contents.filter(({ isTooLong }) => isTooLong).length,
        reading: false,
      };
    } catch (error) {
      this.#state = { ...this.#state, reading: false, problem: errorText(error) };
    }
  }
}

/** The newest messages of the inbox, and how many more there are. A Maildir that no mail has made yet is empty. */
async function newest(
  maildir: string,
): Promise<{ readonly files: readonly Found[]; readonly more: number }> {
  let files: Found[] = [];
  let names = 0;
  const inOrder = () => files.sort((one, other) => other.seconds - one.seconds).slice(0, MAX_FILES);
  for (const part of ["new", "cur"]) {
    try {
      for await (const { name } of Deno.readDir(join(maildir, part))) {
        if (++names > MAX_NAMES) throw new Error(`it has more than ${MAX_NAMES} messages`);
        const [unique, seconds] = NAME.exec(name) ?? [];
        if (unique === undefined) continue;
        files.push({
          unique: unique.split(",", 1)[0] ?? unique,
          path: join(maildir, part, name),
          seconds: Number(seconds),
        });
        if (files.length > 2 * MAX_FILES) files = inOrder();
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  files = inOrder();
  return { files, more: names - files.length };
}

/** @returns `undefined` for a file that is gone, or moved: the next look finds it */
async function readContent(path: string): Promise<Content | undefined> {
  let file: Uint8Array;
  try {
    const { size, isFile } = await Deno.stat(path);
    if (!isFile) return {};
    if (size > MAX_FILE) return { isTooLong: true };
    file = await Deno.readFile(path);
  } catch {
    return undefined;
  }
  try {
    return { tls: tlsSummaries(file) };
  } catch (error) {
    if (!(error instanceof ReportError)) throw error;
  }
  try {
    return { dmarc: dmarcSummary(file) };
  } catch (error) {
    if (!(error instanceof AggregateReportError)) throw error;
    return {};
  }
}

function dmarcSummary(file: Uint8Array): DmarcSummary {
  const { organization, domain, from, to, passed, failed, rows } = readAggregateReport(file, {
    most: MAX_REPORT,
  });
  const failures = rows.filter(({ dkim, spf }) => !dkim && !spf)
    .sort((one, other) => other.messages - one.messages).slice(0, MAX_ROWS);
  return { organization, domain, from, to, passed, failed, rows: failures };
}

function tlsSummaries(file: Uint8Array): TlsSummary[] {
  const { organization, from, to, policies } = readReport(file, { most: MAX_REPORT });
  return policies.slice(0, MAX_ROWS).map(({ type, domain, successes, failures, details }) => ({
    organization: short(organization),
    domain: short(domain),
    policy: short(type),
    from: Date.parse(from),
    to: Date.parse(to),
    successes,
    failures,
    details: details.slice(0, MAX_ROWS).map((detail) => ({
      ...detail,
      type: short(detail.type),
      host: short(detail.host),
      address: short(detail.address),
      sender: short(detail.sender),
      reason: short(detail.reason),
    })),
  }));
}

function short(text: string): string {
  return text.slice(0, MAX_TEXT);
}
