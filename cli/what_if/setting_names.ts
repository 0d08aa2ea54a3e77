/**
 * Settings by the names that the configuration file has for them.
 *
 * @module
 */
import { knownSettings } from "../../config/example.ts";
import { valueOf } from "../config/settings.ts";

const TABLES: Readonly<Record<string, string>> = {
  serveIn: "serve-in",
  serveOut: "serve-out",
  serveSubmit: "serve-submit",
  servePolicy: "serve-policy",
};

/** Those whose name in `Config` does not follow from the one in the file. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  "alerts.mail.from": "alerts.mail_from",
  "alerts.mail.host": "alerts.mail_via",
  "alerts.mail.passwordFile": "alerts.password_file",
  "alerts.mail.port": "alerts.mail_via",
  "alerts.mail.to": "alerts.mail_to",
  "alerts.mail.user": "alerts.mail_via",
  "alerts.mail": "alerts.mail_via",
  "alerts.webhook.secretFile": "alerts.secret_file",
  "alerts.webhook.template": "alerts.template",
  "alerts.webhook.tokenFile": "alerts.token_file",
  "serveIn.checks.filters": "serve-in.checks.filter",
  "serveSubmit.dovecotSocket": "serve-submit.auth",
  "tls.acme.externalAccount": "tls.acme.account_id",
  "tls.acme.externalAccount.id": "tls.acme.account_id",
  "tls.acme.externalAccount.keyFile": "tls.acme.account_key_file",
  "tls.certificate": "tls.cert",
  "tls.certificate.certFile": "tls.cert",
  "tls.certificate.keyFile": "tls.key",
};

/**
 * The names in the file of these settings of a `Config`, each once: `serve-in.idle_timeout` of `serveIn.idleTimeoutMs`.
 * A part of a value has the name of the whole.
 */
export function namesInFile(settings: readonly string[]): string[] {
  const known = knownSettings();
  return [
    ...new Set(settings.map((setting) => {
      if (setting.startsWith("dkim.")) return `dkim.${JSON.stringify(setting.slice("dkim.".length))}`;
      const [table = "", ...names] = setting.replace(/^serveSubmit\.sending\./, "serveSubmit.").split(".");
      const parts = OTHER_NAMES[setting]?.split(".") ??
        [TABLES[table] ?? snakeCase(table), ...names.map((name) => snakeCase(name.replace(/Ms$/, "")))];
      while (parts.length > 1 && valueOf(known, parts) === undefined) parts.pop();
      return parts.join(".");
    })),
  ];
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
