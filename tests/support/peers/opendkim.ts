/**
 * OpenDKIM as a verifier that asks no DNS server.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { run } from "./process.ts";

/** A verdict on one signature. */
export interface DkimVerdict {
  /** `pass`, `fail`, … (RFC 8601 §2.7.1). */
  readonly result: string;
  /** `d=` of the signature. */
  readonly domain: string;
  /** `s=` of the signature. */
  readonly selector: string;
  /** `a=` of the signature. */
  readonly algorithm: string;
}

/**
 * What OpenDKIM says of each signature of a message, from the top.
 * @param records TXT records by name, as one text each
 * @throws {Error} when it says nothing, as for a message without a signature
 */
export async function verifyWithOpenDkim(
  message: Uint8Array,
  records: Readonly<Record<string, string>>,
): Promise<DkimVerdict[]> {
  await using folder = await makeFolder("opendkim");
  const dns = await folder.write(
    "records",
    Object.entries(records).map(([name, text]) => `${name} ${text}\n`).join(""),
  );
  const config = await folder.write("opendkim.conf", `Mode v\nSyslog no\nTestDNSData file:${dns}\n`);
  const file = await folder.write("message", message);
  const { stdout, stderr } = await run("opendkim", { args: ["-x", config, "-v", "-v", "-t", file] });
  const [, value = ""] = /hname='Authentication-Results' hvalue='([^']*)'/.exec(stdout) ?? [];
  const verdicts = value.split(";").flatMap((part) => {
    const [, result] = /^\s*dkim=(\w+)/.exec(part) ?? [];
    if (result === undefined) return [];
    const tag = (name: string) => new RegExp(String.raw`header\.${name}=(\S+)`).exec(part)?.[1] ?? "";
    return [{ result, domain: tag("d"), selector: tag("s"), algorithm: tag("a") }];
  });
  if (verdicts.length === 0) throw new Error(`opendkim said:\n${stdout}${stderr}`);
  return verdicts;
}
