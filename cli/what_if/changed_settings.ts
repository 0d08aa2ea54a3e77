/**
 * Which settings differ between two configurations, and which of them the log can tell of.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";
import { namesInFile } from "./setting_names.ts";

/** Settings whose effect on past mail is judged by its log; the rest is named. */
const JUDGED = [
  "serveIn.domains",
  "serveIn.maxMessageSize",
  "serveIn.maxRecipients",
  "serveIn.checks.dmarc",
  "serveIn.checks.trustedSealers",
  "mailboxes.",
  "serveOut.maxMessageSize",
  "serveOut.maxRecipients",
  "serveOut.expireAfterMs",
  "serveOut.routes",
  "serveOut.tlsPolicy",
  "serveSubmit.maxMessageSize",
  "serveSubmit.maxRecipients",
  "serveSubmit.sendAs",
];

/** The settings that differ, by their names in `Config`, such as `serveIn.checks.dmarc`. */
export function changedSettings(before: Config, after: Config): string[] {
  const changed: string[] = [];
  const compare = (one: unknown, other: unknown, path: string) => {
    if (JSON.stringify(one) === JSON.stringify(other)) return;
    const isTable = [one, other].every((value) =>
      typeof value === "object" && value !== null && !Array.isArray(value)
    );
    // Names of domains and people are values, not settings.
    if (!isTable || /\.(?:routes|tlsPolicy|aliases|sendAs)$/.test(path)) return void changed.push(path);
    const names = new Set([...Object.keys(one as object), ...Object.keys(other as object)]);
    for (const name of names) {
      compare(
        (one as Record<string, unknown>)[name],
        (other as Record<string, unknown>)[name],
        path === "" ? name : `${path}.${name}`,
      );
    }
  };
  const { file: _one, warnings: _some, ...left } = before;
  const { file: _other, warnings: _more, ...right } = after;
  compare(left, right, "");
  return changed.sort();
}

/** Those that nothing in the log tells of, by their names in the file. */
export function untried(
  changed: readonly string[],
  { before, after }: { readonly before: Config; readonly after: Config },
): string[] {
  const lists = "serveIn.checks.dnsLists";
  const left = changed.filter((name) => !JUDGED.some((judged) => name === judged || name.startsWith(judged)));
  // Of the lists that were asked the log has the answers.
  const asked = new Set(before.serveIn.checks.dnsLists.map(({ zone }) => zone));
  const added = after.serveIn.checks.dnsLists.filter(({ zone }) => !asked.has(zone));
  return [
    ...namesInFile(left.filter((name) => name !== lists)),
    ...added.map(({ zone }) => `serve-in.checks.dns_lists (${zone})`),
  ];
}
