/**
 * Serves the policies of this server's domains: `GET https://mta-sts.DOMAIN/.well-known/mta-sts.txt` over HTTP/1.1, one
 * request a connection, and nothing else (RFC 8461 §3.3).
 *
 * @module
 */
import { systemClock } from "../base/clock.ts";
import type { Clock } from "../base/clock.ts";
import { counters } from "../base/counters.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import { acceptAll } from "../net/accept.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { addressGroup } from "../net/ip_address.ts";
import { linger } from "../net/linger.ts";
import type { Transport, UpgradeToTls } from "../net/transport.ts";
import { POLICY_PATH } from "./policy.ts";

/** What the server needs. */
export interface PolicyServerOptions {
  /** Makes the handshakes. */
  readonly upgradeToTls: UpgradeToTls;
  /** The text of each policy, by the name of its host. */
  readonly policies: ReadonlyMap<string, string>;
  /** Where events go. */
  readonly logger: Logger;
  /** The system's if absent. */
  readonly clock?: Clock;
  /** For handshake, request and response, in milliseconds; 10 seconds if absent. */
  readonly timeout?: number;
  /** Connections at the same time; 200 if absent. */
  readonly maxConnections?: number;
  /** Connections at the same time from one IPv4 address, or one IPv6 /64; 20 if absent. */
  readonly maxConnectionsPerIp?: number;
}

const TIMEOUT = 10_000;
const MAX_CONNECTIONS = 200;
const MAX_CONNECTIONS_PER_IP = 20;
/** After the response, in milliseconds. */
const LINGER = 500;
const MAX_HEAD = 8 * 1024;
/** Of a Host field. */
const MAX_HOST = 255;

const requests = counters("mailapp_policy_requests_total", {
  help: "Requests to serve-policy, by the status of the response; 0 if there was none",
  labels: ["status"],
});
const refused = counters("mailapp_policy_refused_connections_total", {
  help: "Connections that serve-policy closed at once, by the limit that was reached",
  labels: ["limit"],
});
const tooMany = refused.with("all");
const tooManyFromAddress = refused.with("address");
const unanswered = requests.with("0");
const byStatus = { 200: requests.with("200"), 400: requests.with("400"), 404: requests.with("404") };
const notAllowed = requests.with("405");

const latin1 = new TextDecoder("latin1");
const encoder = new TextEncoder();

/** The server of policies. */
export class PolicyServer {
  readonly #options: PolicyServerOptions;
  readonly #clock: Clock;
  readonly #connections = new Map<Transport, Promise<void>>();
  readonly #perAddress = new Map<string, number>();
  readonly #listeners = new Set<Deno.Listener>();
  #policies: ReadonlyMap<string, string>;
  #stopping = false;

  /** Does not listen yet. */
  constructor(options: PolicyServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#policies = options.policies;
  }

  /** The policies from now on. */
  set policies(policies: ReadonlyMap<string, string>) {
    this.#policies = policies;
  }

  /** Connections at this moment. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Serves what a listener accepts, until {@linkcode PolicyServer.shutdown}. May be called for several listeners. */
  async serve(listener: Deno.Listener): Promise<void> {
    this.#listeners.add(listener);
    await acceptAll(listener, {
      admit: (conn) => this.#admit(conn),
      ended: () => this.#stopping,
      clock: this.#clock,
      logger: this.#options.logger,
    });
    this.#listeners.delete(listener);
  }

