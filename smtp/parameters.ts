/**
 * Parameters of MAIL and RCPT (RFC 5321 §4.1.2 `Mail-parameters`), and what the known ones mean.
 *
 * @module
 */
import type { BodyType, DsnOptions, Notify, OriginalRecipient } from "./envelope.ts";
import { reply, SmtpError } from "./reply.ts";

/** Parameters by keyword in upper case; `undefined` for a keyword without a value. */
export type Parameters = ReadonlyMap<string, string | undefined>;

const KEYWORD = /^[A-Za-z0-9][A-Za-z0-9-]*$/;
// esmtp-value: no control character, space or "="; RFC 6531 §3.3 adds the rest of Unicode.
const VALUE = /^[!-<>-~\u00a0-\u{10ffff}]+$/u;

/** The parameters are not what their grammar says: 501. */
function malformed(text: string): SmtpError {
  return new SmtpError(reply(501, "5.5.4", text));
}

/**
 * Reads what follows a path: nothing, or a space and keywords with values.
 * @throws {SmtpError} 501 with what is wrong
 */
export function parseParameters(text: string): Parameters {
  const parameters = new Map<string, string | undefined>();
  if (text.trimEnd() === "") return parameters;
  if (!text.startsWith(" ")) throw malformed("Put a space between the address and its parameters");
  for (const part of text.split(" ")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const keyword = (equals < 0 ? part : part.slice(0, equals)).toUpperCase();
    const value = equals < 0 ? undefined : part.slice(equals + 1);
    if (!KEYWORD.test(keyword) || (value !== undefined && !VALUE.test(value))) {
      throw malformed("Syntax of a parameter: KEYWORD or KEYWORD=value");
    }
    if (parameters.has(keyword)) throw malformed(`${keyword} is given twice`);
    parameters.set(keyword, value);
  }
  return parameters;
}

/** An unknown parameter (RFC 5321 §4.1.1.11): 555. */
function unknown(keyword: string): SmtpError {
  return new SmtpError(reply(555, "5.5.4", `${keyword.slice(0, 40)} is not a known parameter`));
}

/** What MAIL's parameters say. */
export interface MailParameters {
  readonly body: BodyType;
  readonly smtputf8: boolean;
  readonly size?: number;
  readonly dsn?: DsnOptions;
  readonly requireTls?: true;
}

/**
 * Reads MAIL's parameters: SIZE, BODY, SMTPUTF8, with the DSN extension RET and ENVID, where it is taken REQUIRETLS (RFC
 * 8689), and with logins AUTH, whose value is not believed (RFC 4954 §5).
 * @throws {SmtpError} 501 or 555 with what is wrong
 */
export function mailParameters(
  parameters: Parameters,
  known: { readonly dsn: boolean; readonly auth?: boolean; readonly requireTls?: boolean },
): MailParameters {
  const { dsn, auth = false } = known;
  let requireTls = false;
  let body: BodyType = "7BIT";
  let smtputf8 = false;
  let size: number | undefined;
  let ret: "FULL" | "HDRS" | undefined;
  let envelopeId: string | undefined;
  for (const [keyword, value] of parameters) {
    if (keyword === "SIZE") {
      if (!/^\d{1,20}$/.test(value ?? "")) throw malformed("Syntax: SIZE=octets");
      size = Number(value);
    } else if (keyword === "BODY") {
      const type = value?.toUpperCase();
      if (type !== "7BIT" && type !== "8BITMIME") throw malformed("Syntax: BODY=7BIT or BODY=8BITMIME");
      body = type;
    } else if (keyword === "SMTPUTF8") {
      if (value !== undefined) throw malformed("SMTPUTF8 has no value");
      smtputf8 = true;
    } else if (known.requireTls && keyword === "REQUIRETLS") {
      if (value !== undefined) throw malformed("REQUIRETLS has no value");
      requireTls = true;
    } else if (auth && keyword === "AUTH") {
      if (value !== "<>" && decodeXtext(value ?? "") === undefined) {
        throw malformed("Syntax: AUTH=<> or AUTH=address in xtext");
      }
    } else if (dsn && keyword === "RET") {
      const what = value?.toUpperCase();
      if (what !== "FULL" && what !== "HDRS") throw malformed("Syntax: RET=FULL or RET=HDRS");
      ret = what;
    } else if (dsn && keyword === "ENVID") {
      // RFC 3461 §5.4: at most 100 characters.
      if (value === undefined || value.length > 100) {
        throw malformed("Syntax: ENVID=xtext, at most 100 characters");
      }
      envelopeId = decodeXtext(value);
      if (envelopeId === undefined) throw malformed("Syntax: ENVID=xtext, at most 100 characters");
    } else throw unknown(keyword);
  }
  const options: DsnOptions = {
    ...(ret === undefined ? {} : { ret }),
    ...(envelopeId === undefined ? {} : { envelopeId }),
  };
  return {
    body,
    smtputf8,
    ...(size === undefined ? {} : { size }),
    ...(Object.keys(options).length === 0 ? {} : { dsn: options }),
    ...(requireTls && { requireTls }),
  };
}

