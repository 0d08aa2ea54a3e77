/**
 * JSON that shows whether it is as it was written.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { SpoolFormatError } from "./format_values.ts";

/** CRC-32 as eight lower-case hexadecimal digits. */
export function formatCheck(value: number): string {
  return value.toString(16).padStart(8, "0");
}

/**
 * JSON on one line that ends with a `check`: the CRC-32 of every character before its comma, so that no canonical form
 * is needed and what was read is what is checked.
 */
export function seal(value: Record<string, unknown>): string {
  const open = JSON.stringify(value).slice(0, -1);
  return open + sealOf(open);
}

/** {@linkcode seal} over several lines, for files that people read. */
export function sealPretty(value: Record<string, unknown>): string {
  const open = JSON.stringify(value, null, 2).slice(0, -2);
  return `${open},\n  "check": "${formatCheck(crc32(open))}"\n}\n`;
}

/** Whether a text is what {@linkcode seal} wrote, unchanged. */
export function isSealed(text: string): boolean {
  const comma = text.length - SEAL_LENGTH;
  return comma > 0 && text.endsWith(sealOf(text.slice(0, comma)));
}

function sealOf(open: string): string {
  return `,"check":"${formatCheck(crc32(open))}"}`;
}

const SEAL_LENGTH = sealOf("").length;

const CHECK = /^,\s*"check":\s*"([0-9a-f]{8})"\s*\}\s*$/;

/**
 * Reads what {@linkcode seal} wrote, also with the check removed by hand.
 * @throws {SpoolFormatError} when it is not a JSON object, or not as it was sealed
 */
export function unseal(text: string): Record<string, unknown> {
  // A check's value is short: it cannot stand further from the end than this.
  const comma = text.lastIndexOf(",", text.length - 1);
  const check = comma < 0 ? null : CHECK.exec(text.slice(comma));
  if (check !== null && formatCheck(crc32(text.slice(0, comma))) !== check[1]) {
    throw new SpoolFormatError("the check does not match: flipped bits, or edited without taking out check");
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new SpoolFormatError("not JSON: cut short or overwritten");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new SpoolFormatError("not a JSON object");
  }
  // Taken out by hand is one thing, spoilt is another.
  if (check === null && "check" in value) throw new SpoolFormatError("the check is not one");
  return value as Record<string, unknown>;
}
