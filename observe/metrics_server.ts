/**
 * Serves Prometheus: `GET /metrics` over HTTP/1.1, one request per connection, and nothing else.
 *
 * It must not disturb the mail server that it runs in, so everything is bounded: connections, octets of
 * a request, and the time that all of it may take.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { timingSafeEqual } from "node:crypto";
import { allMetrics, counter } from "../base/counters.ts";
import { latin1 } from "../base/latin1.ts";
import { METRICS_TYPES, writeMetrics } from "./metrics_text.ts";

/** The options. */
export interface MetricsServerOptions {
  /** The token that every request must have (`Authorization: Bearer …`); absent on loopback only. */
  readonly token?: string;
  /** Awaited before the metrics are read; must be short and never reject. */
  readonly refresh?: () => Promise<void>;
  /** For one request, in milliseconds; 5 seconds if absent. */
  readonly timeout?: number;
}

const MAX_REQUEST = 8 * 1024;
const MAX_CONNECTIONS = 8;
const TIMEOUT = 5_000;
/** How often accepting may fail in a row, with a pause after each, in milliseconds. */
const PAUSE = 1_000;
// Host names of requests to loopback; any other name suggests DNS rebinding.
const LOOPBACK_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

const scrapes = counter("mailapp_metrics_scrapes_total", "Requests for the metrics that were answered");
const encoder = new TextEncoder();

/** Serves until the listener is closed. Never throws. */
export async function serveMetrics(
  listener: Deno.Listener,
  options: MetricsServerOptions = {},
): Promise<void> {
  let open = 0;
  const running = new Set<Promise<void>>();
  for (;;) {
    let conn: Deno.Conn;
    try {
      conn = await listener.accept();
    } catch (error) {
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) break;
      await new Promise((resolve) => Deno.unrefTimer(setTimeout(resolve, PAUSE)));
      continue;
    }
    if (open >= MAX_CONNECTIONS) {
      conn.close();
      continue;
    }
    open++;
    const answered = answer(conn, options).finally(() => {
      open--;
      running.delete(answered);
    });
    running.add(answered);
  }
  await Promise.all(running);
}

async function answer(
  conn: Deno.Conn,
  { token, refresh, timeout = TIMEOUT }: MetricsServerOptions,
): Promise<void> {
  const timer = setTimeout(() => close(conn), timeout);
  try {
    const head = await readHead(conn);
    if (head !== undefined) {
      await refresh?.();
      const reply = encoder.encode(respond(head, token));
      for (let sent = 0; sent < reply.length;) sent += await conn.write(reply.subarray(sent));
      await conn.closeWrite();
    }
  } catch {
    // The client has gone, or was too slow.
  } finally {
    clearTimeout(timer);
    close(conn);
  }
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed already.
  }
}

/** Request line and header fields; `undefined` if they are too long. */
async function readHead(conn: Deno.Conn): Promise<string | undefined> {
  const buffer = new Uint8Array(MAX_REQUEST);
  for (let size = 0; size < buffer.length;) {
    const read = await conn.read(buffer.subarray(size));
    if (read === null) return undefined;
    // The end may be split over two reads.
    const from = Math.max(0, size - 3);
    size += read;
    const end = latin1(buffer, from, size).indexOf("\r\n\r\n");
    if (end >= 0) return latin1(buffer, 0, from + end);
  }
  return undefined;
}

function respond(head: string, token: string | undefined): string {
  const [request = "", ...lines] = head.split("\r\n");
  const field = (name: string) =>
    lines.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim() ?? "";
  const [method, path = ""] = request.split(" ");
  if (token !== undefined ? !isToken(field("authorization"), token) : !LOOPBACK_HOST.test(field("host"))) {
    return token === undefined
      ? refuse("403 Forbidden", "Ask by the loopback address.")
      : refuse("401 Unauthorized", "A token is needed.", "WWW-Authenticate: Bearer\r\n");
  }
  if (method !== "GET") return refuse("405 Method Not Allowed", "Only GET.", "Allow: GET\r\n");
  if (path.replace(/\?.*/s, "") !== "/metrics") return refuse("404 Not Found", "There is /metrics only.");
  scrapes.add();
  const format = field("accept").includes("application/openmetrics-text") ? "openMetrics" : "prometheus";
  return response("200 OK", METRICS_TYPES[format], writeMetrics(allMetrics(), format));
}

function isToken(authorization: string, token: string): boolean {
  const given = Buffer.from(/^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? "");
  const wanted = Buffer.from(token);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

function refuse(status: string, why: string, more = ""): string {
  return response(status, "text/plain; charset=utf-8", `${why}\n`, more);
}

function response(status: string, type: string, body: string, more = ""): string {
  const length = encoder.encode(body).length;
  return `HTTP/1.1 ${status}\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n${more}` +
    `Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n${body}`;
}