/** What RCPT's parameters say. */
export interface RecipientParameters {
  readonly notify?: Notify;
  readonly originalRecipient?: OriginalRecipient;
}

const NOTIFY = ["NEVER", "SUCCESS", "FAILURE", "DELAY"] as const;

/**
 * Reads RCPT's parameters: with the DSN extension NOTIFY and ORCPT, else none.
 * @throws {SmtpError} 501 or 555 with what is wrong
 */
export function recipientParameters(
  parameters: Parameters,
  { dsn, smtputf8 }: { readonly dsn: boolean; readonly smtputf8: boolean },
): RecipientParameters {
  let notify: Notify | undefined;
  let originalRecipient: OriginalRecipient | undefined;
  for (const [keyword, value] of parameters) {
    if (dsn && keyword === "NOTIFY") {
      notify = parseNotify(value);
    } else if (dsn && keyword === "ORCPT") {
      originalRecipient = parseOriginalRecipient(value, smtputf8);
    } else throw unknown(keyword);
  }
  return {
    ...(notify === undefined ? {} : { notify }),
    ...(originalRecipient === undefined ? {} : { originalRecipient }),
  };
}

function parseNotify(value: string | undefined): Notify {
  const wanted: (typeof NOTIFY)[number][] = [];
  for (const word of (value ?? "").toUpperCase().split(",")) {
    const known = NOTIFY.find((name) => name === word);
    if (!known) throw malformed("Syntax: NOTIFY=NEVER, or a list of SUCCESS,FAILURE,DELAY");
    if (!wanted.includes(known)) wanted.push(known);
  }
  if (wanted.includes("NEVER") && wanted.length > 1) {
    throw malformed("NOTIFY=NEVER cannot be combined with others");
  }
  return wanted;
}

function parseOriginalRecipient(value: string | undefined, smtputf8: boolean): OriginalRecipient {
  const [, type, encoded] = /^([A-Za-z0-9-]{1,40});(.{1,500})$/su.exec(value ?? "") ?? [];
  if (type === undefined || encoded === undefined) throw malformed("Syntax: ORCPT=rfc822;xtext");
  const kind = type.toLowerCase();
  // deno-lint-ignore no-control-regex
  if (!smtputf8 && /[^\u0000-\u007f]/.test(encoded)) {
    throw malformed("ORCPT has non-ASCII characters without SMTPUTF8");
  }
  const address = kind === "utf-8" ? decodeUtf8Address(encoded) : decodeXtext(encoded);
  if (address === undefined) throw malformed("ORCPT is not encoded as RFC 3461 says");
  return { type: kind, address };
}

// What is decoded goes into notices and on to other servers: printable only.
const PRINTABLE = /^[ -~\u00a0-\u2027\u202a-\u{10ffff}]*$/u;

/** Decodes xtext (RFC 3461 §4); `undefined` when it is none, or hides a control character. */
export function decodeXtext(text: string): string | undefined {
  if (!/^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/.test(text)) return undefined;
  const decoded = text.replace(
    /\+([0-9A-F]{2})/g,
    (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
  );
  return /^[ -~]*$/.test(decoded) ? decoded : undefined;
}

/** Encodes as xtext (RFC 3461 §4). The text is printable ASCII. */
export function encodeXtext(text: string): string {
  return text.replace(
    /[^!-*,-<>-~]/g,
    (character) => `+${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
  );
}

/** Decodes `utf-8-addr-xtext` and `utf-8-addr-unitext` (RFC 6533 §3). */
function decodeUtf8Address(text: string): string | undefined {
  let valid = true;
  const decoded = text.replace(/\\x\{([0-9A-F]{2,6})\}/g, (_, hex: string) => {
    const point = parseInt(hex, 16);
    if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) valid = false;
    return valid ? String.fromCodePoint(point) : "";
  });
  return valid && PRINTABLE.test(decoded) ? decoded : undefined;
}
