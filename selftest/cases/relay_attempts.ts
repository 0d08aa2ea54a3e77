/**
 * Forward-paths of a client that wants mail relayed, in every spelling that servers have fallen for.
 *
 * @module
 */

/** One forward-path, and what serve-in says to it. */
export interface RelayAttempt {
  /** The path, without brackets. */
  readonly path: string;
  /**
   * The reply: `foreign` is 550 5.7.1; `unknown` is 550 5.1.1, since the domain is ours and has no such mailbox (a
   * catch-all takes it), or 5.7.1 where the name asks for relaying; `syntax` is 501; `local` is 250, since it is an address of ours.
   */
  readonly expected: "foreign" | "unknown" | "syntax" | "local";
}

/**
 * The attempts (RFC 5321 §3.6, §4.1.1.3).
 * @param own an address of a mailbox here
 */
export function relayAttempts(own: string): readonly RelayAttempt[] {
  const domain = own.slice(own.lastIndexOf("@") + 1);
  const attempts = (expected: RelayAttempt["expected"], paths: readonly string[]) =>
    paths.map((path) => ({ path, expected }));
  return [
    ...attempts("foreign", [
      "user@elsewhere.example",
      "USER@ELSEWHERE.EXAMPLE",
      "user@elsewhere.example.",
      `user@not-${domain}`,
      `user@deeper.${domain}`,
      `user@${domain}.elsewhere.example`,
      `@${domain},@b.example:user@elsewhere.example`,
      `@${domain}:user@elsewhere.example`,
      `user%elsewhere.example@elsewhere.example`,
      '"user"@elsewhere.example',
      `"user@${domain}"@elsewhere.example`,
      "user@[127.0.0.1]",
      "user@[192.0.2.1]",
      "user@[IPv6:::1]",
      "user@[IPv6:2001:db8::1]",
      "user@localhost",
    ]),
    ...attempts("unknown", [
      `user%elsewhere.example@${domain}`,
      `user%elsewhere.example%b.example@${domain}`,
      `elsewhere.example!user@${domain}`,
      `b.example!elsewhere.example!user@${domain}`,
      `"user@elsewhere.example"@${domain}`,
      `"elsewhere.example!user"@${domain}`,
      `@${domain}:user%elsewhere.example@${domain}`,
    ]),
    ...attempts("syntax", [
      `${own}@elsewhere.example`,
      `user@elsewhere.example@${domain}`,
      `user@elsewhere.example:${own}`,
      "user@[127.0.0.1",
    ]),
    // The route is dropped, and the mailbox is here (RFC 5321 §3.6.1).
    ...attempts("local", [`@elsewhere.example:${own}`]),
  ];
}

/** How the replies begin. */
export const RELAY_REPLIES: Readonly<Record<RelayAttempt["expected"], RegExp>> = {
  foreign: /^550[- ]5\.7\.1/,
  unknown: /^550[- ]5\.[17]\.1/,
  syntax: /^501/,
  local: /^250/,
};
