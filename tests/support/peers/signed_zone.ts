/**
 * Zones signed with DNSSEC, by BIND's tools.
 *
 * @module
 */
import type { Folder } from "./folder.ts";
import { runOk } from "./process.ts";

/** A signed zone. */
export interface SignedZone {
  /** The zone file. */
  readonly file: string;
  /** The DS record that anchors it, for a validating resolver. */
  readonly anchor: string;
}

/** Signs a zone with these records; SOA and NS are put on top. */
export async function signZone(
  folder: Folder,
  zone: string,
  records: readonly string[],
): Promise<SignedZone> {
  const plain = await folder.write(`${zone}.zone`, zoneText(records));
  const keys = await folder.mkdir(`${zone}.keys`);
  for (const flags of [["-f", "KSK"], []]) {
    await runOk("dnssec-keygen", { args: ["-q", "-K", keys, "-a", "ECDSAP256SHA256", ...flags, zone] });
  }
  const file = folder.at(`${zone}.signed`);
  await runOk("dnssec-signzone", {
    args: ["-q", "-S", "-K", keys, "-o", zone, "-f", file, plain],
    cwd: folder.path,
  });
  return { file, anchor: (await Deno.readTextFile(folder.at(`dsset-${zone}.`))).split("\n")[0] ?? "" };
}

/** A zone file with these records, of a name server at 127.0.0.5. */
export function zoneText(records: readonly string[]): string {
  const head = ["$TTL 60", "@ SOA ns hostmaster 1 3600 600 86400 60", "@ NS ns", "ns A 127.0.0.5"];
  return [...head, ...records, ""].join("\n");
}
