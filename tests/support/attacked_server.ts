/**
 * The program, with an attacker inside: code beside the server in its thread tries to get at what the server was not
 * granted, as one would who has taken over a parser; in a thread that holds dialogues, too. On SIGUSR2 code in the main thread tries the same.
 * The outcome of each attempt is logged; the server serves on.
 *
 * @module
 */
import { isConfined, serveConfined } from "../../server/confinement.ts";
import { DIALOGUES, INTAKE, type ToDialogues } from "../../server/dialogues/messages.ts";
import { loadHelper, loadServer } from "../../server/servers.ts";
import type { RunServer, ServerName } from "../../server/server_start.ts";
import { type Attempts, attemptsAgainst, attemptsAnywhere, attemptsInIntake } from "./attacks.ts";

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

async function attack(event: string, attempts: Attempts): Promise<void> {
  const log = (fields: Readonly<Record<string, string>>) => say(`${JSON.stringify({ event, ...fields })}\n`);
  for (const [what, tried] of Object.entries(attempts)) {
    let result: string;
    try {
      result = `succeeded: ${await tried()}`;
    } catch (error) {
      // What import() throws is a TypeError.
      const denied = error instanceof Deno.errors.NotCapable || /: Requires \w+ access to /.test(`${error}`);
      result = denied ? "denied" : `failed: ${error}`;
    }
    log({ what, result });
  }
  say(`${JSON.stringify({ event: `${event}.over` })}\n`);
}

if (isConfined()) {
  const load = async (name: ServerName): Promise<RunServer> => {
    const run = await loadServer(name);
    return async (start, context) => {
      const served = run(start, context);
      await attack("attack.server", attemptsAgainst(start));
      return await served;
    };
  };
  const helper = async (name: string) => {
    const attackOnce = ({ data }: MessageEvent<ToDialogues>) => {
      if (data.kind === "start" && data.start.thread === 0) {
        const { server, config } = data.start;
        const attempts = server === "serve-out" ? attemptsInIntake(config) : attemptsAgainst(data.start);
        void attack("attack.dialogues", {
          ...attempts,
          "read the configuration": () => Deno.readTextFileSync(config.file ?? ""),
        });
      }
    };
    if (name === DIALOGUES || name === INTAKE) addEventListener("message", attackOnce as EventListener);
    return await loadHelper(name);
  };
  await serveConfined({ server: load, helper }, { err: say, entry: import.meta.url });
} else {
  Deno.addSignalListener("SIGUSR2", () => attack("attack.main", attemptsAnywhere("/etc/hostname")));
  await import("../../main.ts");
}
