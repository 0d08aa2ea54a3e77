/**
 * What is wrong with a configuration: all of it at once, each with file, key, value and what is allowed.
 *
 * @module
 */

/** One thing that is wrong. */
export interface ConfigIssue {
  /** The key as one would write it, dotted: `serve-in.port`; empty for the file as a whole. */
  readonly key: string;
  /** The offending value as TOML would show it; absent where there is none, and where it may be a secret. */
  readonly value?: string;
  /** What is allowed, or what to do. */
  readonly problem: string;
  /** The line in the file, from 1, where it is known. */
  readonly line?: number;
}

/** The configuration is not valid. */
export class ConfigError extends Error {
  /** The file; absent when only defaults are wrong. */
  readonly file: string | undefined;
  /** At least one. */
  readonly issues: readonly ConfigIssue[];

  /** The message lists every issue, one a line. */
  constructor(file: string | undefined, issues: readonly ConfigIssue[], options?: ErrorOptions) {
    super(issues.map((issue) => formatIssue(issue, file)).join("\n"), options);
    this.name = "ConfigError";
    this.file = file;
    this.issues = issues;
  }
}

/** The configuration cannot be read; the system's error is the `cause`. */
export class ConfigFileError extends Error {
  /** The file that was to be read. */
  readonly file: string;
  /** Why it cannot be read. */
  readonly reason: "missing" | "forbidden" | "unreadable";

  constructor(file: string, reason: "missing" | "forbidden" | "unreadable", options?: ErrorOptions) {
    const cause = options?.cause instanceof Deno.errors.IsADirectory
      ? "is a directory; name the configuration file in it"
      : options?.cause instanceof Error
      ? options.cause.message
      : "cannot be read";
    super(
      {
        missing: `${file}: no such configuration file`,
        forbidden: `${file}: this account may not read the configuration file`,
        unreadable: `${file}: ${cause}`,
      }[reason],
      options,
    );
    this.name = "ConfigFileError";
    this.file = file;
    this.reason = reason;
  }
}

/** One issue as a line: `FILE:LINE: KEY = VALUE: PROBLEM`. */
export function formatIssue(issue: ConfigIssue, file?: string): string {
  const place = file === undefined ? "" : issue.line === undefined ? `${file}: ` : `${file}:${issue.line}: `;
  const value = issue.value === undefined ? "" : ` = ${issue.value}`;
  return issue.key === "" ? `${place}${issue.problem}` : `${place}${issue.key}${value}: ${issue.problem}`;
}

/** A value for a message: one line, no control bytes, at most 80 characters; what is inside a table stays out. */
export function showValue(value: unknown): string {
  const text = Array.isArray(value)
    ? value.some((item) => typeof item === "object") ? "[ … ]" : JSON.stringify(value)
    : typeof value === "object"
    ? "{ … }"
    : JSON.stringify(value) ?? String(value);
  const plain = text.replace(/[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "?");
  return plain.length > 80 ? `${plain.slice(0, 79)}…` : plain;
}

/** A path of keys as one would write it in TOML. */
export function showKey(path: readonly PropertyKey[]): string {
  let key = "";
  for (const part of path) {
    if (typeof part === "number") key += `[${part}]`;
    else {
      const name = String(part);
      key += `${key === "" ? "" : "."}${/^[A-Za-z0-9_-]+$/.test(name) ? name : showValue(name)}`;
    }
  }
  return key;
}
