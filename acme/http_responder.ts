/**
 * Answers HTTP-01 (RFC 8555 §8.3): a web server for the resource of the challenge, and nothing else.
 *
 * @module
 */
import type { Challenge, Responder } from "./challenge.ts";

const PATH = "/.well-known/acme-challenge/";

/** Serves the answers on the listeners given, which it closes when disposed. */
export class HttpResponder implements Responder {
  readonly #pages = new Map<string, string>();
  readonly #servers: readonly Deno.HttpServer[];
  readonly #cut = new AbortController();

  private constructor(addresses: readonly string[], port: number) {
    this.#servers = addresses.map((hostname) =>
      Deno.serve({
        hostname,
        port,
        signal: this.#cut.signal,
        onListen: () => {},
        onError: () => new Response(null, { status: 500 }),
      }, (request) => this.#answer(request))
    );
  }

  /**
   * Begins to listen.
   * @throws what the system throws, such as for a port that is taken
   */
  static listen(
    { addresses, port }: { readonly addresses: readonly string[]; readonly port: number },
  ): HttpResponder {
    return new HttpResponder(addresses, port);
  }

  respond({ token, keyAuthorization }: Challenge): Promise<AsyncDisposable> {
    this.#pages.set(token, keyAuthorization);
    return Promise.resolve({
      [Symbol.asyncDispose]: () => {
        this.#pages.delete(token);
        return Promise.resolve();
      },
    });
  }

  #answer(request: Request): Response {
    const { pathname } = new URL(request.url);
    const page = pathname.startsWith(PATH) ? this.#pages.get(pathname.slice(PATH.length)) : undefined;
    return page === undefined || request.method !== "GET"
      ? new Response("Not found\n", { status: 404 })
      : new Response(page, { headers: { "content-type": "application/octet-stream" } });
  }

  /** Stops listening, and cuts off all clients: `shutdown()` would wait for whoever keeps a request open. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#cut.abort();
    await Promise.all(this.#servers.map((server) => server.finished));
  }
}
