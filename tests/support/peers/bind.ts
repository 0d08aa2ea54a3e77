/**
 * BIND's named as the authoritative server of a few zones.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { freePort, untilListening } from "./ports.ts";
import { type RunningProgram, start } from "./process.ts";

/** A running named. */
export interface Bind extends AsyncDisposable {
  /** Listens on 127.0.0.1, UDP and TCP. */
  readonly port: number;
  readonly program: RunningProgram;
}

/**
 * Starts named with these zones; it refuses questions about others.
 * @param zones the zone's name (`.` for everything) and its records as in a zone file; SOA and NS are put on top
 */
export async function startBind(zones: Readonly<Record<string, string>>): Promise<Bind> {
  const folder = await makeFolder("bind");
  try {
    const port = freePort();
    const statements: string[] = [];
    for (const [index, [zone, records]] of Object.entries(zones).entries()) {
      const file = await folder.write(
        `zone${index}`,
        `$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n${records}\n`,
      );
      statements.push(`zone "${zone}" { type primary; file "${file}"; };`);
    }
    const config = await folder.write(
      "named.conf",
      `
options {
  directory "${folder.path}";
  listen-on port ${port} { 127.0.0.1; };
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
    const program = start("named", { args: ["-g", "-c", config] });
    await program.line(/ running$/);
    if (program.lines.some((line) => line.includes("not loaded due to errors"))) {
      await program.stop();
      throw new Error(program.lines.slice(-10).join("\n"));
    }
    await untilListening(port);
    return {
      port,
      program,
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
