/**
 * Whether receivers find the keys that mail is signed with.
 *
 * @module
 */
import { parseTagList } from "../../dkim/tag_list.ts";
import { failure, type Finding, ok, unanswered, warning } from "../finding.ts";
import type { World } from "../world.ts";

/** Checks the record of each key, and that mail of each domain is signed. */
export async function checkDkim(world: World): Promise<Finding[]> {
  const findings = await Promise.all(world.dkim.map((key) => checkKey(key, world)));
  // A key of a parent domain will do: DMARC accepts it as aligned.
  const unsigned = world.domains.filter((domain) =>
    !world.dkim.some((key) => `.${domain}`.endsWith(`.${key.domain}`))
  );
  return [
    ...findings,
    ...unsigned.map((domain) =>
      failure("dkim.unsigned", domain, {
        what: "its mail is not signed; large receivers refuse it or treat it as junk",
        next: `mailapp dkim new ${domain} makes a key and shows what to do with it.`,
      })
    ),
  ];
}

async function checkKey(
  { recordName, record }: World["dkim"][number],
  { resolver }: World,
): Promise<Finding> {
  const publish = `Publish the record that mailapp dns prints for ${recordName}.`;
  const answer = await resolver.txt(recordName);
  if (answer.kind === "failed") return unanswered("dkim", recordName, answer.reason);
  if (answer.kind !== "found") {
    return failure("dkim.missing", recordName, {
      what: "mail is signed with this key, but DNS does not have it: no signature verifies",
      next: publish,
    });
  }
  const [text = ""] = answer.records;
  if (answer.records.length > 1) {
    return failure("dkim.several", recordName, {
      what: `there are ${answer.records.length} records instead of one; receivers may use any of them`,
      next: `Keep only the one that mailapp dns prints.`,
    });
  }
  const [published, ours] = [parseTagList(text), parseTagList(record)];
  const key = published?.get("p")?.replaceAll(/\s/g, "");
  if (published === undefined || key === undefined || (published.get("v") ?? "DKIM1") !== "DKIM1") {
    return failure("dkim.syntax", recordName, {
      what: `${JSON.stringify(text)} is not a DKIM key`,
      next: publish,
    });
  }
  if (key === "") {
    return failure("dkim.revoked", recordName, {
      what: "the record revokes this key (empty p=)",
      next: `Make another: mailapp dkim new, with another selector. Or: ${publish}`,
    });
  }
  if (key !== ours?.get("p") || (published.get("k") ?? "rsa") !== (ours.get("k") ?? "rsa")) {
    return failure("dkim.other-key", recordName, {
      what: "DNS has another key than the one that mail is signed with: no signature verifies",
      next: `${publish} Often a part is lost in pasting: compare its beginning and end.`,
    });
  }
  const unfit = [["h", "sha256"], ["s", "email"]].find(([tag = "", must]) => {
    const values = published.get(tag)?.split(":").map((value) => value.trim());
    return values !== undefined && !values.some((value) => value === must || (tag === "s" && value === "*"));
  });
  if (unfit !== undefined) {
    return failure("dkim.unfit", recordName, {
      what: `${unfit[0]}=${published.get(unfit[0] ?? "")} says that the key is not for this`,
      next: publish,
    });
  }
  if (published.get("t")?.split(":").some((flag) => flag.trim() === "y")) {
    return warning("dkim.testing", recordName, {
      what: "t=y says that the domain is only testing DKIM; receivers may ignore its signatures",
      next: "Remove t=y from the record.",
    });
  }
  return ok("dkim", recordName, "the key in use");
}
