/**
 * Finds, reads and checks the configuration file.
 *
 * @module
 */
import { resolve } from "@std/path";
import { parse, TomlError } from "smol-toml";
import type * as z from "zod";
import { withAcmeFiles } from "./acme.ts";
import { checkTogether, type ConfigProblem, type Sections } from "./checks.ts";
import { withoutByteOrderMark } from "../base/text_file.ts";
import type { Config } from "./config.ts";
import { ConfigError, ConfigFileError, type ConfigIssue, formatIssue, showKey, showValue } from "./errors.ts";
import { lineOfKey } from "./key_lines.ts";
import { parseFullyQualified } from "./names.ts";
import { nearest } from "./nearest.ts";
import { tables, top } from "./schema.ts";

/** Where the configuration is looked for when nothing names a file. */
export const DEFAULT_CONFIG_FILE = "/etc/mailapp/config.toml";

/** Inputs from the system; by default the real ones. */
export interface LoadOptions {
  /** Environment variables; `MAILAPP_CONFIG` names the file when `path` does not. */
  readonly env?: { get(name: string): string | undefined };
  /** Read if neither `path` nor the environment names a file; may be absent then. Default: `DEFAULT_CONFIG_FILE`. */
  readonly defaultFile?: string;
  /** The host's own name, as the default of `hostname`. */
  readonly systemHostname?: () => string | undefined;
}

/**
 * The configuration from `path`, else from `$MAILAPP_CONFIG`, else from /etc/mailapp/config.toml, else from the
 * defaults alone.
 *
 * @throws {ConfigFileError} when a file is named but cannot be read, or the default one is there but cannot
 * @throws {ConfigError} with everything that is wrong
 */
export async function loadConfig(path: string | undefined, options: LoadOptions = {}): Promise<Config> {
  const { env = Deno.env, defaultFile = DEFAULT_CONFIG_FILE } = options;
  const named = path ?? (env.get("MAILAPP_CONFIG") || undefined);
  const file = resolve(named ?? defaultFile);
  let text: string;
  try {
    text = withoutByteOrderMark(await Deno.readTextFile(file));
  } catch (cause) {
    const missing = cause instanceof Deno.errors.NotFound;
    if (missing && named === undefined) return parseConfig("", options);
    const forbidden = cause instanceof Deno.errors.PermissionDenied;
    throw new ConfigFileError(file, missing ? "missing" : forbidden ? "forbidden" : "unreadable", { cause });
  }
  return parseConfig(text, { ...options, file });
}

/**
 * The configuration that this TOML text is; `file` is for messages.
 *
 * @throws {ConfigError} with everything that is wrong
 */
export function parseConfig(text: string, options: LoadOptions & { readonly file?: string } = {}): Config {
  const { file, systemHostname = Deno.hostname } = options;
  const raw = parseToml(text, file);
  const findings: ConfigProblem[] = [];
  const warnings: string[] = [];

  const read = <T extends z.ZodType>(schema: T, name: string, input: unknown): z.output<T> | undefined => {
    const result = schema.safeParse(input);
    if (result.success) return result.data;
    findings.push(...result.error.issues.flatMap((issue) => describe(issue, { name, input })));
    return undefined;
  };
  const names = [...Object.keys(top), ...Object.keys(tables)];
  for (const name of Object.keys(raw)) if (!names.includes(name)) findings.push(unknownKey([name], names));
  const sections = readSections(raw, read);
  const dataDir = read(top.data_dir, "data_dir", raw["data_dir"]);
  let hostname = read(top.hostname, "hostname", raw["hostname"]);
  if (raw["hostname"] === undefined) {
    const own = systemHostname();
    hostname = parseFullyQualified(own);
    if (hostname === undefined && (sections["serve-in"]?.domains.length ?? 0) > 0) {
      findings.push({
        path: ["hostname"],
        problem: `must be set to this server's full name, such as "mx.example.com": ` +
          `the system's own, ${showValue(own)}, is not fully qualified`,
      });
    } else if (hostname === undefined) {
      // serve-out needs no configuration; as in Postfix, the name is completed rather than refusing mail.
      hostname = parseFullyQualified(`${own}.localdomain`) ?? "localhost.localdomain";
      warnings.push(
        `hostname is not set and the system's own is not fully qualified: ${showValue(hostname)} is used`,
      );
    }
  }
  const together = checkTogether(sections);
  findings.push(...together.errors);
  warnings.push(...together.warnings.map((finding) => formatIssue(toIssue(finding, text), file)));

  const { log, tls, dns, mailboxes, dkim, "serve-in": serveIn, "serve-out": serveOut } = sections;
  const { "serve-submit": serveSubmit, "serve-policy": servePolicy, mta_sts: mtaSts } = sections;
  const { queue, metrics, dashboard, alerts } = sections;
  if (
    findings.length > 0 || hostname === undefined || dataDir === undefined || log === undefined ||
    tls === undefined || dns === undefined || mailboxes === undefined || dkim === undefined ||
    queue === undefined || metrics === undefined || dashboard === undefined || alerts === undefined ||
    serveIn === undefined ||
    serveOut === undefined
  ) {
    throw new ConfigError(file, findings.map((finding) => toIssue(finding, text)));
  }
  return deepFreeze<Config>({
    ...(file !== undefined && { file }),
    hostname,
    dataDir,
    log,
    tls: withAcmeFiles(tls, dataDir),
    dns,
    serveIn,
    mailboxes,
    serveOut: { ...serveOut, qualifyDomain: serveOut.qualifyDomain || (serveIn.domains[0] ?? hostname) },
    ...(serveSubmit && { serveSubmit }),
    ...(servePolicy && { servePolicy }),
    ...(mtaSts && { mtaSts }),
    queue,
    dkim,
    metrics,
    dashboard: { ...dashboard, installed: raw["dashboard"] !== undefined },
    alerts,
    warnings,
  });
}

