/**
 * Accepts connections within the limits, and shuts down gracefully.
 *
 * @module
 */
import type { Logger } from "../base/log.ts";
import { acceptAll } from "../net/accept.ts";
import { addressGroup } from "../net/ip_address.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { Seldom } from "../base/seldom.ts";
import { counters, gauge } from "../base/counters.ts";
import { Connection } from "./connection.ts";
import { type ConnectionCounts, OwnConnectionCounts } from "./connection_counts.ts";
import type { ConnectionLimits } from "./connection_options.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import type { Authenticator } from "./authenticator.ts";
import { MemoryBudget } from "../base/memory_budget.ts";
import type { Delivery } from "./delivery.ts";
import type { Inspector } from "./inspector.ts";
import { formatReply, type Reply, reply } from "./reply.ts";
import { shuttingDown } from "./replies.ts";
import { defaultPolicy, type ServerPolicy } from "./server_policy.ts";
import type { Transport, UpgradeToTls } from "../net/transport.ts";

const connections = counters("mailapp_smtp_connections_total", {
  help: "Connections of clients, by whether they were accepted",
  labels: ["result"],
});
const accepted = connections.with("accepted");
const refusedConnections = {
  full: connections.with("too_many"),
  address: connections.with("too_many_from_address"),
  draining: connections.with("shutting_down"),
};
const openConnections = gauge("mailapp_smtp_open_connections", "Connections of clients at this moment", {
  addsUp: true,
});

/** Limits on one server. Times in milliseconds. */
export interface ServerLimits extends ConnectionLimits {
  /** Connections at the same time. */
  readonly maxConnections: number;
  /** Connections at the same time from one IPv4 address, or from one IPv6 /64. */
  readonly maxConnectionsPerIp: number;
}

/** The limits to start from: none is below what RFC 5321 §4.5.3 asks for. */
export const defaultLimits: ServerLimits = {
  maxMessageSize: 50 * 1024 ** 2,
  maxHops: 100,
  maxRecipients: 100,
  idleTimeout: 5 * 60_000,
  sessionTimeout: 30 * 60_000,
  handshakeTimeout: 30_000,
  bareLineEndingTimeout: 5_000,
  minDataRate: 1024,
  maxErrors: 10,
  maxRefusedRecipients: 100,
  maxRefusals: 1000,
  maxCommandLine: 2048,
  maxConnections: 1000,
  maxConnectionsPerIp: 50,
};

/** What a server needs. */
export interface SmtpServerOptions {
  /** This server's name: greeting, EHLO, Received. */
  readonly hostname: string;
  /** What happens to messages. */
  readonly delivery: Delivery;
  /** What differs from {@linkcode defaultPolicy} in how clients are treated. */
  readonly policy?: Partial<ServerPolicy>;
  /** Looks at messages before they are stored. */
  readonly inspector?: Inspector;
  /** Where events go. */
  readonly logger: Logger;
  /** The system's clock by default. */
  readonly clock?: Clock;
  /** Makes TLS handshakes; without it STARTTLS is not offered. */
  readonly upgradeToTls?: UpgradeToTls;
  /** Checks logins, without which no mail is taken; absent where no login is possible. */
  readonly authenticator?: Authenticator;
  /** What differs from {@linkcode defaultLimits}. */
  readonly limits?: Partial<ServerLimits>;
  /** Counts connections, where several threads serve; absent: those of this server count. */
  readonly counts?: ConnectionCounts;
  /** The part of the memory for header sections that this server may use, above 0 to 1; 1 if absent. */
  readonly share?: number;
}

/** One address to serve on. */
export interface ServeOptions {
  /** Whether the handshake comes first, as on port 465 (RFC 8314). */
  readonly implicitTls?: boolean;
}

/** How a server ends. */
export interface ShutdownOptions {
  /** For messages in flight, in milliseconds. */
  readonly grace: number;
  /** Ends the grace period once it is aborted. */
  readonly forced?: AbortSignal;
  /** New connections are accepted until it resolves. */
  readonly accepting?: Promise<unknown>;
  /** For connections that came meanwhile, in milliseconds; default: what is left of the grace period, at least 5,000. */
  readonly lateGrace?: number;
}

