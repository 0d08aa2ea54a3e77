/**
 * Our own servers as child processes, as an operator starts them.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { CertificateFiles } from "./certificates.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { type RunningProgram, start, until } from "./process.ts";

const MAIN = fileURLToPath(new URL("../../../main.ts", import.meta.url));

const READY = /"event":"server\.ready"/;

/** What serve-in is to do. */
export interface ServeInOptions {
  /** `mx.example.test` if absent. */
  readonly hostname?: string;
  /** `["example.test"]` if absent. */
  readonly domains?: readonly string[];
  /** Local-parts; `["alice", "bob"]` if absent. The first is postmaster. */
  readonly users?: readonly string[];
  /** Offers STARTTLS and port 465 with this; without it with a self-signed certificate of its own. */
  readonly certificate?: CertificateFiles;
  /** More lines of `[serve-in]`. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /** Where the log goes; absent: to the lines of the program. */
  readonly logFile?: string;
  /** The group of the Maildirs, which then belong to it and are readable to it; they are made beneath a setgid folder. */
  readonly readerGid?: number;
}

/** A running serve-in. */
export interface ServeIn extends AsyncDisposable {
  /** Listens on 127.0.0.1 and ::1. */
  readonly port: number;
  /** The port for implicit TLS. */
  readonly tlsPort: number;
  readonly folder: Folder;
  readonly program: RunningProgram;
  /** The Maildir of a mailbox. */
  maildir(address: string): string;
}

/** Starts serve-in and waits until it answers. */
export async function startServeIn(options: ServeInOptions = {}): Promise<ServeIn> {
  const { hostname = "mx.example.test", domains = ["example.test"], users = ["alice", "bob"] } = options;
  const folder = await makeFolder("serve-in");
  try {
    const port = freePort();
    const tlsPort = freePort();
    const mail = await folder.mkdir("mail");
    if (options.readerGid !== undefined) {
      await Deno.chown(mail, null, options.readerGid);
      await Deno.chmod(mail, 0o2775);
    }
    await folder.mkdir("data", { mode: 0o700 });
    const config = await folder.write(
      "config.toml",
      [
        assignment("hostname", hostname),
        assignment("data_dir", folder.at("data")),
        "[log]",
        assignment("format", "json"),
        assignment("file", options.logFile ?? ""),
        "[tls]",
        ...(options.certificate
          ? [assignment("cert", options.certificate.cert), assignment("key", options.certificate.key)]
          : ["self_signed = true"]),
        "[serve-in]",
        ...Object.entries({
          listen: ["127.0.0.1", "::1"],
          port,
          tls_port: tlsPort,
          domains,
          ...options.settings,
        }).map(([key, value]) => assignment(key, value)),
        "[mailboxes]",
        assignment("path", `${mail}/{domain}/{user}`),
        assignment("users", users),
        "[mailboxes.aliases]",
        assignment("postmaster", users[0] ?? ""),
      ].join("\n") + "\n",
    );
    const program = start(Deno.execPath(), {
      args: ["run", "-A", "--frozen", MAIN, "serve-in", "--config", config],
    });
    const { logFile } = options;
    try {
      await (logFile === undefined ? program.line(READY) : Promise.race([
        until(async () => READY.test(await readIfThere(logFile)), { what: `${READY} in ${logFile}` }),
        program.status.then(() => Promise.reject(new Error("it ended"))),
      ]));
    } catch (error) {
      await program.stop();
      throw new Error(`serve-in did not start:\n${program.lines.join("\n")}`, { cause: error });
    }
    return {
      port,
      tlsPort,
      folder,
      program,
      maildir(address) {
        const at = address.lastIndexOf("@");
        return `${mail}/${address.slice(at + 1)}/${address.slice(0, at)}`;
      },
      async [Symbol.asyncDispose]() {
        await program.stop();
        await folder[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

// JSON's strings, numbers, booleans and arrays of these are TOML too.
function assignment(key: string, value: unknown): string {
  return `${key} = ${JSON.stringify(value)}`;
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
