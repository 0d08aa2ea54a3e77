/**
 * The table `[serve-submit]`: the server for mail programs with a password.
 *
 * @module
 */
import * as z from "zod";
import type { ServeSubmitConfig } from "./config.ts";
import { parseLocalPartOrAddress, parsePort } from "./names.ts";
import { byName, DAY, duration, flag, integer, listen, pathOrEmpty, size, table, value } from "./values.ts";

const MAX_COUNT = 1_000_000;

const portOrOff = value(
  "a port, 0 to 65535, or false for none",
  (input): number | false | undefined => input === false ? false : parsePort(input),
);

/** `""`, or `dovecot:` and the path of a socket. */
const auth = value(
  '"dovecot:/run/dovecot/auth-client" with the path of a socket, or "" for accounts of mailapp',
  (input) =>
    input === "" ? "" : /^dovecot:(\/[\x21-\x7e]{1,100})$/.exec(typeof input === "string" ? input : "")?.[1],
);

/** 0 is no limit. */
const limit = integer(0, MAX_COUNT).transform((count) => count === 0 ? Infinity : count);

const granted = value(
  'an address, a local-part, or "*@" and a domain',
  parseLocalPartOrAddress,
);

const grantedList = z.preprocess(
  (input) => typeof input === "string" ? [input] : input,
  z.array(granted, { error: "must be an address or a list of addresses" }).min(1, "must name an address"),
);

/** The table. */
export const serveSubmit = table({
  listen: listen.prefault("auto"),
  port: portOrOff.prefault(587),
  tls_port: portOrOff.prefault(465),
  accounts_file: pathOrEmpty.prefault(""),
  auth: auth.prefault(""),
  max_message_size: size(1).prefault("50MiB"),
  max_recipients: integer(1, 100_000).prefault(100),
  max_connections: integer(1, 100_000).prefault(500),
  max_connections_per_ip: integer(1, 100_000).prefault(50),
  idle_timeout: duration(DAY).prefault("5m"),
  messages_an_hour: limit.prefault(100),
  messages_a_day: limit.prefault(500),
  recipients_an_hour: limit.prefault(300),
  recipients_a_day: limit.prefault(1000),
  new_recipients_a_day: limit.prefault(300),
  show_client_address: flag.prefault(false),
  send_as: byName("a login, or its local-part", parseLocalPartOrAddress, grantedList).prefault({}),
}).transform((table, context): ServeSubmitConfig => {
  const problem = (name: string, message: string) =>
    context.issues.push({ code: "custom", message, input: undefined, path: [name] });
  if (table.port === false && table.tls_port === false) {
    problem("tls_port", "must be a port, such as 465, where port is false: one of the two must be on");
  }
  if (table.port === table.tls_port && table.port !== 0 && table.port !== false) {
    problem("tls_port", "must differ from port, where the dialogue begins without TLS");
  }
  if (table.auth !== "" && table.accounts_file !== "") {
    problem("accounts_file", 'must be "" where auth names Dovecot, which checks the passwords then');
  }
  return {
    listen: table.listen,
    port: table.port,
    tlsPort: table.tls_port,
    ...(table.accounts_file !== "" && { accountsFile: table.accounts_file }),
    ...(table.auth !== "" && { dovecotSocket: table.auth }),
    maxMessageSize: table.max_message_size,
    maxRecipients: table.max_recipients,
    maxConnections: table.max_connections,
    maxConnectionsPerIp: Math.min(table.max_connections_per_ip, table.max_connections),
    idleTimeoutMs: table.idle_timeout,
    sending: {
      messagesAnHour: table.messages_an_hour,
      messagesADay: table.messages_a_day,
      recipientsAnHour: table.recipients_an_hour,
      recipientsADay: table.recipients_a_day,
      newRecipientsADay: table.new_recipients_a_day,
    },
    showClientAddress: table.show_client_address,
    sendAs: table.send_as,
  };
});
