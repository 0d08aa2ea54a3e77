/**
 * The records to publish as a zone file or as a table for a web form, and the PTR records to request.
 *
 * @module
 */
import { splitText } from "../dkim/keys.ts";
import { reverseName } from "../dns/name.ts";
import { wrap } from "../message/wrap.ts";
import type { ZoneRecord, ZoneSection } from "./zone.ts";

/** In seconds; short enough to correct a mistake. */
const TTL = 3600;

/** The name that an address should have in reverse DNS. */
export interface ReverseRecord {
  /** The address. */
  readonly address: string;
  /** Where the PTR record is, without the trailing dot. */
  readonly name: string;
  /** Its target, without the trailing dot. */
  readonly target: string;
}

/** The PTR records to request from the provider of the addresses. */
export function reverseRecords(addresses: readonly string[], hostname: string): ReverseRecord[] {
  return addresses.map((address) => ({ address, name: reverseName(address), target: hostname }));
}

/** The form of a record's data in a zone file. */
export function presentData({ type, data }: Pick<ZoneRecord, "type" | "data">): string {
  if (type !== "TXT") return data;
  const strings = splitText(data).map((text) => `"${text.replace(/["\\]/g, "\\$&")}"`);
  return strings.length === 1 ? strings.join("") : `( ${strings.join("\n    ")} )`;
}

/** The input for a zone file. */
export interface ZoneFileOptions {
  /** The server's name. */
  readonly hostname: string;
  /** The domains that have a zone. */
  readonly domains: readonly string[];
  /** In ISO form, for the serial number. */
  readonly date: string;
  /** The PTR records to request from the provider. */
  readonly reverse: readonly ReverseRecord[];
}

/** A zone file of absolute names (RFC 1035 §5). SOA and NS are separate, as an existing zone has its own. */
export function zoneFile(
  sections: readonly ZoneSection[],
  { hostname, domains, date, reverse }: ZoneFileOptions,
): string {
  const lines = [
    "; What to publish for mail. A zone that exists has SOA and NS of its own: leave those of this file out.",
    "; For a web form: mailapp dns --table",
    `$TTL ${TTL}`,
  ];
  const serial = `${date.slice(0, 10).replaceAll("-", "")}01`;
  // A domain below another one is part of that one's zone.
  const tops = domains.filter((domain) => !domains.some((other) => domain.endsWith(`.${other}`)));
  for (const domain of tops) {
    lines.push(
      "",
      `; only for a new zone ${domain}`,
      `${domain}. IN SOA ${hostname}. hostmaster.${domain}. ${serial} 7200 3600 1209600 3600`,
      `${domain}. IN NS ${hostname}.`,
    );
  }
  for (const { name, records, notes } of sections) {
    lines.push("", `; ---- ${name}`);
    for (const record of records) {
      lines.push(`; ${record.purpose}`, `${record.name}. IN ${record.type} ${presentData(record)}`);
    }
    for (const note of notes) lines.push(...comment(note));
  }
  if (reverse.length > 0) {
    lines.push(
      "",
      "; ---- reverse DNS: not part of this zone; ask whoever provides the addresses for these names",
      ...reverse.map(({ address, name, target }) => `; ${address} is ${target} (${name}. PTR ${target}.)`),
    );
  }
  return lines.map((line) => `${line}\n`).join("");
}

function tableValue({ type, data }: ZoneRecord): string {
  return type === "CNAME" ? data.replace(/\.$/, "") : data;
}

/** For a web form: one block per record, values whole and unquoted. */
export function zoneTable(
  sections: readonly ZoneSection[],
  { reverse }: { readonly reverse: readonly ReverseRecord[] },
): string {
  const lines: string[] = [];
  for (const { name, records, notes } of sections) {
    lines.push(`${name}`, "=".repeat(name.length), "");
    for (const record of records) {
      const [, priority, host] = record.type === "MX" ? /^(\d+) (.*)\.$/s.exec(record.data) ?? [] : [];
      const service = record.type === "SRV" ? record.data.split(" ") : [];
      lines.push(
        `${record.purpose}`,
        `  type      ${record.type}`,
        `  name      ${record.name}`,
        ...(priority === undefined ? [] : [`  priority  ${priority}`]),
        ...["priority", "weight", "port", "target"].flatMap((name, n) =>
          service[n] === undefined ? [] : [`  ${name.padEnd(8)}  ${service[n].replace(/(.)\.$/s, "$1")}`]
        ),
        ...(service.length > 0 ? [] : [`  value     ${host ?? tableValue(record)}`]),
        "",
      );
    }
    for (const note of notes) lines.push(...paragraphs(note, 100), "");
  }
  lines.push(
    "Names are whole; where the form adds the domain itself, leave it off: of the domain's own name @ is left.",
    "TTL: 3600, or the form's own.",
  );
  if (reverse.length > 0) {
    lines.push("", "Ask whoever provides the addresses for these names (reverse DNS):");
    for (const { address, target } of reverse) lines.push(`  ${address}  ${target}`);
  }
  return lines.map((line) => `${line}\n`).join("");
}

function comment(text: string): string[] {
  return paragraphs(text, 100).map((line) => `; ${line}`);
}

/** Wraps text at a width, keeping its line breaks. */
function paragraphs(text: string, width: number): string[] {
  return text.split("\n").flatMap((part) => part.startsWith(" ") ? [part] : wrap(part, { width }));
}
