/**
 * MTA-STS (RFC 8461) and TLSRPT (RFC 8460), if they are published.
 *
 * @module
 */
import { parseTagList } from "../../dkim/tag_list.ts";
import { failure, type Finding, ok, unanswered, untested } from "../finding.ts";
import type { World } from "../world.ts";
import { isMailto } from "./dmarc.ts";
import { errorText } from "../../base/error_text.ts";

/** Gets the text of a web page, at most 64 KiB; throws if there is none. */
export type FetchText = (url: string) => Promise<string>;

/** Checks the MTA-STS policy of each domain that promises one. */
export async function checkMtaSts(world: World, fetchText: FetchText): Promise<Finding[]> {
  const checks = world.domains.map((domain) => checkPolicy(domain, { world, fetchText }));
  return (await Promise.all(checks)).flat();
}

/** Checks the TLSRPT record of each domain that has one. */
export async function checkTlsRpt(world: World): Promise<Finding[]> {
  return (await Promise.all(world.domains.map((domain) => checkReports(domain, world)))).flat();
}

async function checkPolicy(
  domain: string,
  { world, fetchText }: { readonly world: World; readonly fetchText: FetchText },
): Promise<Finding[]> {
  const { resolver, hostname } = world;
  const name = `_mta-sts.${domain}`;
  const answer = await resolver.txt(name);
  if (answer.kind === "failed") return [unanswered("mta-sts", domain, answer.reason)];
  const records = answer.kind === "found"
    ? answer.records.filter((text) => /^v=STSv1\s*(?:;|$)/.test(text))
    : [];
  const [record, second] = records;
  if (record === undefined) return [];
  const id = parseTagList(record)?.get("id") ?? "";
  if (second !== undefined || !/^[a-zA-Z0-9]{1,32}$/.test(id)) {
    return [failure("mta-sts.syntax", domain, {
      what: `${name} must have one record of the form "v=STSv1; id=1", and has ${
        records.map(quote).join(", ")
      }`,
      next: "Fix it, or remove it.",
    })];
  }
  const url = `https://mta-sts.${domain}/.well-known/mta-sts.txt`;
  let policy: string;
  try {
    policy = await fetchText(url);
  } catch (error) {
    const reason = errorText(error);
    return [failure("mta-sts.policy-missing", domain, {
      what: `${name} promises a policy, and ${url} does not have it: ${reason}`,
      next: "Serve it over HTTPS, or remove the record.",
    })];
  }
  const values = (key: string) =>
    policy.split(/\r?\n/).flatMap((line) => {
      const colon = line.indexOf(":");
      return line.slice(0, colon).trim() === key ? [line.slice(colon + 1).trim()] : [];
    });
  const [mode = ""] = values("mode");
  if (values("version")[0] !== "STSv1" || !["testing", "enforce", "none"].includes(mode)) {
    return [failure("mta-sts.policy-syntax", domain, {
      what: `${url} is no policy: it needs the lines version: STSv1, mode:, mx: and max_age:`,
      next: "Fix it; mailapp dns says how it must be.",
    })];
  }
  const covers = values("mx").some((pattern) =>
    pattern.toLowerCase() === hostname ||
    (pattern.startsWith("*.") && hostname.replace(/^[^.]+\./, "") === pattern.slice(2).toLowerCase())
  );
  if (mode !== "none" && !covers) {
    return [failure("mta-sts.policy-mx", domain, {
      what: `${url} names ${
        values("mx").join(", ") || "no mx"
      }, and not ${hostname}: senders keep their mail`,
      next: `Put mx: ${hostname} into it, and change the id in ${name}.`,
    })];
  }
  if (mode === "none") {
    return [untested("mta-sts", domain, { what: "the policy is switched off (mode: none)" })];
  }
  return [ok("mta-sts", domain, `mode ${mode}`)];
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
    what: `${name} has ${answer.records.map(quote).join(", ")}, which reports cannot be sent by`,
    next: `Publish: ${name}. TXT "v=TLSRPTv1; rua=mailto:postmaster@${domain}"`,
  })];
}

function quote(text: string): string {
  return JSON.stringify(text);
}
