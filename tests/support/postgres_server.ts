/**
 * A PostgreSQL server of a test's own, on loopback, with as many databases as wanted.
 *
 * @module
 */
import { join } from "@std/path";
import postgres from "postgres";
import { Database } from "../../relay/postgres/database.ts";
import { parseDatabaseUrl } from "../../relay/postgres/url.ts";
import { migrate } from "../../relay/postgres/schema.ts";
import { testWith } from "./requires.ts";

/** A test that needs a server. */
export type PostgresTest = (server: PostgresServer) => Promise<void>;

/**
 * Registers tests, by name, that share a server, which is slow to start. Debian's wrapper says whether PostgreSQL is
 * installed.
 */
export function testsWithPostgres(
  name: string,
  tests: Readonly<Record<string, PostgresTest>>,
  options: PostgresServerOptions = {},
): void {
  testWith(["pg_lsclusters", "runuser"], name, async (t) => {
    await using server = await PostgresServer.start(options);
    for (const [step, work] of Object.entries(tests)) await t.step(step, () => work(server));
  });
}

/** What may be different. */
export interface PostgresServerOptions {
  /** Whether it waits for the disk; not needed where the machine does not go down. */
  readonly fsync?: boolean;
  /** Further settings. */
  readonly settings?: Readonly<Record<string, string>>;
  /** An address to listen on beside loopback, where clients need TLS; with what it shows them. */
  readonly outside?: {
    readonly address: string;
    /** In PEM. */
    readonly certificate: string;
    readonly key: string;
  };
  /** Lines for the top of `pg_hba.conf`; by default clients need no password. */
  readonly access?: readonly string[];
  /** Added to its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** What it follows as a standby; default: it is a primary. */
  readonly follows?: PostgresServer;
  /** Default: a free one. */
  readonly port?: number;
}

/** A running server. */
export class PostgresServer implements AsyncDisposable {
  readonly #directory: string;
  readonly #settings: readonly string[];
  readonly #env: readonly string[];
  readonly port: number;
  #databases = 0;

  private constructor(
    directory: string,
    { port, settings, env }: {
      readonly port: number;
      readonly settings: readonly string[];
      readonly env: readonly string[];
    },
  ) {
    this.#directory = directory;
    this.#env = env;
    this.port = port;
    this.#settings = settings;
  }

