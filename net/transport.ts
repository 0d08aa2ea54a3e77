/**
 * The byte stream under a dialogue, with deadlines and TLS. Server and client share it.
 *
 * @module
 */
/** One end of a TCP connection. */
export interface SocketAddress {
  /** The IP address; IPv4-mapped IPv6 is shown as IPv4. */
  readonly address: string;
  /** The TCP port. */
  readonly port: number;
}

/** What was negotiated. */
export interface TlsInfo {
  /** `TLSv1.2` or `TLSv1.3`. */
  readonly protocol: string;
  /** The cipher suite's standard (IANA) name. */
  readonly cipher: string;
  /** The name the client asked for (SNI), if any. */
  readonly serverName?: string;
}

/** A connection. One reader and one writer at a time. */
export interface Transport {
  /** The other end. */
  readonly remote: SocketAddress;
  /** This end. */
  readonly local: SocketAddress;
  /**
   * Reads what is there, at least one byte; `null` at the end of the stream.
   * @throws {DeadlineError} when the deadline passes; the connection is closed then
   */
  read(buffer: Uint8Array): Promise<number | null>;
  /**
   * Writes all of it, waiting for the peer to take it; then the memory may be used again.
   * @throws {DeadlineError} when the deadline passes; the connection is closed then
   */
  write(data: Uint8Array): Promise<void>;
  /** When reads, writes and the handshake must be over: in the transport's `clock.monotonic()`. */
  deadline: number;
  /** Says that nothing more will be written; what the peer sends can still be read. */
  closeWrite?(): Promise<void>;
  /** Ends the connection at once. Safe to call twice. */
  close(): void;
}

/** Turns a connection into one over TLS, as the server; bytes read before are dropped. */
export type UpgradeToTls = (plain: Transport) => Promise<{ transport: Transport; tls: TlsInfo }>;

/** Waiting took longer than allowed. */
export class DeadlineError extends Error {
  /** The message is for the log; the peer does not see it. */
  constructor(message = "no answer in time") {
    super(message);
    this.name = "DeadlineError";
  }
}
