/**
 * One HTTPS request, over its own connection, with every bound in our own hands. `node:https` asks for permissions
 * that a confined server does not have.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { concat } from "../base/concat.ts";
import { latin1 } from "../base/latin1.ts";
import { OctetBuffer } from "../base/octet_buffer.ts";
import { createDial } from "../net/dial.ts";
import type { Transport } from "../net/transport.ts";
import { clientUpgrade } from "./client_upgrade.ts";

/** What is asked, and of whom. */
export interface HttpsRequest {
  /** The server's name, which its certificate must be for. */
  readonly host: string;
  /** Its IP addresses; the next one is tried where one gives no connection. At least one. */
  readonly addresses: readonly string[];
  /** Default 443. */
  readonly port?: number;
  /** With its leading slash; printable ASCII. */
  readonly path: string;
  /** `POST` with a body, else `GET`. */
  readonly body?: Uint8Array;
  /** Fields beside Host, User-Agent, Content-Length and Connection; their names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  /** PEM certificates to trust in place of those that came with Deno, or the system's. */
  readonly trusted?: readonly string[];
  /** `false`: the certificate may be any; for servers of this machine. */
  readonly verify?: boolean;
  /** Octets of the body that are taken. */
  readonly maxBody: number;
  /** For all of it, in milliseconds. */
  readonly timeout: number;
  /** Measures that. */
  readonly clock: Clock;
  /** Gives up at once. */
  readonly signal?: AbortSignal;
}

/** What came back. */
export interface HttpsResponse {
  /** The status code, 200–599. */
  readonly status: number;
  /** By name in lower case; of several with one name the first. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

/** What came back is no answer, or is too long (`tooLong`). */
export class HttpError extends Error {
  readonly tooLong: boolean;
  constructor(message: string, { tooLong = false }: { readonly tooLong?: boolean } = {}) {
    super(message);
    this.name = "HttpError";
    this.tooLong = tooLong;
  }
}

const MAX_HEADER = 16 * 1024;
const MAX_INTERIM = 10;
const CONNECT_TIMEOUT = 10_000;
const encoder = new TextEncoder();
const CR_LF = encoder.encode("\r\n");
const CR_LF_TWICE = encoder.encode("\r\n\r\n");

/**
 * Sends the request and reads the response. Redirects are not followed.
 * @throws {TlsError} when there is no TLS, or the certificate does not verify for the host
 * @throws {HttpError} when the response makes no sense or is too long
 * @throws {DeadlineError | ConnectionError} when it takes too long, or the connection breaks
 */
export async function httpsRequest(request: HttpsRequest): Promise<HttpsResponse> {
  const { host, port = 443, trusted, verify = true, timeout, clock, signal } = request;
  const deadline = clock.monotonic() + timeout;
  const plain = await connect(request, port);
  plain.deadline = deadline;
  let transport = plain;
  const abort = () => transport.close();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    if (signal?.aborted) abort();
    ({ transport } = await clientUpgrade(plain, {
      servername: host,
      verify,
      ...(trusted && { ca: trusted }),
    }));
    transport.deadline = deadline;
    await transport.write(requestBytes(request, port));
    return await readResponse(new ByteReader(transport), request.maxBody);
  } finally {
    signal?.removeEventListener("abort", abort);
    transport.close();
    plain.close();
  }
}

async function connect(
  { addresses, timeout, clock, signal }: HttpsRequest,
  port: number,
): Promise<Transport> {
  const dial = createDial({ clock, timeout: Math.min(timeout, CONNECT_TIMEOUT) });
  let failure: unknown = new HttpError("no address");
  for (const address of addresses) {
    try {
      return await dial({ address, port }, signal ? { signal } : {});
    } catch (error) {
      failure = error;
      if (signal?.aborted) break;
    }
  }
  throw failure;
}

function requestBytes({ host, path, body, headers = {} }: HttpsRequest, port: number): Uint8Array {
  const lines = [
    `${body === undefined ? "GET" : "POST"} ${path} HTTP/1.1`,
    `host: ${host}${port === 443 ? "" : `:${port}`}`,
    "user-agent: mailapp",
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(body === undefined ? [] : [`content-length: ${body.length}`]),
    "connection: close",
  ];
  return concat(encoder.encode(lines.join("\r\n")), CR_LF_TWICE, body ?? new Uint8Array());
}

