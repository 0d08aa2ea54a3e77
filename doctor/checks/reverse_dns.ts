/**
 * Whether the addresses that mail is sent from have names that resolve back to them.
 *
 * @module
 */
import { failure, type Finding, ok, unanswered, warning } from "../finding.ts";
import { includesAddress, recordType, type World } from "../world.ts";

const MAX_NAMES = 10;

/** Checks forward-confirmed reverse DNS of each address that mail is sent from. */
export async function checkReverseDns(world: World): Promise<Finding[]> {
  return (await Promise.all(world.sending.map((address) => checkAddress(address, world)))).flat();
}

async function checkAddress(address: string, { hostname, resolver }: World): Promise<Finding[]> {
  const ask = `Ask the provider of the address (often in its control panel) to set its ` +
    `reverse DNS to ${hostname}.`;
  const answer = await resolver.ptr(address);
  if (answer.kind === "failed") return [unanswered("reverse", address, answer.reason)];
  if (answer.kind !== "found") {
    const instead = address.includes(":") ? ` Or send over IPv4 only: [serve-out] family = "ipv4".` : "";
    return [failure("reverse.missing", address, {
      what: "the address has no reverse DNS; large receivers refuse mail from it",
      next: ask + instead,
    })];
  }
  const names = answer.records.slice(0, MAX_NAMES);
  const confirmed: string[] = [];
  for (const name of names) {
    const forward = await (address.includes(":") ? resolver.aaaa(name) : resolver.a(name));
    if (forward.kind === "failed") return [unanswered("reverse", address, forward.reason)];
    if (forward.kind === "found" && includesAddress(forward.records, address)) confirmed.push(name);
  }
  if (confirmed.includes(hostname)) return [ok("reverse", address, hostname)];
  if (confirmed.length > 0) {
    return [warning("reverse.other-name", address, {
      what: `its reverse DNS is ${confirmed.join(", ")}, and this server calls itself ${hostname}`,
      next: `${ask} Or set hostname to ${confirmed[0]}.`,
    })];
  }
  // A server name that does not resolve to here is a finding already.
  if (names.includes(hostname)) return [];
  return [failure("reverse.unconfirmed", address, {
    what:
      `its reverse DNS is ${
        names.join(", ")
      }, which does not resolve back to it; large receivers refuse mail ` +
      "from such addresses",
    next: `${ask} ${hostname} needs the ${recordType(address)} record ${address}, too.`,
  })];
}
