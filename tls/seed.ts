/**
 * What TLS has to wait for once in a process.
 *
 * @module
 */

/**
 * Lets the random numbers of the TLS library be seeded in another thread. It gathers entropy from the processor's
 * jitter (AWS-LC), which takes 60 ms, else in the middle of the first handshake. Making a key of this kind asks for
 * them, and returns at once.
 */
export function seedInBackground(): void {
  crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]).catch(() => {
    // The first handshake waits, then.
  });
}
