/**
 * Milters that others wrote: OpenDKIM, and SpamAssassin by spamass-milter.
 *
 * @module
 */
import { type Folder, makeFolder } from "./folder.ts";
import { freePort, untilListening, untilListeningAt } from "./ports.ts";
import { type RunningProgram, startUntil } from "./process.ts";

/** A running milter. */
export interface Milter extends AsyncDisposable {
  /** Its Unix socket. */
  readonly path: string;
}

/** Starts OpenDKIM as a milter that verifies, with these TXT records for its DNS. */
export async function startOpenDkim(records: Readonly<Record<string, string>>): Promise<Milter> {
  const folder = await makeFolder("opendkim");
  const dns = await folder.write(
    "records",
    Object.entries(records).map(([name, text]) => `${name} ${text}\n`).join(""),
  );
  const path = folder.at("socket");
  const settings = {
    Mode: "v",
    Syslog: "no",
    AlwaysAddARHeader: "yes",
    AuthservID: "opendkim.test",
    TestDNSData: `file:${dns}`,
    Socket: `local:${path}`,
    RequireSafeKeys: "no",
    UserID: "root",
    InternalHosts: "192.0.2.250",
  };
  const config = await folder.write(
    "opendkim.conf",
    Object.entries(settings).map(([name, value]) => `${name} ${value}\n`).join(""),
  );
  return await running(folder, {
    path,
    programs: [
      await startUntil("opendkim", { args: ["-f", "-x", config], ready: () => untilListeningAt(path) }),
    ],
  });
}

/** Starts SpamAssassin without the Internet, and spamass-milter before it; `rejectFrom`: the score that is refused. */
export async function startSpamAssassin({ rejectFrom }: { readonly rejectFrom: number }): Promise<Milter> {
  const folder = await makeFolder("spamassassin");
  const port = freePort();
  const path = folder.at("socket");
  const spamd = await startUntil("spamd", {
    args: ["-L", "-x", "-m", "1", "-i", "127.0.0.1", "-p", String(port), "-u", "nobody", "-s", "stderr"],
    ready: () => untilListening(port),
  });
  const milter = await startUntil("spamass-milter", {
    args: ["-p", path, "-r", String(rejectFrom), "-m", "--", "-d", "127.0.0.1", "-p", String(port)],
    ready: () => untilListeningAt(path),
  });
  return await running(folder, { path, programs: [milter, spamd] });
}

function running(
  folder: Folder,
  { path, programs }: { readonly path: string; readonly programs: readonly RunningProgram[] },
): Promise<Milter> {
  return Promise.resolve({
    path,
    async [Symbol.asyncDispose]() {
      for (const program of programs) await program.stop();
      await folder[Symbol.asyncDispose]();
    },
  });
}
