/**
 * Settings for mail programs, as text and as files that mail programs read.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { Config } from "../../config/config.ts";

/** One server of a mail program's settings. */
export interface MailServer {
  readonly host: string;
  readonly port: number;
  /** TLS at once, or STARTTLS. */
  readonly security: "TLS" | "STARTTLS";
}

/** The settings for one machine; logins differ only in the user name. */
export interface MailSettings {
  /** Where mail is sent, the best first. */
  readonly smtp: readonly MailServer[];
  /** Where mail is read, which is another program's task. */
  readonly imap: MailServer;
}

/** RFC 8314 §7.3, RFC 6409 §3.1, and RFC 8314 §3.2. */
const TLS_PORT = 465;
const PORT = 587;
const IMAPS_PORT = 993;

/** The settings of this machine; without serve-submit, its defaults. */
export function mailSettings(
  { hostname, serveSubmit }: Pick<Config, "hostname" | "serveSubmit">,
  { imapHost = hostname }: { readonly imapHost?: string } = {},
): MailSettings {
  const { tlsPort = TLS_PORT, port = PORT } = serveSubmit ?? {};
  const smtp: MailServer[] = [];
  if (tlsPort !== false) smtp.push({ host: hostname, port: tlsPort, security: "TLS" });
  if (port !== false) smtp.push({ host: hostname, port, security: "STARTTLS" });
  return { smtp, imap: { host: imapHost, port: IMAPS_PORT, security: "TLS" } };
}

/** The settings in words. */
export function describeSettings({ smtp, imap }: MailSettings, login: string): string {
  const line = (name: string, { host, port, security }: MailServer) =>
    `  ${name}  ${host}, port ${port}, ${security}\n`;
  return [
    `User name      ${login}\n`,
    "Password       as shown when it was created; preferably a separate app password for each device\n",
    "Send (SMTP)\n",
    ...smtp.map((server, n) => line(n === 0 ? "            " : "or          ", server)),
    "Read (IMAP; needs an IMAP server such as Dovecot)\n",
    line("            ", imap),
  ].join("");
}

/** The file that Thunderbird and others look for: `https://autoconfig.DOMAIN/mail/config-v1.1.xml`. */
export function autoconfigXml({ smtp, imap }: MailSettings, domains: readonly string[]): string {
  const [first = ""] = domains;
  const server = (kind: string, type: string, { host, port, security }: MailServer) => [
    `    <${kind} type="${type}">`,
    `      <hostname>${escapeXml(host)}</hostname>`,
    `      <port>${port}</port>`,
    `      <socketType>${security === "TLS" ? "SSL" : "STARTTLS"}</socketType>`,
    "      <authentication>password-cleartext</authentication>",
    "      <username>%EMAILADDRESS%</username>",
    `    </${kind}>`,
  ];
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<clientConfig version="1.1">',
    `  <emailProvider id="${escapeXml(first)}">`,
    ...domains.map((domain) => `    <domain>${escapeXml(domain)}</domain>`),
    `    <displayName>${escapeXml(first)}</displayName>`,
    `    <displayShortName>${escapeXml(first)}</displayShortName>`,
    ...server("incomingServer", "imap", imap),
    ...smtp.flatMap((one) => server("outgoingServer", "smtp", one)),
    "  </emailProvider>",
    "</clientConfig>",
    "",
  ].join("\n");
}

/** A profile for iPhones, iPads and Macs; the password is asked for when it is installed. */
export function mobileConfig({ smtp, imap }: MailSettings, login: string): string {
  const [outgoing] = smtp;
  const domain = login.slice(login.lastIndexOf("@") + 1);
  const identifier = `${domain.split(".").reverse().join(".")}.mail.${uuid(login)}`;
  const account = {
    PayloadType: "com.apple.mail.managed",
    PayloadVersion: 1,
    PayloadIdentifier: `${identifier}.account`,
    PayloadUUID: uuid(`${login} account`),
    PayloadDisplayName: login,
    EmailAccountType: "EmailTypeIMAP",
    EmailAccountDescription: login,
    EmailAddress: login,
    IncomingMailServerHostName: imap.host,
    IncomingMailServerPortNumber: imap.port,
    IncomingMailServerUseSSL: true,
    IncomingMailServerAuthentication: "EmailAuthPassword",
    IncomingMailServerUsername: login,
    OutgoingMailServerHostName: outgoing?.host ?? imap.host,
    OutgoingMailServerPortNumber: outgoing?.port ?? TLS_PORT,
    OutgoingMailServerUseSSL: true,
    OutgoingMailServerAuthentication: "EmailAuthPassword",
    OutgoingMailServerUsername: login,
    OutgoingPasswordSameAsIncomingPassword: true,
  };
  const profile = {
    PayloadType: "Configuration",
    PayloadVersion: 1,
    PayloadIdentifier: identifier,
    PayloadUUID: uuid(login),
    PayloadDisplayName: `Mail of ${login}`,
    PayloadContent: [account],
  };
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
    '<plist version="1.0">',
    plist(profile),
    "</plist>",
    "",
  ].join("\n");
}

type Plist = string | number | boolean | readonly Plist[] | { readonly [key: string]: Plist };

function plist(value: Plist): string {
  if (typeof value === "string") return `<string>${escapeXml(value)}</string>`;
  if (typeof value === "number") return `<integer>${value}</integer>`;
  if (typeof value === "boolean") return `<${value}/>`;
  if (Array.isArray(value)) return `<array>\n${value.map(plist).join("\n")}\n</array>`;
  const entries = Object.entries(value).map(([key, inner]) =>
    `<key>${escapeXml(key)}</key>\n${plist(inner)}`
  );
  return `<dict>\n${entries.join("\n")}\n</dict>`;
}

/** Equal for equal text, so that a new profile replaces the previous one (version 8 of RFC 9562). */
function uuid(text: string): string {
  const bytes = createHash("sha256").update(`mailapp mobileconfig ${text}`).digest().subarray(0, 16);
  bytes[6] = (bytes[6] ?? 0) & 0x0f | 0x80;
  bytes[8] = (bytes[8] ?? 0) & 0x3f | 0x80;
  return bytes.toString("hex").replace(/^(\w{8})(\w{4})(\w{4})(\w{4})(\w{12})$/, "$1-$2-$3-$4-$5")
    .toUpperCase();
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
