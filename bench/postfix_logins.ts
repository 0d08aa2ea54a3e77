/**
 * Submission over TLS with a login, by Postfix, for which Dovecot checks the password.
 *
 * @module
 */
import { startDovecot } from "../tests/support/peers/dovecot.ts";
import { freePort } from "../tests/support/peers/ports.ts";

/** What Postfix is started with, and who logs in. */
export interface PostfixLogins {
  readonly port: number;
  /** Lines of master.cf. */
  readonly service: string;
  readonly login: { readonly user: string; readonly password: string };
  /** Dovecot's process. */
  readonly pid: number;
}

/** Starts Dovecot with one account; it stops with the stack. */
export async function startPostfixLogins(stack: AsyncDisposableStack, user: string): Promise<PostfixLogins> {
  const { authSocket, program } = stack.use(
    await startDovecot({ mailboxes: [{ user, maildir: "/nonexistent", uid: 65534, gid: 65534 }] }),
  );
  // Postfix asks it by its own account.
  await Deno.chmod(authSocket, 0o666);
  const port = freePort();
  const service = [
    ...[`${port} inet n - n - - smtpd`, "-o smtpd_tls_wrappermode=yes", "-o smtpd_sasl_auth_enable=yes"],
    ...["-o smtpd_sasl_type=dovecot", `-o smtpd_sasl_path=${authSocket}`],
    "-o smtpd_relay_restrictions=permit_sasl_authenticated,reject",
  ].join("\n  ");
  return { port, service, login: { user, password: "secret" }, pid: program.pid };
}
