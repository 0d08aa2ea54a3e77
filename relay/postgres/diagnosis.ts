/**
 * Why a database cannot be used, in words for its operator. With several servers its client says of none of them what is
 * wrong, so each is asked by itself.
 *
 * @module
 */
import { connect } from "node:net";
import postgres from "postgres";
import { errorText } from "../../base/error_text.ts";
import { clientOptions, CONNECT_WITHIN_SECONDS, type Credentials } from "./credentials.ts";
import type { DatabaseUrl } from "./url.ts";

// The oldest server that the statements work with, as `server_version_num` has it.
const OLDEST = 130_000;
// Milliseconds for a connection and an answer.
const ASK_WITHIN = 1_000 * CONNECT_WITHIN_SECONDS + 1_000;

/** What became of an examination of all servers. */
export interface Findings {
  /** What is wrong with each server, as `HOST:PORT: PROBLEM`; empty where at least one can be used. */
  readonly troubles: readonly string[];
  /** `synchronous_standby_names` of the one that can be used. */
  readonly standbys?: string;
}

/** Examines all servers. */
export async function examine(credentials: Credentials): Promise<Findings> {
  const answers = await Promise.all(
    credentials.url.hosts.map(async (server) => ({ server, ...await ask(server, credentials) })),
  );
  const usable = answers.find(({ problem }) => problem === undefined);
  if (usable !== undefined) return { troubles: [], standbys: usable.standbys ?? "" };
  return { troubles: answers.map(({ server, problem }) => `${placeOf(server)}: ${problem}`) };
}

/** The code of an error of PostgreSQL (SQLSTATE) or of the system; "" where it has none. */
export function codeOf(error: unknown): string {
  const { code } = error instanceof Error ? error as Error & { code?: unknown } : {};
  return typeof code === "string" ? code : "";
}

/** An error with its code, and what to do where that is known. */
export function explain(error: unknown): string {
  const [text, code] = [errorText(error), codeOf(error)];
  const [, advice] = ADVICE.find(([pattern]) => pattern.test(`${code} ${text}`)) ?? [];
  const isNew = code !== "" && !text.includes(code);
  return `${text}${isNew ? ` (${code})` : ""}${advice === undefined ? "" : `: ${advice}`}`;
}

/** What is wrong with the version of a server, as `server_version_num` has it; `undefined`: nothing. */
export function ageProblem(version: number): string | undefined {
  if (!(version < OLDEST)) return undefined;
  const [major, minor] = [Math.floor(version / 10_000), Math.floor(version / 100) % 100];
  return `PostgreSQL ${major < 10 ? `${major}.${minor}` : major} is too old: 13 or later is needed`;
}

// By "CODE TEXT"; the first that matches counts.
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/^28P01 /, "check user and password in queue.url_file"],
  [
    /^28000 .*(?:no encryption|SSL off)/s,
    "the server requires TLS: leave out sslmode=disable in queue.url_file",
  ],
  [/^28000 no pg_hba/, "pg_hba.conf of the server needs a line for this host, user and database"],
  [/^28/, "check the user in queue.url_file, and pg_hba.conf of the server"],
  [/^3D000 /, "check the database's name in queue.url_file, or create it with createdb"],
  [/^42501 /, "the user in queue.url_file must own the database, or the schema mailapp"],
  [/^53300 /, "each serve-out uses up to 13 connections: raise max_connections, or the limit of the user"],
  [/^53100 /, "free space on the disk of the server"],
  [
    /^55P03 /,
    "somebody has locked a row or table of the queue, perhaps in a transaction left open in psql: " +
    "pg_locks and pg_stat_activity show who",
  ],
  [/^57P03 /, "the server starts or stops; tried again"],
  [/^25006 /, "this server takes no writes: name the primary in queue.url_file"],
  [/^ENOTFOUND /, "no such host: check the name in queue.url_file, and DNS"],
  [
    /^ECONNREFUSED /,
    "nothing listens there: start PostgreSQL, and check listen_addresses, port and firewall",
  ],
  [/^ENOENT /, "no socket there: check ?host= in queue.url_file, and whether PostgreSQL runs"],
  [
    /^(?:CONNECT_TIMEOUT|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH) /,
    "the machine or the way to it is down, or a firewall drops packets",
  ],
  [
    /UnknownIssuer|SELF_SIGNED|UNABLE_TO_(?:VERIFY|GET)|CaUsedAsEndEntity/,
    "name the authority that signed its certificate in queue.ca_file",
  ],
  [/NotValidForName|ALTNAME_INVALID/, "use the name that is in its certificate in queue.url_file"],
  [/CERT_HAS_EXPIRED|certificate: Expired|certificate expired/, "renew the certificate of the server"],
];

const STANDBY =
  "is a standby, which takes no writes: name the primary in queue.url_file, or promote this one";
const NO_TLS = "offers no TLS: set ssl = on with a certificate there (sslmode=disable is for loopback only)";

type Server = DatabaseUrl["hosts"][number];

function placeOf(server: Server): string {
  if ("path" in server) return `${server.path}/.s.PGSQL.${server.port}`;
  return server.host.includes(":") ? `[${server.host}]:${server.port}` : `${server.host}:${server.port}`;
}

async function ask(
  server: Server,
  credentials: Credentials,
): Promise<{ readonly problem?: string; readonly standbys?: string }> {
  const sql = postgres(
    {
      ...clientOptions(credentials),
      ...("path" in server ? { path: placeOf(server), host: "localhost" } : { host: server.host }),
      port: server.port,
      target_session_attrs: null,
      max: 1,
      connection: { application_name: "mailapp", statement_timeout: 1000 * CONNECT_WITHIN_SECONDS },
      onnotice: () => {},
    } as unknown as Parameters<typeof postgres>[0],
  );
  // A server that is cut off once it is connected would be waited for without end.
  const timer = setTimeout(() => void sql.end({ timeout: 0 }).catch(() => {}), ASK_WITHIN);
  try {
    const [row] = await sql`
      SELECT pg_is_in_recovery() AS standby, current_setting('server_version_num')::integer AS version,
        current_setting('transaction_read_only') = 'on' AS read_only,
        current_setting('synchronous_standby_names') AS standbys`;
    const tooOld = ageProblem(Number(row?.version));
    if (tooOld !== undefined) return { problem: tooOld };
    if (row?.standby) return { problem: STANDBY };
    if (row?.read_only) return { problem: "takes no writes: default_transaction_read_only is on there" };
    return { standbys: row?.standbys };
  } catch (error) {
    const isServers = error instanceof postgres.PostgresError;
    if (credentials.url.tls && !isServers && "host" in server && await refusesTls(server)) {
      return { problem: NO_TLS };
    }
    return { problem: explain(error) };
  } finally {
    clearTimeout(timer);
    await sql.end({ timeout: 0 }).catch(() => {});
  }
}

/** Whether a server answers the request for TLS with no. */
async function refusesTls(
  { host, port }: { readonly host: string; readonly port: number },
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host, port, timeout: 1000 * CONNECT_WITHIN_SECONDS });
  socket.on("error", () => resolve(false));
  socket.on("timeout", () => resolve(false));
  socket.on("close", () => resolve(false));
  socket.on("data", (data: Uint8Array) => resolve(data[0] === "N".charCodeAt(0)));
  // SSLRequest: its length, and 80877103 (PostgreSQL's manual, "Message Formats").
  socket.on("connect", () => void socket.write(new Uint8Array([0, 0, 0, 8, 4, 210, 22, 47])));
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}