async function readResponse(reader: ByteReader, maxBody: number): Promise<HttpsResponse> {
  for (let interim = 0; interim <= MAX_INTERIM; interim++) {
    const [first = "", ...lines] = (await reader.until(CR_LF_TWICE, MAX_HEADER)).split("\r\n");
    const status = Number(/^HTTP\/1\.[01] ([1-5]\d\d)(?: |$)/.exec(first)?.[1]);
    if (Number.isNaN(status)) throw new HttpError("not an answer by HTTP/1.1");
    if (status < 200) continue;
    const headers = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(":");
      const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
      if (!/^[!#$%&'*+.^_`|~\w-]{1,100}$/.test(name)) {
        throw new HttpError("a header line is not of the form name: value");
      }
      if (!headers.has(name)) headers.set(name, line.slice(colon + 1).trim());
    }
    return { status, headers, body: await readBody(reader, { status, headers, maxBody }) };
  }
  throw new HttpError("no end of interim responses");
}

async function readBody(
  reader: ByteReader,
  { status, headers, maxBody }: Pick<HttpsResponse, "status" | "headers"> & { readonly maxBody: number },
): Promise<Uint8Array> {
  if (status === 204 || status === 304) return new Uint8Array();
  const coding = headers.get("transfer-encoding");
  if (coding !== undefined) {
    if (coding.toLowerCase() !== "chunked") throw new HttpError("an unknown transfer coding");
    return await readChunks(reader, maxBody);
  }
  const length = headers.get("content-length");
  if (length === undefined) return await reader.rest(maxBody);
  if (!/^\d{1,15}$/.test(length)) throw new HttpError("Content-Length is not a number");
  if (Number(length) > maxBody) throw tooLong(maxBody);
  return await reader.take(Number(length));
}

/** The chunked transfer coding (RFC 9112 §7.1); what follows the last chunk is not read. */
async function readChunks(reader: ByteReader, maxBody: number): Promise<Uint8Array> {
  const body = new OctetBuffer();
  for (;;) {
    const [text = ""] = (await reader.until(CR_LF, 1024)).split(";");
    const size = /^[0-9a-f]{1,8}$/i.exec(text.trimEnd())?.[0];
    if (size === undefined) throw new HttpError("a chunk has no size");
    const length = parseInt(size, 16);
    if (length === 0) return body.take(body.length) ?? new Uint8Array();
    if (body.length + length > maxBody) throw tooLong(maxBody);
    body.push(await reader.take(length));
    if (await reader.until(CR_LF, 2) !== "") throw new HttpError("a chunk does not end where it should");
  }
}

function tooLong(maxBody: number): HttpError {
  return new HttpError(`longer than ${maxBody} octets`, { tooLong: true });
}

/** Takes what comes apart. */
class ByteReader {
  readonly #transport: Transport;
  readonly #buffer = new OctetBuffer();

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** The text up to this delimiter, one character an octet; the delimiter is taken and left out. */
  async until(delimiter: Uint8Array, most: number): Promise<string> {
    for (;;) {
      const found = this.#buffer.takeUntil(delimiter, most);
      if (found !== undefined) return latin1(found);
      if (this.#buffer.length >= most) throw new HttpError("a line or the header is too long");
      if (!await this.#more()) throw new HttpError("the connection ended within the answer");
    }
  }

  async take(length: number): Promise<Uint8Array> {
    for (;;) {
      const taken = this.#buffer.take(length);
      if (taken !== undefined) return taken;
      if (!await this.#more()) throw new HttpError("the connection ended within the answer");
    }
  }

  /** All up to the end. */
  async rest(most: number): Promise<Uint8Array> {
    do {
      if (this.#buffer.length > most) throw tooLong(most);
    } while (await this.#more());
    return await this.take(this.#buffer.length);
  }

  async #more(): Promise<boolean> {
    const size = await this.#transport.read(this.#buffer.free());
    this.#buffer.added(size ?? 0);
    return size !== null;
  }
}
