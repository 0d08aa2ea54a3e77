/**
 * A machine whose people send mail: serve-in, serve-out and serve-submit as child processes on loopback.
 *
 * @module
 */
import { type Account, formatAccounts, MAIN_PASSWORD } from "../../accounts/account.ts";
import { newAccount, storePassword } from "../../accounts/new_password.ts";
import { argon2Hasher } from "../../accounts/password_hash.ts";
import { RunningMailapp, type RunOptions, Workspace } from "./mailapp.ts";
import { freePort, untilListening } from "./peers/ports.ts";
import { createTestAuthority, type TestAuthority } from "./test_authority.ts";
import { WireClient } from "./wire_client.ts";

/** The password of every account of a test. */
export const PASSWORD = "correct horse battery staple";

/** The name in the certificate. */
export const HOSTNAME = "mx.example.com";

/** Tables that differ, as `Workspace.configure()` takes them. */
type Changes = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

type ServerName = "serve-in" | "serve-out" | "serve-submit";

/** What a test may choose. */
export interface SubmissionOptions {
  readonly changes?: Changes;
  /** The logins; alice and bob of example.com if absent. */
  readonly logins?: readonly string[];
  /** How servers are started. */
  readonly run?: RunOptions;
  /** Where the log goes; absent: to the events of the servers. */
  readonly logFile?: string;
}

/** An account with the password {@linkcode PASSWORD}. */
export async function testAccount(login: string): Promise<Account> {
  const now = new Date();
  const account = newAccount(login, now);
  const stored = await storePassword(PASSWORD, {
    account,
    id: MAIN_PASSWORD,
    label: "",
    now,
    hasher: argon2Hasher,
  });
  return { ...account, passwords: [stored] };
}

/** The machine; disposed, it is stopped and removed. */
export class SubmissionMachine implements AsyncDisposable {
  /** The directory with its configuration. */
  readonly workspace: Workspace;
  /** Issued the certificate. */
  readonly authority: TestAuthority;
  /** STARTTLS. */
  readonly port: number;
  /** TLS at once. */
  readonly tlsPort: number;
  /** Its configuration. */
  readonly config: string;
  readonly #run: RunOptions;
  /** Where each server listens, if that is the only sign that it is ready. */
  readonly #ports: Readonly<Record<ServerName, number>> | undefined;

  private constructor(
    parts: Pick<SubmissionMachine, "workspace" | "authority" | "port" | "tlsPort" | "config"> & {
      readonly run: RunOptions;
      readonly ports: Readonly<Record<ServerName, number>> | undefined;
    },
  ) {
    this.workspace = parts.workspace;
    this.authority = parts.authority;
    this.port = parts.port;
    this.tlsPort = parts.tlsPort;
    this.config = parts.config;
    this.#run = parts.run;
    this.#ports = parts.ports;
  }

  /** Writes the configuration, the certificate and the accounts; starts nothing. */
  static async create(
    { changes = {}, logins = ["alice@example.com", "bob@example.com"], run = {}, logFile }:
      SubmissionOptions = {},
  ): Promise<SubmissionMachine> {
    const workspace = await Workspace.create();
    const authority = await createTestAuthority();
    const leaf = await authority.issue({ names: [HOSTNAME, "localhost", "127.0.0.1", "::1"] });
    await Deno.writeTextFile(workspace.file("cert.pem"), leaf.cert);
    await Deno.writeTextFile(workspace.file("key.pem"), leaf.key, { mode: 0o600 });
    await Deno.writeTextFile(workspace.file("ca.pem"), authority.cert);
    const [port, tlsPort, serveIn, serveOut] = [freePort(), freePort(), freePort(), freePort()];
    const usual: Record<string, Readonly<Record<string, unknown>>> = {
      tls: { cert: workspace.file("cert.pem"), key: workspace.file("key.pem") },
      "serve-in": { port: serveIn },
      "serve-out": { port: serveOut, min_free_space: 0 },
      "serve-submit": { listen: ["127.0.0.1", "::1"], port, tls_port: tlsPort },
      ...logFile !== undefined && { log: { file: logFile, format: "json" } },
    };
    for (const [name, lines] of Object.entries(changes)) usual[name] = { ...usual[name], ...lines };
    const config = await workspace.configure(usual);
    const directory = workspace.file("state", "accounts");
    await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
    const accounts = await Promise.all(logins.map(testAccount));
    await Deno.writeTextFile(`${directory}/accounts.json`, formatAccounts(accounts), { mode: 0o600 });
    const ports = logFile === undefined
      ? undefined
      : { "serve-in": serveIn, "serve-out": serveOut, "serve-submit": tlsPort };
    return new SubmissionMachine({ workspace, authority, port, tlsPort, config, run, ports });
  }

  /** Starts a server, and waits until it is ready. */
  async start(server: ServerName): Promise<RunningMailapp> {
    const running = new RunningMailapp([server, "--config", this.config], this.#run);
    if (this.#ports === undefined) await running.event("server.ready");
    else await untilListening(this.#ports[server]);
    return running;
  }

  /** A client past the handshake and EHLO, by TLS at once. */
  async connect(hostname = "127.0.0.1"): Promise<WireClient> {
    const conn = await Deno.connectTls({ hostname, port: this.tlsPort, caCerts: [this.authority.cert] });
    const client = new WireClient(conn);
    await client.hear();
    await client.say("EHLO client.test");
    return client;
  }

  /** A client that has logged in. */
  async login(login = "alice@example.com", hostname?: string): Promise<WireClient> {
    const client = await this.connect(hostname);
    const reply = await client.say(`AUTH PLAIN ${btoa(`\0${login}\0${PASSWORD}`)}`);
    if (!reply.startsWith("235 ")) throw new Error(`login refused: ${reply}`);
    return client;
  }

  /** Removes it all. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.workspace[Symbol.asyncDispose]();
  }
}
