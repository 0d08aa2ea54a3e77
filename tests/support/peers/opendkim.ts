/**
 * OpenDKIM as a verifier that asks no DNS server, and as a signer.
 *
 * @module
 */
import { concat } from "../../../base/concat.ts";
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

/** How OpenDKIM signs. */
export interface OpenDkimOptions {
  readonly domain: string;
  readonly selector: string;
  /** The private key in PEM. */
  readonly key: string;
  readonly algorithm?: "rsa-sha256" | "ed25519-sha256" | "rsa-sha1";
  readonly canonicalization?: string;
  /** More lines of its configuration. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** The message with a DKIM-Signature of OpenDKIM's on top; lines end in CRLF. */
export async function signWithOpenDkim(message: Uint8Array, options: OpenDkimOptions): Promise<Uint8Array> {
  const { domain, selector, key, algorithm = "rsa-sha256", canonicalization = "relaxed/relaxed" } = options;
  await using folder = await makeFolder("opendkim");
  const settings = {
    Mode: "s",
    Syslog: "no",
    Domain: domain,
    Selector: selector,
    KeyFile: await folder.write("key.pem", key, { mode: 0o600 }),
    SignatureAlgorithm: algorithm,
    Canonicalization: canonicalization,
    InternalHosts: "0.0.0.0/0",
    // The temporary directory is open to all.
    RequireSafeKeys: "no",
    ...options.settings,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} ${value}\n`).join("");
  const config = await folder.write("opendkim.conf", lines);
  const file = await folder.write("message", message);
  const { stdout, stderr } = await run("opendkim", { args: ["-x", config, "-v", "-v", "-t", file] });
  const [, value] = /hname='DKIM-Signature' hvalue='([^']*)'/.exec(stdout) ?? [];
  if (value === undefined) throw new Error(`opendkim said:\n${stdout}${stderr}`);
  // A milter hands over line ends as LF.
  const field = new TextEncoder().encode(`DKIM-Signature: ${value.replaceAll("\n", "\r\n")}\r\n`);
  return concat(field, message);
}