// For connections that came while the server was ending, in milliseconds.
const LATE_GRACE = 5_000;
// For the one line that a refused connection is sent.
const REFUSAL_TIME = 5_000;

/** Octets of memory that all header sections may take together while they are inspected. */
const HEADER_MEMORY = 64 * 1024 * 1024;

const encoder = new TextEncoder();

/**
 * An SMTP server (RFC 5321).
 *
 * @example
 * ```ts
 * import { reply, silentLogger, SmtpServer } from "@mailapp/mailapp";
 *
 * const server = new SmtpServer({
 *   hostname: "mx.example.com",
 *   logger: silentLogger,
 *   delivery: {
 *     checkRecipient: () => ({ accepted: false, reply: reply(550, "5.1.1", "No such mailbox") }),
 *     begin: () => ({ id: "1", write() {}, async commit() {}, async [Symbol.asyncDispose]() {} }),
 *   },
 * });
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const serving = server.serve(listener);
 * await server.shutdown({ grace: 1000 });
 * await serving;
 * ```
 */
export class SmtpServer {
  readonly #options: SmtpServerOptions;
  #policy: ServerPolicy;
  #inspector: Inspector | undefined;
  #limits: ServerLimits;
  readonly #clock: Clock;
  readonly #listeners = new Set<Deno.Listener>();
  readonly #connections = new Map<Connection, Promise<void>>();
  readonly #counts: ConnectionCounts;
  readonly #headers: MemoryBudget;
  readonly #sessionPrefix = crypto.randomUUID().slice(0, 6);
  #sessionCount = 0;
  #draining = false;
  #refusals = 0;
  readonly #refusalNews: Seldom;

  /** Makes a server that does not listen yet. */
  constructor(options: SmtpServerOptions) {
    this.#options = options;
    this.#policy = { ...defaultPolicy, ...options.policy };
    this.#inspector = options.inspector;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#clock = options.clock ?? systemClock;
    this.#refusalNews = new Seldom(this.#clock);
    this.#counts = options.counts ?? new OwnConnectionCounts();
    this.#headers = new MemoryBudget(Math.ceil(HEADER_MEMORY * (options.share ?? 1)));
  }

  /** The limits. Setting them replaces what differs from {@linkcode defaultLimits}, for new connections. */
  get limits(): ServerLimits {
    return this.#limits;
  }

  set limits(limits: Partial<ServerLimits>) {
    this.#limits = { ...defaultLimits, ...limits };
  }

  /** Looks at messages. May be replaced, for new connections. */
  set inspector(inspector: Inspector | undefined) {
    this.#inspector = inspector;
  }

  /** How clients are treated. Setting it replaces what differs from {@linkcode defaultPolicy}, for new connections. */
  set policy(policy: Partial<ServerPolicy>) {
    this.#policy = { ...defaultPolicy, ...policy };
  }

  /** Connections at this moment. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Serves what a listener accepts, until {@linkcode SmtpServer.shutdown}. May be called for several listeners. */
  async serve(listener: Deno.Listener, { implicitTls = false }: ServeOptions = {}): Promise<void> {
    if (this.#draining) {
      listener.close();
      return;
    }
    this.#listeners.add(listener);
    await acceptAll(listener, {
      admit: (conn) => this.#admit(conn, implicitTls),
      ended: () => this.#draining,
      leavesNext: this.#counts.isAhead === undefined ? undefined : () => this.#counts.isAhead === true,
      clock: this.#clock,
      logger: this.#options.logger,
    });
    this.#listeners.delete(listener);
  }

