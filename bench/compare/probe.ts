/**
 * One message before all others: whether a server does the work at all, and what it syncs before its 250.
 *
 * @module
 */
import { type Folder } from "../../tests/support/peers/folder.ts";
import { untilListening } from "../../tests/support/peers/ports.ts";
import { start, until } from "../../tests/support/peers/process.ts";
import { storedMessages } from "../server_under_load.ts";
import type { Client } from "./client.ts";
import { type Synced, watchSyncs } from "./durability.ts";
import { DOMAIN, type Target, type Work } from "./peer.ts";
import { SEEN_HOST, SMTP_PORT } from "./zone.ts";

/** What must stand in a message that was worked on, in small letters. */
const SIGNS: Readonly<Partial<Record<Work, readonly string[]>>> = {
  sign: ["dkim-signature:", "a=rsa-sha256", `d=${DOMAIN}`],
  check: ["spf=pass", "dkim=pass", "dmarc=pass"],
};

/** Sends one message to a server and looks at it where it lands. @throws {Error} when the work was not done */
export async function probe(
  target: Target,
  { work, client, folder }: { readonly work: Work; readonly client: Client; readonly folder: Folder },
): Promise<Synced> {
  const seen = await folder.mkdir(`seen-${crypto.randomUUID()}`, { mode: 0o777 });
  await using _sink = start("smtp-sink", {
    args: ["-u", "nobody", "-d", `${seen}/%H%M%S.`, `inet:[${SEEN_HOST}]:${SMTP_PORT}`, "10"],
  });
  await untilListening(SMTP_PORT, SEEN_HOST);
  const row = { name: work, title: work, work, sessions: 1, perConnection: 1, size: 4096 };
  const synced = await watchSyncs(target.pids, async () => {
    const { dot, replied } = await client(target, { row, messages: 1, recipient: `alice@seen.${DOMAIN}` });
    return { from: dot, to: replied };
  });
  const { maildir } = target;
  const message = await until(
    () => work === "store" || work === "check" ? firstStored(maildir) : firstIn(seen),
    { what: "the first message" },
  );
  const text = message.toLowerCase();
  for (const sign of SIGNS[work] ?? []) {
    if (!text.includes(sign)) throw new Error(`no ${sign} in ${message.slice(0, 2000)}`);
  }
  return synced;
}

function firstStored(maildir = ""): string | undefined {
  const [name] = storedMessages(maildir);
  return name === undefined ? undefined : Deno.readTextFileSync(`${maildir}/new/${name}`);
}

/** The first message that smtp-sink has written to its end. */
function firstIn(directory: string): string | undefined {
  for (const { name } of Deno.readDirSync(directory)) {
    const text = Deno.readTextFileSync(`${directory}/${name}`);
    if (/x{78}\s*$/.test(text)) return text;
  }
  return undefined;
}
