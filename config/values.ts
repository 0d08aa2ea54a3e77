/**
 * Values of the configuration file, and the forms of its tables, from which `schema.ts` is made.
 *
 * @module
 */
import { isAbsolute } from "@std/path";
import * as z from "zod";
import { TLS_POLICIES, type TlsPolicy } from "../net/tls_policy.ts";
import type { ListenConfig } from "./config.ts";
import { DURATION_FORM, formatDuration, parseDuration } from "./duration.ts";
import { parseDomain, parseIp, parsePort } from "./names.ts";
import { formatSize, parseSize, SIZE_FORM } from "./size.ts";

/** Milliseconds. */
export const DAY = 24 * 3600 * 1000;

/** A value that `read` accepts; any other is refused with what is `allowed`. */
export function value<T>(allowed: string, read: (input: unknown) => T | undefined) {
  return z.unknown().transform((input, context): T => {
    const output = read(input);
    if (output !== undefined) return output;
    context.issues.push({ code: "custom", message: `must be ${allowed}`, input });
    return z.NEVER;
  });
}

/** A whole number. */
export function integer(min: number, max: number) {
  return value(
    `a whole number from ${min} to ${max}`,
    (input) =>
      Number.isInteger(input) && Number(input) >= min && Number(input) <= max ? Number(input) : undefined,
  );
}

/** A size in octets, such as "50MiB". */
export function size(min: number) {
  return value(`${SIZE_FORM}, at least ${formatSize(min)}`, (input) => atLeast(min, parseSize(input)));
}

/** A duration in milliseconds, such as "90s", from a second to `max`. */
export function duration(max: number, min = 1000) {
  return value(`${DURATION_FORM}, from ${formatDuration(min)} to ${formatDuration(max)}`, (input) => {
    const ms = atLeast(min, parseDuration(input));
    return ms !== undefined && ms <= max ? ms : undefined;
  });
}

function atLeast(min: number, number: number | undefined): number | undefined {
  return number !== undefined && number >= min ? number : undefined;
}

/** One of these words. */
export function oneOf<const T extends string>(...words: T[]) {
  const listed = `one of ${words.map((word) => `"${word}"`).join(", ")}`;
  return value(listed, (input) => words.find((word) => word === input));
}

/** Whether it is a string without control characters. */
export function noControls(input: unknown): input is string {
  // deno-lint-ignore no-control-regex
  return typeof input === "string" && !/[\u0000-\u001f\u007f-\u009f]/.test(input);
}

/** The absolute path; `undefined` where it is none. */
export function absolute(input: unknown): string | undefined {
  return noControls(input) && isAbsolute(input) ? input : undefined;
}

/** `true` or `false`. */
export const flag = value("true or false", (input) => typeof input === "boolean" ? input : undefined);
/** An absolute path. */
export const path = value('an absolute path, such as "/var/lib/mailapp"', absolute);
/** An absolute path, or nothing. */
export const pathOrEmpty = value(
  'an absolute path, or "" for none',
  (input) => input === "" ? "" : absolute(input),
);
/** Where the log may go. */
export const logFile = value(
  'an absolute path, not in /dev, /proc or /sys, or "" for standard error',
  // Paths that a confined server cannot access.
  (input) => input === "" ? "" : /^\/(?:dev|proc|sys)\//.test(String(input)) ? undefined : absolute(input),
);
/** A port to listen on. */
export const port = value("a port, 0 to 65535 (0: any free one)", (input) => parsePort(input));
/** A port to connect to. */
export const targetPort = value("a port, 1 to 65535", (input) => parsePort(input, { min: 1 }));
/** A domain in its one spelling. */
export const domain = value('a domain, such as "example.com"', parseDomain);
/** How far TLS must go. */
export const tlsPolicy = oneOf(...TLS_POLICIES, "dane-only").transform((name): TlsPolicy =>
  // As Postfix calls it.
  name === "dane-only" ? "dane" : name
);
/** An IP address in its canonical form. */
export const listenAddress = value('an IP address, such as "192.0.2.1" or "2001:db8::1"', parseIp);

const LISTEN_FORM =
  '"auto", "any", the name of an interface, or a list of IP addresses, such as ["192.0.2.1", "2001:db8::1"]';

function listenWord(input: unknown): ListenConfig | undefined {
  if (input === "auto" || input === "any") return input;
  const address = parseIp(input);
  if (address !== undefined) return [address];
  // Linux allows 15 bytes without "/" and white space; what has a colon would be a mistyped address.
  return typeof input === "string" && /^[^\s/:]{1,15}$/.test(input) && !/^[\d.]+$/.test(input)
    ? input
    : undefined;
}

/** Where a server listens: a word, one address, or a list of them. */
export const listen = z.unknown().transform((input, context): ListenConfig => {
  if (!Array.isArray(input)) {
    const word = listenWord(input);
    if (word !== undefined) return word;
  } else if (input.length > 0) {
    const { data, error } = z.array(listenAddress).safeParse(input);
    if (data !== undefined) return [...new Set(data)];
    for (const { message, path } of error.issues) {
      context.issues.push({ code: "custom", message, input: input[Number(path[0])], path: [...path] });
    }
    return z.NEVER;
  }
  context.issues.push({ code: "custom", message: `must be ${LISTEN_FORM}`, input });
  return z.NEVER;
});

/**
 * A table with these keys and no others. The message of an unknown key is the list of the known ones, from which
 * load.ts picks the nearest.
 */
export function table<T extends z.ZodRawShape>(shape: T, form = "a table") {
  return z.strictObject(shape, {
    error: (issue) => issue.code === "unrecognized_keys" ? Object.keys(shape).join(" ") : `must be ${form}`,
  });
}

/** A list; `form` says of what, for messages. */
export function list<T extends z.ZodType>(item: T, form: string) {
  return z.array(item, { error: `must be a list of ${form}` });
}

/** The record's keys as `read` gives them; a key that it does not understand, or that comes twice, is refused. */
export function byName<T extends z.ZodType>(
  allowed: string,
  read: (name: string) => string | undefined,
  item: T,
) {
  return z.record(z.string(), item, { error: "must be a table" }).transform((input, context) => {
    const output: Record<string, z.output<T>> = {};
    for (const [name, entry] of Object.entries(input)) {
      const key = read(name);
      if (key === undefined) {
        context.issues.push({ code: "custom", message: `the key must be ${allowed}`, input, path: [name] });
      } else if (Object.hasOwn(output, key)) {
        context.issues.push({ code: "custom", message: `"${key}" is listed twice`, input, path: [name] });
      } else {
        Object.defineProperty(output, key, {
          value: entry,
          enumerable: true,
          configurable: true,
          writable: true,
        });
      }
    }
    return output;
  });
}
