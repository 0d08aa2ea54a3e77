/**
 * Where the queue of a running serve-out is managed.
 *
 * @module
 */

/** The name of the socket in the data directory. */
export const CONTROL_SOCKET = "control.sock";
