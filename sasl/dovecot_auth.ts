/**
 * Passwords that Dovecot checks, so that IMAP and submission share one: a client of its authentication protocol 1.2
 * (auth-protocol.txt of Dovecot's documentation), over its Unix socket.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import { writeAll } from "../base/write_all.ts";
import type { LoginOrigin } from "../smtp/authenticator.ts";
import type { Credentials, PasswordVerdict } from "./credentials.ts";
import { type DovecotReply, parseReply, plainRequest } from "./dovecot_protocol.ts";
import { prepareLogin } from "./prepare.ts";

/** What it needs. */
export interface DovecotAuthOptions {
  /** The socket, such as `/run/dovecot/auth-client`. */
  readonly path: string;
  /** Ends waits. */
  readonly clock: Clock;
}

// Times in milliseconds. Dovecot answers a wrong password after two seconds, and waits itself for its own databases.
const REQUEST_TIME = 30_000;
const HANDSHAKE_TIME = 30_000;
/** Requests under way; more are told that logins cannot be checked now. */
const MAX_PENDING = 100;
/** Octets of a line of Dovecot's. */
const MAX_LINE = 16 * 1024;
const READ_SIZE = 16 * 1024;
const MAX_ID = 2 ** 31;

/** Asks Dovecot over one connection, which is made at the first question, and again when it has ended. */
export class DovecotAuth implements Disposable {
  readonly #options: DovecotAuthOptions;
  #connection: Promise<Connection> | undefined;
  #asked = 0;
  #pending = 0;
  #ended = false;

  /** Connects when it is asked. */
  constructor(options: DovecotAuthOptions) {
    this.#options = options;
  }

