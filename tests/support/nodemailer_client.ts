/**
 * Sends one message by nodemailer, as programs in JavaScript do; takes its options as JSON. A separate program, as a
 * test of it would count its timers.
 *
 * @module
 */
import { createTransport } from "nodemailer";

const { host, port, implicit, ca, login, password, subject, to, text } = JSON.parse(Deno.args[0] ?? "");
const transport = createTransport({
  host,
  port,
  secure: implicit,
  requireTLS: true,
  tls: { ca },
  auth: { user: login, pass: password },
});
await transport.sendMail({ from: login, to, subject, text });
transport.close();
