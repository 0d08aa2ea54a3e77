/**
 * The MTA-STS policy of our domains (RFC 8461): the record, the policy as senders get it, and whether the MX hosts and the
 * certificate are as it promises.
 *
 * @module
 */
import { allowsMx, type Policy } from "../../mta_sts/policy.ts";
import { policyHostOf } from "../../mta_sts/own_policy.ts";
import { policyId } from "../../mta_sts/record.ts";
import type { MxRecord } from "../../dns/resolver.ts";
import { failure, type Finding, ok, unanswered, untested, warning } from "../finding.ts";
import type { OwnPolicy, Setup } from "../setup.ts";
import type { World } from "../world.ts";

/** What the check needs besides DNS. */
export type PolicySetup = Pick<Setup, "policy" | "fetchPolicy" | "certificate" | "clock">;

/** Checks the MTA-STS policy of each domain that promises one, or is configured to. */
export async function checkMtaSts(world: World, setup: PolicySetup): Promise<Finding[]> {
  return (await Promise.all(world.domains.map((domain) => checkDomain(domain, { world, setup })))).flat();
}

interface Inputs {
  readonly world: World;
  readonly setup: PolicySetup;
}

async function checkDomain(domain: string, { world, setup }: Inputs): Promise<Finding[]> {
  const { resolver } = world;
  const { policy: own } = setup;
  const name = `_mta-sts.${domain}`;
  const answer = await resolver.txt(name);
  if (answer.kind === "failed") return [unanswered("mta-sts", domain, answer.reason)];
  const records = answer.kind === "found"
    ? answer.records.filter((text) => /^v=STSv1[ \t]*(?:;|$)/.test(text))
    : [];
  const publish = `Publish: ${name}. TXT "${own?.record ?? "v=STSv1; id=1;"}"`;
  if (records.length === 0) {
    return own === undefined ? [] : [warning("mta-sts.record-missing", domain, {
      what: `[mta_sts] has a policy, and no record at ${name} says so: no sender looks for it`,
      next: `${publish}.`,
    })];
  }
  const id = policyId(records);
  if (id === undefined) {
    return [failure("mta-sts.syntax", domain, {
      what: `${name} must have one record of the form "v=STSv1; id=1;", and has ${
        records.map((text) => JSON.stringify(text)).join(", ")
      }`,
      next: own === undefined ? "Fix it, or remove it." : `${publish}.`,
    })];
  }
  const fetched = await setup.fetchPolicy(domain);
  if ("failure" in fetched) return [notFetched(domain, { ...fetched, own, name })];
  const findings = [
    ...await comparePolicy(domain, { policy: fetched.policy, world, setup }),
    ...compareOwn(domain, { text: fetched.text, id, own, publish }),
  ];
  if (findings.length > 0) return findings;
  const { mode } = fetched.policy;
  if (mode === "none") {
    return [untested("mta-sts", domain, { what: "the policy is switched off (mode: none)" })];
  }
  return [ok("mta-sts", domain, `mode ${mode}`)];
}

function notFetched(
  domain: string,
  { failure: kind, why, own, name }: {
    readonly failure: string;
    readonly why: string;
    readonly own: OwnPolicy | undefined;
    readonly name: string;
  },
): Finding {
  const host = policyHostOf(domain);
  if (kind === "sts-policy-invalid") {
    return failure("mta-sts.policy-syntax", domain, {
      what: `what senders get is no policy: ${why}`,
      next: "Put there what mailapp dns --policy prints.",
    });
  }
  if (kind === "sts-webpki-invalid") {
    return failure("mta-sts.policy-certificate", domain, {
      what: `senders do not take the policy, since the certificate of ${why}`,
      next: own?.served
        ? `[tls] needs a certificate of an authority for ${host}, too; with [tls.acme]: mailapp certificate renew.`
        : `The web server needs a certificate for ${host}.`,
    });
  }
  return failure("mta-sts.policy-missing", domain, {
    what: `${name} promises a policy, and senders do not get it: ${why}`,
    next: own?.served
      ? `Does ${host} lead here, does serve-policy run (mailapp healthcheck serve-policy), is port 443 open from outside?`
      : "Serve it over HTTPS, or remove the record.",
  });
}

/** Whether senders that keep the policy can deliver. */
async function comparePolicy(
  domain: string,
  { policy, world, setup }: Inputs & { readonly policy: Policy },
): Promise<Finding[]> {
  if (policy.mode === "none") return [];
  const enforced = policy.mode === "enforce";
  const report = enforced ? failure : warning;
  const consequence = enforced ? "senders keep their mail" : "senders would keep their mail under enforce";
  const { hostname, resolver } = world;
  const findings: Finding[] = [];
  const answer = await resolver.mx(domain);
  const exchanges = answer.kind === "found"
    ? answer.records.map(({ exchange }: MxRecord) => exchange)
    : [hostname];
  const missing = exchanges.filter((host) => host !== "." && !allowsMx(policy, host));
  if (missing.length > 0) {
    findings.push(report("mta-sts.policy-mx", domain, {
      what: `the policy lists ${policy.mx.join(", ")}, and not ${missing.join(", ")}: ${consequence}`,
      next:
        "Put each MX host into the policy ([mta_sts] mx), and publish the new id, which mailapp dns prints.",
    }));
  }
  const defect = certificateDefect(hostname, setup);
  if (defect !== undefined) {
    findings.push(report("mta-sts.certificate", domain, {
      what: `the policy asks senders to verify the certificate of STARTTLS, and ${defect}: ${consequence}`,
      next: enforced
        ? 'Get one from an authority ([tls.acme]); until then: mode = "testing" in [mta_sts].'
        : "Get one from an authority ([tls.acme]) before the mode becomes enforce.",
    }));
  }
  return findings;
}

/** What senders would not accept in the certificate; `undefined` also where it cannot be read. */
function certificateDefect(hostname: string, { certificate, clock }: PolicySetup): string | undefined {
  if (certificate.kind !== "known") return undefined;
  const leaf = certificate.pair?.leaf;
  if (leaf === undefined) return "there is no certificate";
  if (leaf.validToDate.getTime() <= clock.now()) return "the certificate has expired";
  if (leaf.checkHost(hostname) === undefined) return `the certificate is not for ${hostname}`;
  return leaf.issuer === leaf.subject ? "the certificate is self-signed" : undefined;
}

/** Whether senders get the policy of the configuration. */
function compareOwn(
  domain: string,
  { text, id, own, publish }: {
    readonly text: string;
    readonly id: string;
    readonly own: OwnPolicy | undefined;
    readonly publish: string;
  },
): Finding[] {
  if (own === undefined) return [];
  // A file may end its lines otherwise.
  const same = (text: string) => text.trimEnd().split(/\r?\n/).join("\n");
  if (same(text) !== same(own.text)) {
    return [warning("mta-sts.policy-other", domain, {
      what: "senders get another policy than that of [mta_sts]",
      next: own.served
        ? "systemctl reload mailapp-policy, if the configuration is newer than the server."
        : "Put there what mailapp dns --policy prints.",
    })];
  }
  if (id === own.id) return [];
  return [warning("mta-sts.id", domain, {
    what:
      `the record has the id ${id}, and the policy now has ${own.id}: senders that have an older one keep it`,
    next: `${publish}.`,
  })];
}
