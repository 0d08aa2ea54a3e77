/**
 * The table `[tls.acme]`: a certificate from an authority, got and renewed by `mailapp certificate`.
 *
 * @module
 */
import { join } from "@std/path";
import type { AcmeConfig, TlsConfig } from "./config.ts";
import { parseFullyQualified, parseIp, parseLocalPartOrAddress, splitHostPort } from "./names.ts";
import { domain, list, noControls, oneOf, path, pathOrEmpty, table, value } from "./values.ts";

const directory = value(
  'an https URL, such as "https://acme-v02.api.letsencrypt.org/directory"',
  (input) =>
    noControls(input) && URL.canParse(input) && new URL(input).protocol === "https:" ? input : undefined,
);

const email = value(
  'a mail address, or "" for none',
  (input) =>
    input === "" ? "" : noControls(input) && input.includes("@") ? parseLocalPartOrAddress(input) : undefined,
);

const text = value(
  "a text without spaces",
  (input) => typeof input === "string" && /^[\x21-\x7e]{0,200}$/.test(input) ? input : undefined,
);

const nameServer = value('an IP address, with its port if that is not 53, such as "192.0.2.53"', (input) => {
  if (typeof input !== "string") return undefined;
  const { host, port = 53 } = splitHostPort(input);
  const address = parseIp(host);
  return address === undefined ? undefined : { address, port };
});

const dns = table({
  server: nameServer,
  zone: domain,
  key_name: domain,
  key_file: path,
});

/** The table. */
export const acme = table({
  directory: directory.prefault("https://acme-v02.api.letsencrypt.org/directory"),
  email: email.prefault(""),
  challenge: oneOf("http-01", "tls-alpn-01", "dns-01").prefault("http-01"),
  names: list(
    value('a full name, such as "mail.example.com"', parseFullyQualified),
    "a list of names",
  ).prefault([]),
  ca_file: pathOrEmpty.prefault(""),
  account_id: text.prefault(""),
  account_key_file: pathOrEmpty.prefault(""),
  dns: dns.optional(),
}).transform((table, context): AcmeConfig => {
  const problem = (name: string, message: string) =>
    context.issues.push({ code: "custom", message, input: undefined, path: [name] });
  if (table.challenge === "dns-01" && table.dns === undefined) {
    problem("dns", "must be set for dns-01: server, zone, key_name and key_file");
  }
  if (table.challenge !== "dns-01" && table.dns !== undefined) {
    problem("dns", 'serves challenge = "dns-01" only');
  }
  if ((table.account_id === "") !== (table.account_key_file === "")) {
    problem("account_key_file", "must be set where account_id is, and only there");
  }
  return {
    directory: table.directory,
    challenge: table.challenge,
    names: table.names,
    ...(table.email !== "" && { email: table.email }),
    ...(table.ca_file !== "" && { caFile: table.ca_file }),
    ...(table.account_id !== "" && {
      externalAccount: { id: table.account_id, keyFile: table.account_key_file },
    }),
    ...(table.dns && {
      dns: {
        ...table.dns.server,
        zone: table.dns.zone,
        keyName: table.dns.key_name,
        keyFile: table.dns.key_file,
      },
    }),
  };
});

/** `[tls]` with the files of the certificate that `[tls.acme]` gets. */
export function withAcmeFiles(tls: TlsConfig, dataDir: string): TlsConfig {
  if (tls.acme === undefined) return tls;
  const directory = join(dataDir, "tls", "current");
  return {
    ...tls,
    certificate: { certFile: join(directory, "cert.pem"), keyFile: join(directory, "key.pem") },
  };
}
