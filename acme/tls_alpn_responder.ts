/**
 * Answers TLS-ALPN-01 (RFC 8737): by a handshake with a certificate that contains the key authorization.
 *
 * @module
 */
import { X509Certificate } from "node:crypto";
import acme from "acme-client";
import { type Clock, systemClock } from "../base/clock.ts";
import { silentLogger } from "../base/log.ts";
import { acceptAll } from "../net/accept.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import type { Transport } from "../net/transport.ts";
import type { Challenge, Responder } from "./challenge.ts";
import { answerHandshake, type ShownCertificate } from "./handshake.ts";

/** RFC 8737 §6.2 */
export const ALPN_PROTOCOL = "acme-tls/1";

/** For a handshake, in milliseconds. */
const TIMEOUT = 10_000;
const MAX_CONNECTIONS = 100;

/** Answers on the listeners given, which it closes when disposed. */
export class TlsAlpnResponder implements Responder {
  readonly #certificates = new Map<string, ShownCertificate>();
  readonly #listeners: readonly Deno.Listener[];
  readonly #accepting: readonly Promise<void>[];
  readonly #connections = new Map<Transport, Promise<void>>();
  readonly #clock: Clock = systemClock;
  #ended = false;

  private constructor(listeners: readonly Deno.Listener[]) {
    this.#listeners = listeners;
    this.#accepting = listeners.map((listener) =>
      acceptAll(listener, {
        admit: (conn) => this.#admit(conn),
        ended: () => this.#ended,
        clock: this.#clock,
        logger: silentLogger,
      })
    );
  }

  /**
   * Begins to listen.
   * @throws what the system throws, such as for a port that is taken
   */
  static listen(
    { addresses, port }: { readonly addresses: readonly string[]; readonly port: number },
  ): TlsAlpnResponder {
    using opened = new DisposableStack();
    const listeners = addresses.map((hostname) => opened.use(Deno.listen({ hostname, port })));
    opened.move();
    return new TlsAlpnResponder(listeners);
  }

  /** Where it listens. */
  get addresses(): readonly Deno.Addr[] {
    return this.#listeners.map(({ addr }) => addr);
  }

  /** Shows the certificate of the challenge until the result is disposed. */
  async respond({ name, keyAuthorization }: Challenge): Promise<AsyncDisposable> {
    this.#certificates.set(name, await challengeCertificate(name, keyAuthorization));
    return {
      [Symbol.asyncDispose]: () => {
        this.#certificates.delete(name);
        return Promise.resolve();
      },
    };
  }

  #admit(conn: Deno.Conn): void {
    if (this.#ended || this.#connections.size >= MAX_CONNECTIONS) return conn.close();
    const transport = new ConnTransport(conn, { clock: this.#clock });
    transport.deadline = this.#clock.monotonic() + TIMEOUT;
    const answered = answerHandshake(transport, {
      protocol: ALPN_PROTOCOL,
      certificateFor: (name) => this.#certificates.get(name),
    }).then(() => {}, () => {
      // Whoever it was: the authority says itself what it could not validate.
    }).finally(() => {
      transport.close();
      this.#connections.delete(transport);
    });
    this.#connections.set(transport, answered);
  }

  /** Stops listening, and ends what is going on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    for (const listener of this.#listeners) listener.close();
    for (const transport of this.#connections.keys()) transport.close();
    await Promise.all([...this.#accepting, ...this.#connections.values()]);
  }
}

/** RFC 8737 §3: self-signed, for that one name, with the hash of the key authorization in a critical extension. */
async function challengeCertificate(name: string, keyAuthorization: string): Promise<ShownCertificate> {
  const key = await acme.crypto.createPrivateEcdsaKey("P-256");
  const authorization = { identifier: { type: "dns", value: name } } as acme.Authorization;
  const [, certificate] = await acme.crypto.createAlpnCertificate(authorization, keyAuthorization, key);
  return { chain: [new Uint8Array(new X509Certificate(certificate).raw)], key: String(key) };
}