function readSections(
  raw: Record<string, unknown>,
  read: <T extends z.ZodType>(schema: T, name: string, input: unknown) => z.output<T> | undefined,
): Sections {
  return {
    log: read(tables.log, "log", raw["log"] ?? {}),
    tls: read(tables.tls, "tls", raw["tls"] ?? {}),
    dns: read(tables.dns, "dns", raw["dns"] ?? {}),
    "serve-in": read(tables["serve-in"], "serve-in", raw["serve-in"] ?? {}),
    mailboxes: read(tables.mailboxes, "mailboxes", raw["mailboxes"] ?? {}),
    "serve-out": read(tables["serve-out"], "serve-out", raw["serve-out"] ?? {}),
    "serve-submit": raw["serve-submit"] === undefined
      ? undefined
      : read(tables["serve-submit"], "serve-submit", raw["serve-submit"]),
    "serve-policy": raw["serve-policy"] === undefined
      ? undefined
      : read(tables["serve-policy"], "serve-policy", raw["serve-policy"]),
    // The server of a policy is of no use without one.
    mta_sts: raw["mta_sts"] === undefined && raw["serve-policy"] === undefined
      ? undefined
      : read(tables.mta_sts, "mta_sts", raw["mta_sts"] ?? {}),
    queue: read(tables.queue, "queue", raw["queue"] ?? {}),
    dkim: read(tables.dkim, "dkim", raw["dkim"] ?? {}),
    metrics: read(tables.metrics, "metrics", raw["metrics"] ?? {}),
    dashboard: read(tables.dashboard, "dashboard", raw["dashboard"] ?? {}),
    alerts: read(tables.alerts, "alerts", raw["alerts"] ?? {}),
  };
}

function parseToml(text: string, file: string | undefined): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The rest of the message quotes the file, which may hold a secret.
    const reason = reasonOf(error, text);
    throw new ConfigError(file, [{ key: "", problem: `not valid TOML: ${reason}`, line: error.line }], {
      cause: error,
    });
  }
}

/** The parser's reason; a quote that is missing shows as the line end that it does not expect. */
function reasonOf({ message, line, column }: TomlError, text: string): string {
  const reason = message.split("\n", 1)[0]?.replace(/^Invalid TOML document: /, "") ?? "";
  const found = text.split("\n")[line - 1] ?? "";
  const atLineEnd = column > found.trimEnd().length;
  return reason === "unfinished string" || (reason.startsWith("control characters") && atLineEnd)
    ? "a string has no closing quote"
    : reason;
}

function describe(issue: z.core.$ZodIssue, options: { name: string; input: unknown }): ConfigProblem[] {
  const path = [options.name, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => unknownKey([...path, key], issue.message.split(" ")));
  }
  let value = options.input;
  for (const part of issue.path) {
    if (typeof value === "object" && value !== null) value = (value as Record<PropertyKey, unknown>)[part];
  }
  return [value === undefined ? { path, problem: issue.message } : { path, problem: issue.message, value }];
}

function unknownKey(path: readonly PropertyKey[], known: readonly string[]): ConfigProblem {
  const meant = nearest(String(path.at(-1)), known);
  return {
    path,
    problem: `unknown key; ${meant ? `did you mean ${meant}?` : `known are ${known.join(", ")}`}`,
  };
}

function toIssue({ path, problem, value }: ConfigProblem, text: string): ConfigIssue {
  const line = lineOfKey(text, path);
  return {
    key: showKey(path),
    problem,
    ...(value !== undefined && !mayBeSecret(path, value) && { value: showValue(value) }),
    ...(line !== undefined && { line }),
  };
}

/** Whether the value may be a secret: pasted instead of a file name, or inside a URL. */
function mayBeSecret(path: readonly PropertyKey[], value: unknown): boolean {
  const isKeyFile = path.at(-1) === "key" && typeof value === "string" &&
    /^\S{1,200}\.(?:pem|key)$/.test(value);
  return path.some((part) => /pass|secret|token|webhook|^url_file$|^key$/i.test(String(part))) &&
      !isKeyFile ||
    path[1] === "routes" && typeof value === "string" && /[@/]/.test(value);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