  /** Stops accepting, and waits for the requests in flight, which have their own deadlines; `forced` ends them. */
  async shutdown({ forced }: { readonly forced?: AbortSignal } = {}): Promise<void> {
    this.#stopping = true;
    for (const listener of this.#listeners) listener.close();
    const end = () => {
      for (const transport of this.#connections.keys()) transport.close();
    };
    if (forced?.aborted) end();
    forced?.addEventListener("abort", end, { once: true });
    await Promise.all(this.#connections.values());
    forced?.removeEventListener("abort", end);
  }

  #admit(conn: Deno.Conn): void {
    const { maxConnections = MAX_CONNECTIONS, maxConnectionsPerIp = MAX_CONNECTIONS_PER_IP } = this.#options;
    const plain = new ConnTransport(conn, { clock: this.#clock });
    const group = addressGroup(plain.remote.address);
    const others = this.#perAddress.get(group) ?? 0;
    if (this.#stopping || this.#connections.size >= maxConnections || others >= maxConnectionsPerIp) {
      (others >= maxConnectionsPerIp ? tooManyFromAddress : tooMany).add();
      plain.close();
      return;
    }
    this.#perAddress.set(group, others + 1);
    const served = this.#serve(plain).finally(() => {
      this.#connections.delete(plain);
      const left = (this.#perAddress.get(group) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(group, left);
      else this.#perAddress.delete(group);
    });
    this.#connections.set(plain, served);
  }

  async #serve(plain: Transport): Promise<void> {
    const { upgradeToTls, logger, timeout = TIMEOUT } = this.#options;
    const deadline = this.#clock.monotonic() + timeout;
    const { address: remote } = plain.remote;
    plain.deadline = deadline;
    let transport = plain;
    try {
      ({ transport } = await upgradeToTls(plain));
      transport.deadline = deadline;
      const head = await readHead(transport);
      const response = head === undefined ? BAD_REQUEST : respond(head, this.#policies);
      response.counter.add();
      logger.debug("policy.request", { remote, host: response.host, status: response.status });
      await transport.write(response.octets);
      transport.deadline = Math.min(deadline, this.#clock.monotonic() + LINGER);
      await linger(transport, MAX_HEAD);
    } catch (error) {
      unanswered.add();
      logger.debug("policy.unanswered", { remote, error: errorText(error) });
    } finally {
      transport.close();
      plain.close();
    }
  }
}

interface Response {
  readonly status: number;
  /** The host that was asked for, if it is one of ours. */
  readonly host: string;
  readonly counter: { add(): void };
  readonly octets: Uint8Array;
}

const BAD_REQUEST = response(400, { reason: "Bad Request", body: "This is not a request of HTTP/1.1.\n" });

/** Request line and header fields; `undefined` if they are too long, or the client goes away before their end. */
async function readHead(transport: Transport): Promise<string | undefined> {
  const buffer = new Uint8Array(MAX_HEAD);
  for (let size = 0; size < buffer.length;) {
    const read = await transport.read(buffer.subarray(size));
    if (read === null) return undefined;
    // The end may be split over two reads.
    const from = Math.max(0, size - 3);
    size += read;
    const end = latin1.decode(buffer.subarray(from, size)).indexOf("\r\n\r\n");
    if (end >= 0) return latin1.decode(buffer.subarray(0, from + end));
  }
  return undefined;
}

function respond(head: string, policies: ReadonlyMap<string, string>): Response {
  const [request = "", ...lines] = head.split("\r\n");
  const [method, target = "", version = ""] = request.split(" ");
  const hosts = lines.filter((line) => /^host:/i.test(line)).map((line) => line.slice(5).trim());
  if (!/^HTTP\/1\.[01]$/.test(version) || hosts.length > 1) return BAD_REQUEST;
  // The absolute form (RFC 9112 §3.2.2) names the host itself.
  const [, authority = hosts[0] ?? "", path = "/"] = /^https:\/\/([^/?#]+)(\/.*)?$/is.exec(target) ??
    [target, hosts[0], target];
  const host = hostName(authority);
  if (method !== "GET" && method !== "HEAD") {
    return response(405, {
      reason: "Method Not Allowed",
      body: "Only GET.\n",
      fields: "Allow: GET, HEAD\r\n",
    });
  }
  const policy = path.replace(/\?.*/s, "") === POLICY_PATH ? policies.get(host) : undefined;
  return policy === undefined
    ? response(404, {
      reason: "Not Found",
      body: `There is ${POLICY_PATH} only.\n`,
      bodyless: method === "HEAD",
    })
    : response(200, { reason: "OK", body: policy, host, bodyless: method === "HEAD" });
}

/** A Host field without its port. */
function hostName(authority: string): string {
  if (authority.length > MAX_HOST) return "";
  return authority.replace(/:\d*$/, "").replace(/\.$/, "").toLowerCase();
}

function response(
  status: keyof typeof byStatus | 405,
  { reason, body, host = "", fields = "", bodyless = false }: {
    readonly reason: string;
    readonly body: string;
    readonly host?: string;
    readonly fields?: string;
    readonly bodyless?: boolean;
  },
): Response {
  const length = encoder.encode(body).length;
  const head = `HTTP/1.1 ${status} ${reason}\r\nContent-Type: text/plain\r\nContent-Length: ${length}\r\n` +
    `${fields}X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n`;
  return {
    status,
    host,
    counter: status === 405 ? notAllowed : byStatus[status],
    octets: encoder.encode(head + (bodyless ? "" : body)),
  };
}
