/**
 * The header section as DKIM signs it: which fields, in which order, and in relaxed form (RFC 6376 §3.4.2, §5.4).
 *
 * @module
 */

/** A header field in relaxed form. */
export interface RelaxedField {
  /** In lower case. */
  readonly name: string;
  /** Name, colon and value without the CRLF at the end; one character a byte. */
  readonly text: string;
}

/**
 * A field in relaxed form; `undefined` for what is no field.
 * @param field name, colon and value, with or without the CRLF at the end; one character a byte
 */
export function relaxField(field: string): RelaxedField | undefined {
  const colon = field.indexOf(":");
  // Only space and tab are white space here: a byte that is a no-break space in Latin-1 is part of a word.
  const [, name] = /^([!-9;-~]+)[ \t]*$/.exec(field.slice(0, Math.max(colon, 0))) ?? [];
  if (name === undefined) return undefined;
  const value = field.slice(colon + 1).replaceAll("\r\n", "").replace(/[ \t]+/g, " ").replace(/^ | $/g, "");
  const lower = name.toLowerCase();
  return { name: lower, text: `${lower}:${value}` };
}

/**
 * How a field is signed. `always`: once more than it is there, so that none can be added (oversigning, RFC 6376
 * §8.15). `present`: the same, if it is there. `as-is`: as often as it is there; lists and resenders may add more.
 */
type Rule = "always" | "present" | "as-is";

/** What is signed. Not what is changed on the way (Received, Return-Path), and not what nobody shows. */
const RULES: readonly (readonly [name: string, rule: Rule])[] = [
  ["From", "always"],
  ["Reply-To", "always"],
  ["To", "always"],
  ["Cc", "always"],
  ["Subject", "always"],
  ["Date", "always"],
  ["Message-ID", "always"],
  ["Sender", "present"],
  ["In-Reply-To", "present"],
  ["References", "present"],
  ["MIME-Version", "present"],
  ["Content-Type", "present"],
  ["Content-Transfer-Encoding", "present"],
  ["Content-Disposition", "present"],
  ["Content-Language", "present"],
  ["Auto-Submitted", "present"],
  ["Resent-Date", "as-is"],
  ["Resent-From", "as-is"],
  ["Resent-Sender", "as-is"],
  ["Resent-To", "as-is"],
  ["Resent-Cc", "as-is"],
  ["Resent-Message-ID", "as-is"],
  ["List-Id", "as-is"],
  ["List-Help", "as-is"],
  ["List-Unsubscribe", "as-is"],
  // Gmail and Yahoo heed it only where it is signed (RFC 8058 §4).
  ["List-Unsubscribe-Post", "as-is"],
  ["List-Subscribe", "as-is"],
  ["List-Post", "as-is"],
  ["List-Owner", "as-is"],
  ["List-Archive", "as-is"],
  ["Feedback-ID", "as-is"],
];

const SIGNED = new Set(RULES.map(([name]) => name.toLowerCase()));

/** Whether a field of this name, in lower case, is signed. */
export function isSigned(name: string): boolean {
  return SIGNED.has(name);
}

/** The names for `h=`, in order, for a message with these fields. */
export function signedNames(fields: readonly RelaxedField[]): string[] {
  const counts = new Map<string, number>();
  for (const { name } of fields) counts.set(name, (counts.get(name) ?? 0) + 1);
  return RULES.flatMap(([name, rule]) => {
    const count = counts.get(name.toLowerCase()) ?? 0;
    const more = rule === "always" || (rule === "present" && count > 0) ? 1 : 0;
    return Array<string>(count + more).fill(name);
  });
}

/**
 * What is signed: for each name of `h=` the field of that name that is next from below, none where there are no more,
 * and at the end the DKIM-Signature field with an empty `b=` (RFC 6376 §3.7, §5.4.2).
 */
export function signingInput(
  fields: readonly RelaxedField[],
  { names, signature }: { readonly names: readonly string[]; readonly signature: string },
): string {
  const left = new Map<string, string[]>();
  for (const { name, text } of fields) {
    const texts = left.get(name) ?? [];
    if (texts.length === 0) left.set(name, texts);
    texts.push(text);
  }
  const lines = names.flatMap((name) => left.get(name.toLowerCase())?.pop() ?? []);
  return [...lines, relaxField(signature)?.text ?? ""].join("\r\n");
}
