/**
 * Programs that .ci/unpack_peers.sh put beside the system, since their packages exclude one another.
 *
 * @module
 */

/** The path of a program unpacked by .ci/unpack_peers.sh, such as `usr/sbin/exim4`; it may not be there. */
export function unpacked(path: string): string {
  return `${Deno.env.get("MAILAPP_PEERS") ?? "/var/cache/mailapp-test"}/${path}`;
}

/** Exim's one program. */
export const EXIM = "usr/sbin/exim4";
/** OpenSMTPD's server. */
export const OPENSMTPD = "usr/sbin/smtpd";
