/**
 * The program, whose random waits are over at once: reports about TLS that are due go out as soon as it serves.
 *
 * @module
 */
import { isConfined, serveConfined } from "../../server/confinement.ts";
import { loadHelper, loadServer } from "../../server/servers.ts";

if (isConfined()) {
  Math.random = () => 0;
  const err = (text: string) => void Deno.stderr.writeSync(new TextEncoder().encode(text));
  await serveConfined({ server: loadServer, helper: loadHelper }, { err, entry: import.meta.url });
} else {
  await import("../../main.ts");
}
