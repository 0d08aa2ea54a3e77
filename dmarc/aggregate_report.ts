/**
 * Reads aggregate reports of DMARC that others send (RFC 9990; before that RFC 7489 §7.2): as XML, compressed, or as the
 * mail that carries them.
 *
 * Anybody can send one, whatever it says, to the address in a public record: no name or count in it is to be trusted,
 * and reading it takes bounded time and memory.
 *
 * @module
 */
import sax from "sax";
import { AttachmentError, attachmentsOf, unpacked } from "../message/attachments.ts";

/** A report, as far as it is valid. */
export interface AggregateReport {
  /** Who sends it; empty if not said. */
  readonly organization: string;
  readonly contact: string;
  readonly id: string;
  /** The period, in milliseconds since the epoch; `NaN` if not said. */
  readonly from: number;
  readonly to: number;
  /** The domain that the report is about, and its policy: `none`, `quarantine` or `reject`. */
  readonly domain: string;
  readonly policy: string;
  /** Messages that passed DMARC, and those that did not. */
  readonly passed: number;
  readonly failed: number;
  /** At most {@linkcode MAX_ROWS}. */
  readonly rows: readonly AggregateRow[];
  /** Rows that are only counted. */
  readonly more: number;
}

/** Messages that came from one address. */
export interface AggregateRow {
  readonly source: string;
  readonly messages: number;
  /** What became of them: `none`, `quarantine` or `reject`. */
  readonly disposition: string;
  /** Whether a signature of an aligned domain was good; likewise SPF. */
  readonly dkim: boolean;
  readonly spf: boolean;
  /** The domain of From. */
  readonly headerFrom: string;
  /** Each check, such as `dkim=fail example.com`. */
  readonly checks: readonly string[];
  /** Why the policy was not applied. */
  readonly reasons: readonly string[];
}

/** The input is not such a report; the error's message says why. */
export class AggregateReportError extends Error {
  override readonly name = "AggregateReportError";
}

/** Bounds of a report. */
export interface ReportBounds {
  /** Octets of XML. */
  readonly most: number;
}

/** Rows that are kept. */
export const MAX_ROWS = 2_000;
/** Octets of XML: that of a large provider about a busy domain has some. */
const MAX_XML = 32 * 1024 * 1024;
const MAX_DEPTH = 20;
/** Characters of the name of an element: each of its descendants is known by a path with that name. */
const MAX_NAME = 100;
const MAX_ATTRIBUTES = 100;
/** Different elements of a record. */
const MAX_VALUES = 200;
/** Characters of a value. */
const MAX_TEXT = 255;
/** Checks, or reasons, of a row. */
const MAX_DETAILS = 10;
/** The highest number that is believed. */
const MAX_COUNT = 1e12;
const MAX_SECONDS = Date.UTC(2200, 0) / 1000;

/** The types of parts that reports come in; some senders say nothing about the content. */
const TYPES = /^(?:application|text)\/(?:x-)?(?:gzip|zip|zip-compressed|xml|octet-stream)$/;

/** Whether a part of this type may be a report. */
export function isReportType(type: string): boolean {
  return TYPES.test(type);
}

/**
 * Reads a report from the octets of a file.
 * @throws {AggregateReportError}
 */
export function readAggregateReport(
  file: Uint8Array,
  { most = MAX_XML }: Partial<ReportBounds> = {},
): AggregateReport {
  try {
    const xml = unpacked(file, { most });
    if (xml !== file || startsAsXml(file)) return parseAggregateReport(xml);
    const [part] = attachmentsOf(file, isReportType);
    if (part === undefined) throw new AggregateReportError("neither a report nor a mail with one");
    return parseAggregateReport(unpacked(part.content, { most }));
  } catch (error) {
    if (error instanceof AttachmentError) throw new AggregateReportError(error.message, { cause: error });
    throw error;
  }
}

function startsAsXml(file: Uint8Array): boolean {
  return new TextDecoder().decode(file.subarray(0, 100)).trimStart().startsWith("<");
}

/** What is used of the parser: https://github.com/isaacs/sax-js has no types of its own. */
interface Parser {
  onopentag: (tag: { readonly name: string }) => void;
  onattribute: () => void;
  onclosetag: () => void;
  ontext: (text: string) => void;
  oncdata: (text: string) => void;
  ondoctype: () => void;
  onerror: (error: Error) => void;
  write(text: string): Parser;
  close(): void;
}

/** Octets given to the parser at a time, after which its buffers are bounded. */
const PIECE = 64 * 1024;

/**
 * Reads a report.
 * @param xml UTF-8
 * @throws {AggregateReportError}
 */
