/**
 * Pebble, a certification authority for tests that speaks ACME.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { writeHttpsFiles } from "./https_files.ts";
import { type RunningProgram, startUntil } from "./process.ts";

/** How it is to behave. */
export interface PebbleOptions {
  /** What it is started by, such as `ip netns exec NAME`. */
  readonly through: readonly string[];
  /** The name server that it asks, with its port. */
  readonly dns: string;
  /** Which share of nonces it refuses, in percent; 5 if absent, as it ships. */
  readonly refusedNonces?: number;
  /** Keys that accounts must be bound with, by id, in base64url; absent: none is asked for. */
  readonly externalAccounts?: Readonly<Record<string, string>>;
}

/** A running Pebble. */
export interface Pebble extends AsyncDisposable {
  /** The URL of its directory. */
  readonly directory: string;
  /** What its HTTPS is trusted by, a PEM file. */
  readonly caFile: string;
  readonly program: RunningProgram;
}

const PORT = 14_000;

/** Starts it; it proves names on ports 80 and 443. */
export async function startPebble(options: PebbleOptions): Promise<Pebble> {
  const { through, dns, refusedNonces = 5, externalAccounts } = options;
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("pebble"));
  const { cert, key, caFile } = await writeHttpsFiles(folder, "Pebble's HTTPS");
  const config = await folder.write(
    "config.json",
    JSON.stringify({
      pebble: {
        listenAddress: `127.0.0.1:${PORT}`,
        managementListenAddress: "127.0.0.1:15000",
        certificate: cert,
        privateKey: key,
        httpPort: 80,
        tlsPort: 443,
        ocspResponderURL: "",
        externalAccountBindingRequired: externalAccounts !== undefined,
        externalAccountMACKeys: externalAccounts ?? {},
      },
    }),
  );
  const [command = "", ...args] = [...through, "pebble", "-config", config, "-dnsserver", dns];
  const program = await startUntil(command, {
    args,
    env: {
      PEBBLE_VA_NOSLEEP: "1",
      PEBBLE_WFE_NONCEREJECT: String(refusedNonces),
      // By default one in two authorizations that are valid is taken again, and then no challenge is tried.
      PEBBLE_AUTHZREUSE: "0",
    },
    ready: ({ line }) => line(/ACME directory available/),
  });
  stack.defer(() => program.stop());
  const all = stack.move();
  return {
    directory: `https://localhost:${PORT}/dir`,
    caFile,
    program,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
