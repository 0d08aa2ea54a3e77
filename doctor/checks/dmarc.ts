/**
 * Whether the domains have a DMARC policy (RFC 9989).
 *
 * @module
 */
import { parseTagList } from "../../dkim/tag_list.ts";
import { dmarcRecords } from "../../dmarc/record.ts";
import { walkNames } from "../../dmarc/tree_walk.ts";
import { failure, type Finding, ok, unanswered } from "../finding.ts";
import type { World } from "../world.ts";

const POLICIES = ["none", "quarantine", "reject"];

/** Checks the DMARC record of each domain that mail is sent for; one of a parent domain will do. */
export async function checkDmarc(world: World): Promise<Finding[]> {
  const domains = new Set([...world.domains, ...world.dkim.map(({ domain }) => domain)]);
  return await Promise.all(Array.from(domains, (domain) => checkDomain(domain, world)));
}

async function checkDomain(domain: string, { resolver }: World): Promise<Finding> {
  const publish = `Publish: _dmarc.${domain}. TXT "v=DMARC1; p=none"`;
  // A top-level domain's record does not apply to our domains.
  for (const at of walkNames(domain).filter((name) => name === domain || name.includes("."))) {
    const name = `_dmarc.${at}`;
    const answer = await resolver.txt(name);
    if (answer.kind === "failed") return unanswered("dmarc", domain, answer.reason);
    const texts = answer.kind === "found" ? answer.records : [];
    const records = dmarcRecords(texts);
    const [record, second] = records;
    if (second !== undefined) {
      return failure("dmarc.several", domain, {
        what: `${name} has ${records.length} DMARC records, so none applies`,
        next: "Keep one of them.",
      });
    }
    if (record !== undefined) return checkRecord(record, { domain, publish });
    const [text] = texts;
    if (at === domain && text !== undefined) {
      return failure("dmarc.syntax", domain, {
        what: `${name} has ${
          JSON.stringify(text)
        }, which is not a DMARC record: it must begin with v=DMARC1;`,
        next: publish,
      });
    }
  }
  return failure("dmarc.missing", domain, {
    what: "there is no DMARC record; large receivers require one from bulk senders",
    next: publish,
  });
}

function checkRecord(record: string, { domain, publish }: { domain: string; publish: string }): Finding {
  const tags = parseTagList(record);
  const policy = tags?.get("p");
  const wrong = tags === undefined
    ? "it cannot be read"
    : policy === undefined
    ? "it has no p="
    : !POLICIES.includes(policy.toLowerCase())
    ? `p=${policy} is none of ${POLICIES.join(", ")}`
    : ["rua", "ruf"].some((tag) => tags.has(tag) && !isMailto(tags.get(tag) ?? ""))
    ? "reports go to addresses of the form mailto:name@domain"
    : undefined;
  if (wrong === undefined) return ok("dmarc", domain, record);
  return failure("dmarc.syntax", domain, {
    what: `the DMARC record ${JSON.stringify(record)} is invalid: ${wrong}`,
    next: publish,
  });
}

/** Whether it is a list of addresses to report to. */
export function isMailto(value: string): boolean {
  return value.split(",").every((uri) => /^\s*mailto:[^@\s]+@[^@\s]+\s*$/i.test(uri));
}