  /** The accounts for a client that is there. */
  credentialsFor(origin: LoginOrigin): Credentials {
    return { check: (login, password) => this.#check(login, { password, origin }) };
  }

  /** Closes the connection; whoever waits gets an error. */
  [Symbol.dispose](): void {
    this.#ended = true;
    this.#connection?.then((connection) => connection.end("the server is stopping"), () => {});
  }

  async #check(
    login: string,
    { password, origin }: { readonly password: string; readonly origin: LoginOrigin },
  ): Promise<PasswordVerdict> {
    if (this.#pending >= MAX_PENDING) return { kind: "unavailable", why: "too many logins wait for Dovecot" };
    this.#pending++;
    try {
      const connection = await this.#connected();
      const id = this.#asked = this.#asked % MAX_ID + 1;
      return verdictOf(await connection.ask(id, plainRequest(id, { login, password, ...origin })), login);
    } catch (error) {
      return { kind: "unavailable", why: `${this.#options.path}: ${errorText(error)}` };
    } finally {
      this.#pending--;
    }
  }

  async #connected(): Promise<Connection> {
    if (this.#ended) throw new Error("the server is stopping");
    const current = this.#connection;
    const known = await current?.catch(() => undefined);
    if (known !== undefined && !known.over) return known;
    // Of several that find it ended, the first one starts again.
    if (this.#connection === current) this.#connection = Connection.open(this.#options);
    return await (this.#connection ?? this.#connected());
  }
}

function verdictOf(reply: DovecotReply, login: string): PasswordVerdict {
  const { fields } = reply;
  if (reply.kind === "OK") {
    // Dovecot may know the login by another name, as with a default realm.
    const found = prepareLogin(fields.get("user") ?? login);
    if (found === undefined) return { kind: "unavailable", why: "Dovecot names a login that cannot be one" };
    return { kind: "right", login: found };
  }
  if (reply.kind === "CONT") return { kind: "unavailable", why: "Dovecot asks for more than PLAIN has" };
  if (fields.has("temp")) {
    return { kind: "unavailable", why: fields.get("reason") ?? "Dovecot cannot tell now" };
  }
  if (fields.has("user_disabled")) return { kind: "wrong", why: "the account is disabled" };
  if (fields.has("pass_expired")) return { kind: "wrong", why: "the password has expired" };
  return { kind: "wrong", why: "wrong password or unknown login" };
}

/** One connection, from its handshake on. */
class Connection {
  readonly #conn: Deno.Conn;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, PromiseWithResolvers<DovecotReply>>();
  readonly #ready = Promise.withResolvers<void>();
  #hasPlain = false;
  #writing: Promise<unknown> = Promise.resolve();
  #end: string | undefined;

  private constructor(conn: Deno.Conn, clock: Clock) {
    this.#conn = conn;
    this.#clock = clock;
  }

  /** Connects, and waits for the end of Dovecot's handshake. */
  static async open({ path, clock }: DovecotAuthOptions): Promise<Connection> {
    const connection = new Connection(await Deno.connect({ transport: "unix", path }), clock);
    const timer = clock.after(HANDSHAKE_TIME, () => connection.end("Dovecot does not begin"));
    void connection.#read();
    try {
      await connection.#write(`VERSION\t1\t2\nCPID\t${Deno.pid}\n`);
      await connection.#ready.promise;
    } finally {
      timer.cancel();
    }
    return connection;
  }

  /** Whether it has ended. */
  get over(): boolean {
    return this.#end !== undefined;
  }

  /** Sends a request and waits for its reply. @throws {Error} when none comes */
  async ask(id: number, request: string): Promise<DovecotReply> {
    if (this.#end !== undefined) throw new Error(this.#end);
    const reply = Promise.withResolvers<DovecotReply>();
    this.#waiting.set(id, reply);
    // Who does not answer one request may have lost more.
    const timer = this.#clock.after(REQUEST_TIME, () => this.end("Dovecot does not answer"));
    try {
      await this.#write(request);
      return await reply.promise;
    } finally {
      timer.cancel();
      this.#waiting.delete(id);
    }
  }

  /** Closes it; whoever waits gets the reason. */
  end(reason: string): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    try {
      this.#conn.close();
    } catch {
      // Closed already.
    }
    this.#ready.reject(new Error(reason));
    // The handshake may no longer be awaited.
    this.#ready.promise.catch(() => {});
    for (const { promise, reject } of this.#waiting.values()) {
      promise.catch(() => {});
      reject(new Error(reason));
    }
    this.#waiting.clear();
  }

  async #write(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    const written = this.#writing.then(() => writeAll(this.#conn, bytes));
    this.#writing = written.catch((error) => this.end(errorText(error)));
    await written;
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(READ_SIZE);
    const decoder = new TextDecoder();
    let rest = "";
    try {
      for (;;) {
        const length = await this.#conn.read(buffer);
        if (length === null) return this.end("Dovecot has closed the connection");
        const lines = decoder.decode(buffer.subarray(0, length), { stream: true }).split("\n");
        lines[0] = `${rest}${lines[0]}`;
        rest = lines.pop() ?? "";
        if (rest.length > MAX_LINE) return this.end("Dovecot sends a line that is too long");
        for (const line of lines) this.#take(line);
      }
    } catch (error) {
      this.end(errorText(error));
    }
  }

  /** What else there is (SPID, CUID, COOKIE, and what later versions add) does not matter here. */
  #take(line: string): void {
    const [command, first] = line.split("\t", 2);
    switch (command) {
      case "VERSION":
        if (first !== "1") this.end(`Dovecot speaks version ${first} of its protocol, and not 1`);
        break;
      case "MECH":
        if (first === "PLAIN") this.#hasPlain = true;
        break;
      case "DONE":
        if (this.#hasPlain) this.#ready.resolve();
        else this.end("Dovecot does not offer PLAIN (auth_mechanisms)");
        break;
      case "OK":
      case "FAIL":
      case "CONT": {
        const reply = parseReply(line);
        if (reply !== undefined) this.#waiting.get(reply.id)?.resolve(reply);
        break;
      }
    }
  }
}
