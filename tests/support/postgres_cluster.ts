/**
 * A primary and a synchronous standby of PostgreSQL, which takes over when the primary is lost.
 *
 * @module
 */
import { PostgresServer, type PostgresServerOptions } from "./postgres_server.ts";

/** Two servers; nothing is committed that is not on both. */
export class PostgresCluster implements AsyncDisposable {
  readonly #options: PostgresServerOptions;
  #primary: PostgresServer;
  #standby: PostgresServer;
  /** Where clients look for the primary, in this order. */
  readonly ports: readonly number[];

  private constructor(
    options: PostgresServerOptions,
    { primary, standby }: { readonly primary: PostgresServer; readonly standby: PostgresServer },
  ) {
    this.#options = options;
    this.#primary = primary;
    this.#standby = standby;
    this.ports = [primary.port, standby.port];
  }

  /** Starts both. */
  static async start(options: PostgresServerOptions = {}): Promise<PostgresCluster> {
    const settings = { ...options.settings, synchronous_standby_names: "*", wal_sender_timeout: "5s" };
    const all = { ...options, settings };
    await using opened = new AsyncDisposableStack();
    const primary = opened.use(await PostgresServer.start(all));
    const standby = opened.use(await PostgresServer.start({ ...all, follows: primary }));
    opened.move();
    return new PostgresCluster(all, { primary, standby });
  }

  /** The server that can be written to. */
  get primary(): PostgresServer {
    return this.#primary;
  }

  /** The one that follows it. */
  get standby(): PostgresServer {
    return this.#standby;
  }

  /** The primary is lost for good, with all that only it had; the standby is promoted. */
  async failOver(): Promise<void> {
    const { port } = this.#primary;
    await this.#primary[Symbol.asyncDispose]();
    await this.#standby.promote();
    this.#primary = this.#standby;
    // Until there is another standby, nothing is committed.
    this.#standby = await PostgresServer.start({ ...this.#options, port, follows: this.#primary });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#standby[Symbol.asyncDispose]();
    await this.#primary[Symbol.asyncDispose]();
  }
}
