/**
 * The table `[alerts]`: who gets alerts that bypass our own queue.
 *
 * @module
 */
import type { AlertsConfig } from "./config.ts";
import { isLoopback, parseDomain, parseIp } from "./names.ts";
import { noControls, oneOf, pathOrEmpty, table, value } from "./values.ts";

/** Submission with TLS from the first octet (RFC 8314). */
const SMTPS = 465;

const webhookUrl = value(
  'an address such as "https://ntfy.example.com/topic", or "" for none; http:// for loopback only',
  (input): string | undefined => {
    if (input === "") return "";
    if (typeof input !== "string" || !noControls(input) || !URL.canParse(input)) return undefined;
    const { protocol, hostname, username, password } = new URL(input);
    const host = parseIp(hostname.replace(/^\[(.*)\]$/s, "$1"));
    if (username !== "" || password !== "") return undefined;
    if (protocol === "http:" && host !== undefined && isLoopback(host)) return input;
    return protocol === "https:" ? input : undefined;
  },
);

const mailVia = value(
  'a server elsewhere and a login there, such as "smtps://user@smtp.example.net", or "" for none',
  (input) => {
    if (input === "") return "" as const;
    const [, user, name = "", port = String(SMTPS)] =
      /^smtps:\/\/([^\s/:]{1,200})@([^\s/:@]{1,253})(?::(\d{1,5}))?$/.exec(String(input)) ?? [];
    const host = parseIp(name) ?? parseDomain(name);
    if (user === undefined || host === undefined || Number(port) < 1 || Number(port) > 65_535) {
      return undefined;
    }
    return { user: decodeURIComponent(user), host, port: Number(port) };
  },
);

const mailbox = value(
  'an address, such as "ann@example.net"',
  (input) => input === "" || /^[!-~]{1,64}@[!-?A-~]{1,253}$/.test(String(input)) ? String(input) : undefined,
);

/** The table. */
export const alerts = table({
  webhook: webhookUrl.prefault(""),
  template: oneOf("json", "ntfy", "slack", "matrix").prefault("json"),
  token_file: pathOrEmpty.prefault(""),
  secret_file: pathOrEmpty.prefault(""),
  mail_via: mailVia.prefault(""),
  password_file: pathOrEmpty.prefault(""),
  mail_from: mailbox.prefault(""),
  mail_to: mailbox.prefault(""),
}).transform((table, context): AlertsConfig => {
  const problem = (name: string, message: string) =>
    context.issues.push({ code: "custom", message, input: undefined, path: [name] });
  const { webhook, template, token_file, secret_file, mail_via, password_file, mail_from, mail_to } = table;
  if (secret_file !== "" && template !== "json") {
    problem("secret_file", 'only template = "json" is signed');
  }
  if (mail_via !== "" && password_file === "") problem("password_file", "must be set, since mail_via is");
  if (mail_via !== "" && mail_to === "") problem("mail_to", "must be set, since mail_via is");
  const from = mail_from !== ""
    ? mail_from
    : mail_via !== "" && mail_via.user.includes("@")
    ? mail_via.user
    : "";
  if (mail_via !== "" && from === "") {
    problem("mail_from", "must be set, since the user of mail_via is not an address");
  }
  return {
    ...(webhook !== "" && {
      webhook: {
        url: webhook,
        template,
        ...(token_file !== "" && { tokenFile: token_file }),
        ...(secret_file !== "" && { secretFile: secret_file }),
      },
    }),
    ...(mail_via !== "" && { mail: { ...mail_via, passwordFile: password_file, from, to: mail_to } }),
  };
});
