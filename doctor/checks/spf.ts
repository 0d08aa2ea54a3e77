/**
 * Whether SPF lets this server send for its domains.
 *
 * @module
 */
import { checkSpf } from "../../spf/check.ts";
import { spfRecords, spfSyntaxError } from "../../spf/record.ts";
import { failure, type Finding, ok, unanswered, untested, warning } from "../finding.ts";
import type { World } from "../world.ts";

/** Checks the SPF record of each domain that mail is sent for, and that of the server's name if it has one. */
export async function checkSpfRecords(world: World): Promise<Finding[]> {
  const domains = new Set([...world.domains, ...world.dkim.map(({ domain }) => domain)]);
  domains.delete(world.hostname);
  const findings = await Promise.all([
    ...Array.from(domains, (domain) => checkDomain(domain, { world, required: true })),
    checkDomain(world.hostname, { world, required: world.domains.includes(world.hostname) }),
  ]);
  return findings.flat();
}

async function checkDomain(
  domain: string,
  { world, required }: { readonly world: World; readonly required: boolean },
): Promise<Finding[]> {
  const { resolver, sending, smarthost } = world;
  const answer = await resolver.txt(domain);
  if (answer.kind === "failed") return [unanswered("spf", domain, answer.reason)];
  const records = answer.kind === "found" ? spfRecords(answer.records) : [];
  const [record] = records;
  if (record === undefined) {
    if (!required) return [];
    return [failure("spf.missing", domain, {
      what: "there is no SPF record, so receivers cannot tell our mail from forged mail",
      next: "Publish the one that mailapp dns prints.",
    })];
  }
  if (records.length > 1) {
    return [failure("spf.several", domain, {
      what: `there are ${records.length} SPF records, which is an error: ${records.map(quote).join(" and ")}`,
      next: "Make one record of them: all mechanisms between v=spf1 and the last all.",
    })];
  }
  const wrong = spfSyntaxError(record);
  if (wrong !== undefined) {
    return [failure("spf.syntax", domain, {
      what: `the SPF record ${quote(record)} cannot be read: ${wrong}`,
      next: "Publish the one that mailapp dns prints.",
    })];
  }
  if (smarthost !== undefined) {
    return [untested("spf", domain, {
      what: `mail leaves through ${smarthost}, from addresses that are not known here`,
      next: `Check that ${quote(record)} has the include: that its provider names.`,
    })];
  }
  return await evaluate(domain, { record, resolver, sending });
}

async function evaluate(
  domain: string,
  { record, resolver, sending }: Pick<World, "resolver" | "sending"> & { readonly record: string },
): Promise<Finding[]> {
  const verdicts = await Promise.all(sending.map(async (address) => ({
    address,
    ...await checkSpf({ ip: address, helo: domain, mailFrom: `postmaster@${domain}`, resolver }),
  })));
  const broken = verdicts.find(({ result }) => result === "permerror");
  if (broken !== undefined) {
    return [failure("spf.error", domain, {
      what: `the SPF record ${quote(record)} is an error: ${broken.reason}`,
      next: "Publish the one that mailapp dns prints, which needs no look-up.",
    })];
  }
  const unclear = verdicts.find(({ result }) => result === "temperror");
  if (unclear !== undefined) return [unanswered("spf", domain, unclear.reason ?? "no reason")];
  const refused = verdicts.filter(({ result }) => result !== "pass");
  if (refused.length > 0) {
    const addresses = refused.map(({ address }) => address).join(", ");
    const terms = refused.map(({ address }) => `ip${address.includes(":") ? 6 : 4}:${address}`).join(" ");
    return [failure("spf.refused", domain, {
      what: `SPF does not let ${addresses} send, from which our mail comes: ${quote(record)} says ` +
        `${refused[0]?.result} (${refused[0]?.reason})`,
      next: `Put ${terms} into the record, before its all.`,
    })];
  }
  if (/ \+?all(?: |$)/i.test(record)) {
    return [warning("spf.open", domain, {
      what: `${quote(record)} lets anyone send as the domain`,
      next: "Publish the one that mailapp dns prints.",
    })];
  }
  return [ok("spf", domain, record)];
}

function quote(text: string): string {
  return JSON.stringify(text);
}
