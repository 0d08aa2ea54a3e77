/**
 * What all connections to the database have in common.
 *
 * @module
 */
import type { DatabaseUrl } from "./url.ts";

/** Seconds after which a connection that cannot be used is given up. */
export const CONNECT_WITHIN_SECONDS = 5;

/** What a client needs beside where to connect. */
export interface Credentials {
  readonly url: DatabaseUrl;
  /** PEM certificates to trust; absent: the system's. */
  readonly ca?: string;
}

/**
 * Options for npm:postgres. It looks for each one that is missing, and for an empty password, in the environment, which
 * serve-out may not read.
 */
export function clientOptions({ url: { user, password, database, tls }, ca }: Credentials) {
  return {
    user,
    pass: password === "" ? () => "" : password,
    database,
    ssl: tls ? { rejectUnauthorized: true, ...(ca !== undefined && { ca }) } : false,
    sslnegotiation: null,
    idle_timeout: 60,
    connect_timeout: CONNECT_WITHIN_SECONDS,
    max_lifetime: 1800,
    max_pipeline: 20,
    backoff: 1,
    keep_alive: 5,
    prepare: true,
    fetch_types: false,
    debug: false,
    publications: "none",
  };
}
