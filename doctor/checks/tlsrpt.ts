/**
 * TLSRPT (RFC 8460), if it is published.
 *
 * @module
 */
import { parseTagList } from "../../dkim/tag_list.ts";
import { failure, type Finding, ok, unanswered } from "../finding.ts";
import type { World } from "../world.ts";
import { isMailto } from "./dmarc.ts";

/** Checks the TLSRPT record of each domain that has one. */
export async function checkTlsRpt(world: World): Promise<Finding[]> {
  return (await Promise.all(world.domains.map((domain) => checkReports(domain, world)))).flat();
}

async function checkReports(domain: string, { resolver }: World): Promise<Finding[]> {
  const name = `_smtp._tls.${domain}`;
  const answer = await resolver.txt(name);
  if (answer.kind === "failed") return [unanswered("tlsrpt", domain, answer.reason)];
  if (answer.kind !== "found") return [];
  const [record = "", second] = answer.records;
  const rua = /^v=TLSRPTv1\s*;/.test(record) ? parseTagList(record)?.get("rua") ?? "" : "";
  const good = rua !== "" &&
    rua.split(",").every((uri) => isMailto(uri) || /^\s*https:\/\/\S+\s*$/i.test(uri));
  if (good && second === undefined) return [ok("tlsrpt", domain, rua)];
  return [failure("tlsrpt.syntax", domain, {
    what: `${name} has ${answer.records.map(quote).join(", ")}, to which no reports can be sent`,
    next: `Publish: ${name}. TXT "v=TLSRPTv1; rua=mailto:postmaster@${domain}"`,
  })];
}

function quote(text: string): string {
  return JSON.stringify(text);
}
