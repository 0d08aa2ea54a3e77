/**
 * BIND's named as the authoritative server of a few zones.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { freePort, untilListening } from "./ports.ts";
import { type RunningProgram, startUntil } from "./process.ts";

/** Where named is to run. */
export interface BindOptions {
  /** An IPv4 address; 127.0.0.1 if absent. */
  readonly address?: string;
  /** A free one if absent. */
  readonly port?: number;
  /** What it is started by, such as `ip netns exec NAME`. */
  readonly through?: readonly string[];
  /** A key of TSIG (hmac-sha256, base64) that may change the zones. */
  readonly updateKey?: { readonly name: string; readonly secret: string };
}

/** A zone that fails: queries for it are answered with SERVFAIL. */
export const FAILING = Symbol("failing zone");

/** A zone file as it is. */
export interface WholeZone {
  /** All of it, SOA and NS too. */
  readonly whole: string;
}

/** A running named. */
export interface Bind extends AsyncDisposable {
  /** UDP and TCP. */
  readonly port: number;
  readonly program: RunningProgram;
}

/**
 * Starts named with these zones; it refuses questions about others.
 * @param zones the zone's name (`.` for everything) and its records as in a zone file; SOA and NS are put on top. Or
 * a {@linkcode WholeZone}, or {@linkcode FAILING}
 */
export async function startBind(
  zones: Readonly<Record<string, string | WholeZone | typeof FAILING>>,
  { address = "127.0.0.1", port = freePort(), through = [], updateKey }: BindOptions = {},
): Promise<Bind> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("bind"));
  const statements = updateKey === undefined ? [] : [
    `key "${updateKey.name}" { algorithm hmac-sha256; secret "${updateKey.secret}"; };`,
  ];
  const updates = updateKey === undefined ? "" : ` allow-update { key "${updateKey.name}"; };`;
  for (const [index, [zone, records]] of Object.entries(zones).entries()) {
    if (records === FAILING) {
      const missing = `primaries { 127.0.0.1 port 1; }; file "${folder.at(`missing${index}`)}"`;
      statements.push(`zone "${zone}" { type secondary; ${missing}; };`);
      continue;
    }
    const file = await folder.write(
      `zone${index}`,
      typeof records === "string"
        ? `$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n${records}\n`
        : records.whole,
    );
    statements.push(`zone "${zone}" { type primary; file "${file}";${updates} };`);
  }
  const config = await folder.write(
    "named.conf",
    `
options {
  directory "${folder.path}";
  listen-on port ${port} { ${address}; };
  listen-on-v6 { none; };
  pid-file none;
  session-keyfile none;
  recursion no;
  dnssec-validation no;
  check-integrity no;
  notify no;
};
controls { };
${statements.join("\n")}
`,
  );
  const [command = "", ...args] = [...through, "named", "-g", "-c", config];
  const program = await startUntil(command, {
    args,
    async ready({ line, lines }) {
      await line(/ running$/);
      const refused = lines.find((line) => line.includes("not loaded due to errors"));
      if (refused !== undefined) throw new Error(refused);
      if (through.length === 0) await untilListening(port, address);
    },
  });
  stack.defer(() => program.stop());
  const all = stack.move();
  return {
    port,
    program,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
