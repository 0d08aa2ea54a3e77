/**
 * The servers that are compared.
 *
 * @module
 */
import type { Peer } from "./peer.ts";
import { CHASQUID } from "./peers/chasquid.ts";
import { EXIM } from "./peers/exim.ts";
import { HARAKA } from "./peers/haraka.ts";
import { MAILAPP } from "./peers/mailapp.ts";
import { OPENSMTPD } from "./peers/opensmtpd.ts";
import { POSTFIX } from "./peers/postfix.ts";

/** All of them, in the order of the tables. */
export const PEERS: readonly Peer[] = [MAILAPP, POSTFIX, EXIM, OPENSMTPD, CHASQUID, HARAKA];
