/**
 * Another version of the built file.
 *
 * @module
 */
import { runOk } from "./peers/process.ts";

/** The same program as another version: its archive packed differently. Whether it is one that unpacks itself. */
export async function repack(from: string, to: string): Promise<boolean> {
  const script = `
    offset=$(head -c 20000 "$1" | sed -n 's/^payload_offset=\\([0-9]*\\) *$/\\1/p'); old=$(head -c 20000 "$1" | sed -n 's/^payload_sha256=//p')
    [ -n "$offset" ] || { cp "$1" "$2"; exit 0; }
    tail -c "+$offset" "$1" | gzip -dc | gzip -1 >"$2.payload"
    new=$(sha256sum <"$2.payload" | cut -d ' ' -f 1)
    { head -c "$((offset - 1))" "$1" | sed "s/$old/$new/"; cat "$2.payload"; } >"$2"; rm "$2.payload"; echo portable`;
  const said = await runOk("sh", { args: ["-euc", script, "sh", from, to], env: { LC_ALL: "C" } });
  return said === "portable\n";
}