export function parseAggregateReport(xml: Uint8Array): AggregateReport {
  const builder = new ReportBuilder();
  // Without `unparsedEntities` it knows the five entities of XML, and no others.
  const parser = (sax as { parser(strict: boolean, options: unknown): Parser }).parser(true, {
    strictEntities: true,
    trim: true,
  });
  const path: string[] = [];
  let text = "";
  let attributes = 0;
  parser.onattribute = () => {
    if (++attributes > MAX_ATTRIBUTES) throw new AggregateReportError("an element has too many attributes");
  };
  parser.onopentag = ({ name }) => {
    attributes = 0;
    if (name.length > MAX_NAME) throw new AggregateReportError("the name of an element is too long");
    if (path.length === MAX_DEPTH) throw new AggregateReportError("its elements are nested too deeply");
    // Some senders have a namespace.
    path.push(name.slice(name.indexOf(":") + 1));
    text = "";
    builder.open(path.join("/"));
  };
  parser.ontext = parser.oncdata = (more) => {
    if (text.length < MAX_TEXT) text = (text + more).slice(0, MAX_TEXT);
  };
  parser.onclosetag = () => {
    builder.close(path.join("/"), text.trim());
    path.pop();
    text = "";
  };
  // Reports have none, and entities are declared there.
  parser.ondoctype = () => {
    throw new AggregateReportError("it has a document type, which reports have not");
  };
  parser.onerror = (error) => {
    throw new AggregateReportError(`it is not well-formed XML: ${error.message.split("\n", 1)[0] ?? ""}`);
  };
  const decoder = new TextDecoder();
  for (let at = 0; at < xml.length; at += PIECE) {
    parser.write(decoder.decode(xml.subarray(at, at + PIECE), { stream: true }));
  }
  parser.close();
  return builder.report();
}

const ROW = "feedback/record";
const RESULTS = `${ROW}/auth_results/`;

class ReportBuilder {
  #isReport = false;
  readonly #values = new Map<string, string>();
  #row = new Map<string, string>();
  #checks: string[] = [];
  #reasons: string[] = [];
  readonly #rows: AggregateRow[] = [];
  #more = 0;
  #passed = 0;
  #failed = 0;

  open(path: string): void {
    if (path === "feedback") this.#isReport = true;
    if (path !== ROW) return;
    this.#row = new Map();
    this.#checks = [];
    this.#reasons = [];
  }

  close(path: string, text: string): void {
    if (path === ROW) this.#endRow();
    else if (path === `${RESULTS}dkim` || path === `${RESULTS}spf`) this.#endCheck(path);
    else if (path === `${ROW}/row/policy_evaluated/reason`) this.#endReason();
    else if (path.startsWith(ROW)) this.#note(path.slice(ROW.length + 1), text);
    else if (this.#values.size < 100) this.#values.set(path, text);
  }

  #note(name: string, text: string): void {
    this.#row.set(name, text);
    if (this.#row.size > MAX_VALUES) throw new AggregateReportError("a record has too many elements");
  }

  #endCheck(path: string): void {
    const name = path.slice(ROW.length + 1);
    const part = (key: string) => this.#row.get(`${name}/${key}`) ?? "";
    if (this.#checks.length < MAX_DETAILS) {
      const selector = part("selector") === "" ? "" : ` (${part("selector")})`;
      this.#checks.push(`${path.slice(RESULTS.length)}=${part("result")} ${part("domain")}${selector}`);
    }
    for (const key of ["selector", "result", "domain"]) this.#row.delete(`${name}/${key}`);
  }

  #endReason(): void {
    const part = (key: string) => this.#row.get(`row/policy_evaluated/reason/${key}`) ?? "";
    const words = [part("type"), part("comment")].filter((word) => word !== "").join(": ");
    if (words !== "" && this.#reasons.length < MAX_DETAILS) this.#reasons.push(words);
    for (const key of ["type", "comment"]) this.#row.delete(`row/policy_evaluated/reason/${key}`);
  }

  #endRow(): void {
    const value = (key: string) => this.#row.get(key) ?? "";
    const messages = numberOf(value("row/count"), MAX_COUNT);
    const dkim = value("row/policy_evaluated/dkim") === "pass";
    const spf = value("row/policy_evaluated/spf") === "pass";
    if (dkim || spf) this.#passed += messages;
    else this.#failed += messages;
    if (this.#rows.length === MAX_ROWS) {
      this.#more++;
      return;
    }
    this.#rows.push({
      source: value("row/source_ip"),
      messages,
      disposition: value("row/policy_evaluated/disposition"),
      dkim,
      spf,
      headerFrom: value("identifiers/header_from"),
      checks: this.#checks,
      reasons: this.#reasons,
    });
  }

  report(): AggregateReport {
    if (!this.#isReport) throw new AggregateReportError("it is not a report about DMARC");
    const value = (path: string) => this.#values.get(`feedback/${path}`) ?? "";
    const time = (path: string) => {
      const seconds = numberOf(value(path), MAX_SECONDS);
      return seconds === 0 ? NaN : seconds * 1000;
    };
    return {
      organization: value("report_metadata/org_name"),
      contact: value("report_metadata/email"),
      id: value("report_metadata/report_id"),
      from: time("report_metadata/date_range/begin"),
      to: time("report_metadata/date_range/end"),
      domain: value("policy_published/domain"),
      policy: value("policy_published/p"),
      passed: this.#passed,
      failed: this.#failed,
      rows: this.#rows,
      more: this.#more,
    };
  }
}

/** A whole number from 0 on; 0 for anything else. */
function numberOf(text: string, most: number): number {
  return /^\d{1,15}$/.test(text) ? Math.min(Number(text), most) : 0;
}