  /** Makes a cluster in its own directory, and starts it. */
  static async start(
    { fsync = false, settings = {}, env = {}, access = [], outside, follows, port = freePort() }:
      PostgresServerOptions = {},
  ): Promise<PostgresServer> {
    const directory = await Deno.makeTempDir({ prefix: "mailapp-postgres-" });
    await run("chown", "postgres", directory);
    const tls = { ssl_cert_file: join(directory, "certificate"), ssl_key_file: join(directory, "key") };
    const all = {
      fsync: fsync ? "on" : "off",
      listen_addresses: [...new Set(["127.0.0.1", ...(outside ? [outside.address] : [])])].join(),
      ...(outside && { ssl: "on", ...tls }),
      port: String(port),
      unix_socket_directories: directory,
      max_connections: "100",
      shared_buffers: "32MB",
      ...settings,
    };
    const server = new PostgresServer(directory, {
      port,
      settings: Object.entries(all).map(([name, value]) => `-c${name}=${value}`),
      env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    });
    try {
      if (outside !== undefined) {
        await Deno.writeTextFile(tls.ssl_cert_file, outside.certificate);
        await Deno.writeTextFile(tls.ssl_key_file, outside.key, { mode: 0o600 });
        await run("chown", "postgres", tls.ssl_key_file);
      }
      await (follows === undefined ? server.#initialize(access) : server.#copy(follows));
      await server.restart();
    } catch (error) {
      await Deno.remove(directory, { recursive: true });
      throw error;
    }
    return server;
  }

  /** Where its Unix socket is. */
  get directory(): string {
    return this.#directory;
  }

  /** A separate database with an empty queue; its address. */
  async newDatabase({ migrated = true } = {}): Promise<string> {
    const name = `queue${++this.#databases}`;
    await this.query("postgres", `CREATE DATABASE ${name}`);
    const url = `postgres://mailapp:x@127.0.0.1:${this.port}/${name}?sslmode=disable`;
    if (migrated) {
      await using database = new Database({ url: parseDatabaseUrl(url), connections: 1 });
      await migrate(database);
    }
    return url;
  }

  /** Holds the locks of a statement until disposed, as `BEGIN; SELECT … FOR UPDATE` in psql does. */
  async lock(database: string, text: string): Promise<AsyncDisposable> {
    const sql = postgres({
      ...{ host: "127.0.0.1", port: this.port, user: "mailapp", pass: "x", database },
      ...{ max: 1, fetch_types: false },
    });
    await sql.unsafe("BEGIN");
    await sql.unsafe(text);
    return { [Symbol.asyncDispose]: () => sql.end({ timeout: 0 }) };
  }

  /** Runs SQL in a database, past the program. */
  async query(database: string, text: string): Promise<readonly Record<string, unknown>[]> {
    const sql = postgres({
      ...{
        host: "127.0.0.1",
        port: this.port,
        user: "mailapp",
        pass: "x",
        database,
        max: 1,
        fetch_types: false,
      },
      onnotice: () => {},
    });
    try {
      return [...await sql.unsafe(text)];
    } finally {
      await sql.end({ timeout: 1 });
    }
  }

  /** The number of its first process. */
  async pid(): Promise<number> {
    return Number((await Deno.readTextFile(join(this.#data, "postmaster.pid"))).split("\n")[0]);
  }

  /** Makes a standby the primary. */
  async promote(): Promise<void> {
    await this.#run("pg_ctl", "-D", this.#data, "-w", "promote");
  }

  /** Stops it like a crash of the machine, without a checkpoint. */
  async kill(): Promise<void> {
    await this.#run("pg_ctl", "-D", this.#data, "-m", "immediate", "-w", "stop");
  }

  /** Starts it after that. */
  async restart(): Promise<void> {
    const log = join(this.#directory, "log");
    await this.#run("pg_ctl", "-D", this.#data, "-l", log, "-w", "-o", this.#settings.join(" "), "start");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill().catch(() => {});
    await Deno.remove(this.#directory, { recursive: true });
  }

  async #initialize(access: readonly string[]): Promise<void> {
    const user = ["-U", "mailapp", "-A", "trust"];
    await this.#run("initdb", "-D", this.#data, ...user, "-N", "--locale=C", "-E", "UTF8");
    const file = join(this.#data, "pg_hba.conf");
    const usual = await Deno.readTextFile(file);
    await Deno.writeTextFile(file, [...access, usual, "hostssl all all all trust", ""].join("\n"));
  }

  async #copy({ port }: PostgresServer): Promise<void> {
    const from = `host=127.0.0.1 port=${port} user=mailapp application_name=standby`;
    const how = ["-R", "-X", "stream", "-c", "fast", "-N"];
    await this.#run("pg_basebackup", "-d", from, "-D", this.#data, ...how);
  }

  get #data(): string {
    return join(this.#directory, "data");
  }

  async #run(program: string, ...args: readonly string[]): Promise<void> {
    await run("runuser", "-u", "postgres", "--", "env", ...this.#env, join(binaries(), program), ...args);
  }
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

/** Where Debian has the programs of the server, which are not in the path. */
function binaries(): string {
  const versions = [...Deno.readDirSync("/usr/lib/postgresql")].map(({ name }) => Number(name));
  return `/usr/lib/postgresql/${Math.max(...versions)}/bin`;
}

async function run(program: string, ...args: readonly string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, {
    args: [...args],
    cwd: "/",
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}
