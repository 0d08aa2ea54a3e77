/**
 * What the benches of both directions know of the servers that they compare.
 *
 * @module
 */

/** The servers that are compared. */
export const SERVERS = ["mailapp", "Postfix"] as const;
/** One of them. */
export type ServerName = typeof SERVERS[number];
/** Beside them, for what is received, the least that Deno can do; see bare_server.ts. */
export const BARE = "bare Deno";

/** Settings of Postfix that let it be as fast as it can: no limits by client, no look-ups, no pauses. */
export const FAIR_POSTFIX: Readonly<Record<string, string>> = {
  default_process_limit: "200",
  smtpd_client_connection_count_limit: "0",
  smtpd_client_connection_rate_limit: "0",
  smtpd_peername_lookup: "no",
  in_flow_delay: "0",
};

/** A log file where Postfix will have one; read over a pipe by the bench, it would slow the measuring. */
export function makePostfixLog(): Promise<string> {
  return Deno.makeTempFile({ dir: "/var/log", prefix: "mailapp-bench-" });
}

/** Messages before those that count: a server runs for months, and V8 compiles the last of its code about then. */
export const WARM_UP = 12_000;
