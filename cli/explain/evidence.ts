/**
 * What a decision was made by, as the log has it, so that it can be made again.
 *
 * @module
 */
import type { ArcFinding, DkimFinding } from "../../checks/judgement.ts";
import { type LoggedAnswer, LoggedResolver, readAnswer } from "../../dns/noted_answers.ts";
import type { Resolver } from "../../dns/resolver.ts";
import type { LoggedEvent } from "../../observe/log_lines.ts";
import { readSts, type StsPolicies } from "../../relay/sts_rule.ts";

/** The findings about a message that only the message itself could give. */
export interface MessageEvidence {
  /** The domain of its author, where the log has it. */
  readonly author?: string;
  /** Its signatures. */
  readonly dkim: readonly DkimFinding[];
  /** Its chain of ARC sets. */
  readonly arc?: ArcFinding;
}

/** What DNS said at that time. */
export interface DnsEvidence {
  /** Answers as then. */
  readonly resolver: Resolver;
  /** The MTA-STS policies that were obeyed. */
  readonly policies: StsPolicies;
  /** Whether the log has all of it: answers that are too long or too many are cut. */
  readonly isWhole: boolean;
}

type Fields = LoggedEvent["fields"];

/** The signatures and the chain of a message. */
export function messageEvidence(fields: Fields): MessageEvidence {
  const { author, arc, arc_sealer: sealer } = fields;
  return {
    ...(typeof author === "string" && { author }),
    dkim: textsOf(fields["dkim"]).map((text) => {
      const [result = "", domain] = text.split(" ");
      return { result, ...(domain !== undefined && { domain }) };
    }),
    ...(typeof arc === "string" && {
      arc: { result: arc, ...(typeof sealer === "string" && { sealer }) },
    }),
  };
}

/**
 * The answers of DNS that an event has; `undefined` if it has none.
 * @param options `lists`: zones of DNS lists; those that were asked are known to have been in use
 */
export function dnsEvidence(
  fields: Fields,
  { lists = [] }: { readonly lists?: readonly string[] } = {},
): DnsEvidence | undefined {
  const lines = textsOf(fields["answers"]);
  if (lines.length === 0) return undefined;
  const answers: LoggedAnswer[] = [];
  const policies = new Map<string, Awaited<ReturnType<StsPolicies["find"]>>>();
  let isWhole = true;
  for (const line of lines) {
    const answer = readAnswer(line);
    if (answer !== undefined) {
      answers.push(answer);
      continue;
    }
    const policy = readSts(line);
    if (policy?.kind === "policy") policies.set(policy.kept.domain, policy);
    else if (!line.startsWith("MTA-STS failed")) isWhole = false;
  }
  const used = lists.filter((zone) => answers.some(({ query }) => query.name.endsWith(`.${zone}`)));
  return {
    resolver: new LoggedResolver([...answers, ...used.map(testEntry)]),
    policies: { find: (domain) => policies.get(domain) ?? { kind: "none" } },
    isWhole,
  };
}

/** The entry by which a list shows that it is alive (RFC 5782 §5). */
function testEntry(zone: string): LoggedAnswer {
  return {
    query: { type: "A", name: `2.0.0.127.${zone}` },
    answer: { kind: "found", records: ["127.0.0.2"], authenticated: false },
  };
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : typeof value === "string" ? [value] : [];
}