  /** Serves a connection that was accepted elsewhere. Resolves when it is over; never rejects. */
  handle(transport: Transport, { implicitTls = false }: ServeOptions = {}): Promise<void> {
    const { hostname, delivery, logger, upgradeToTls, authenticator } = this.#options;
    const inspector = this.#inspector;
    const sessionId = `${this.#sessionPrefix}${(++this.#sessionCount).toString(36)}`;
    const connection = new Connection(transport, {
      hostname,
      delivery,
      policy: this.#policy,
      inspecting: inspector && { inspector, headers: this.#headers },
      limits: this.#limits,
      clock: this.#clock,
      logger: logger.with({ session: sessionId, peer: transport.remote.address }),
      upgradeToTls,
      authenticator,
      implicitTls,
      sessionId,
    });
    openConnections.value++;
    // Not awaited here: this function would be kept as long as the connection, with all that it has made.
    const done = connection.run().then(() => {
      openConnections.value--;
      this.#connections.delete(connection);
    });
    this.#connections.set(connection, done);
    return done;
  }

  /**
   * Stops accepting, tells idle clients 421, lets messages in flight end within `grace` milliseconds, then closes what
   * is left. Nothing that was answered 250 is touched, and a message that is being stored then is answered.
   * @param options `forced`: once it is aborted, the grace period is over; `accepting`: until it resolves, and until
   * the connections of before are drained, new ones are accepted, within the grace period; `lateGrace`: what these have
   * then.
   */
  async shutdown({ grace, forced, accepting, lateGrace }: ShutdownOptions): Promise<void> {
    const until = this.#clock.monotonic() + grace;
    if (accepting !== undefined) {
      const drained = Promise.all([accepting, this.#drain()]);
      await this.#within(drained, { ms: grace, forced });
    }
    this.#draining = true;
    for (const listener of this.#listeners) {
      try {
        listener.close();
      } catch {
        // Closed already.
      }
    }
    const ended = this.#drain();
    const left = until - this.#clock.monotonic();
    const late = lateGrace ?? Math.max(left, LATE_GRACE);
    await this.#within(ended, { ms: accepting === undefined ? left : late, forced });
    for (const connection of this.#connections.keys()) connection.abort();
    await ended;
  }

  /** Ends each connection after its message in flight; resolves when all are closed. */
  async #drain(): Promise<void> {
    const all = [...this.#connections];
    for (const [connection] of all) connection.drain();
    await Promise.all(all.map(([, done]) => done));
  }

  /** Waits for `work`, within the grace period and until `forced` is aborted. */
  async #within(
    work: Promise<unknown>,
    { ms, forced }: { readonly ms: number; readonly forced: AbortSignal | undefined },
  ): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const timer = this.#clock.after(ms, resolve);
    if (forced?.aborted) resolve();
    else forced?.addEventListener("abort", () => resolve(), { once: true });
    await Promise.race([work, over]);
    timer.cancel();
  }

  /** Serves the connection, or refuses it with a reply. */
  #admit(conn: Deno.Conn, implicitTls: boolean): void {
    const transport = new ConnTransport(conn, { clock: this.#clock });
    const group = addressGroup(transport.remote.address);
    const refusal = this.#refusal(group);
    if (refusal) {
      void this.#refuse(transport, refusal, implicitTls);
      return;
    }
    accepted.add();
    void this.handle(transport, { implicitTls }).then(() => this.#counts.release(group));
  }

  /** Counts the connection, or says why it is not taken. */
  #refusal(group: string): Reply | undefined {
    if (this.#draining) {
      refusedConnections.draining.add();
      return shuttingDown(this.#options.hostname);
    }
    const exceeded = this.#connections.size >= this.#limits.maxConnections
      ? "all"
      : this.#counts.admit(group, this.#limits);
    if (exceeded === "all") {
      refusedConnections.full.add();
      return reply(421, "4.3.2", "Too many connections; try again later");
    }
    if (exceeded === "client") {
      refusedConnections.address.add();
      return reply(421, "4.7.0", "Too many connections from your address; close some first");
    }
    return undefined;
  }

  async #refuse(transport: Transport, refusal: Reply, implicitTls: boolean): Promise<void> {
    const { address } = transport.remote;
    // A flood must not become one of lines in the log; the counters have them all.
    const level = this.#refusalNews.isDue(addressGroup(address)) ? "info" : "debug";
    this.#options.logger[level]("connection.refused", {
      peer: address,
      reply: formatReply(refusal).trimEnd(),
    });
    // A flood must not pile up refusals either; and a client that expects a handshake cannot read a line.
    if (implicitTls || this.#refusals >= this.#limits.maxConnections) {
      transport.close();
      return;
    }
    this.#refusals++;
    try {
      transport.deadline = this.#clock.monotonic() + REFUSAL_TIME;
      await transport.write(encoder.encode(formatReply(refusal)));
      await transport.closeWrite?.();
    } catch {
      // Gone already.
    } finally {
      this.#refusals--;
      transport.close();
    }
  }
}
