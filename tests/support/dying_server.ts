/**
 * A server whose thread dies, in the way that the command line names.
 *
 * @module
 */
import { confine, isConfined, serveConfined } from "../../server/confinement.ts";
import type { RunServer, ServerStart } from "../../server/server_start.ts";
import { relayedSignals } from "../../server/signals.ts";
import { parseConfig } from "../../config/load.ts";

const err = (text: string) => void Deno.stderr.writeSync(new TextEncoder().encode(text));

const WAYS: Readonly<Record<string, () => void>> = {
  closes: () => self.close(),
  hangs: () => {
    for (;;);
  },
  throws: () => void setTimeout(() => JSON.parse("{")),
  rejects: () => void Promise.reject(new Error("unhandled")),
};

if (isConfined()) {
  const server = () =>
    Promise.resolve<RunServer>((start) => {
      WAYS[start.systemHostname]?.();
      return new Promise(() => {});
    });
  await serveConfined({ server }, { err, entry: import.meta.url });
} else {
  const start: ServerStart = {
    server: "serve-in",
    unit: "mailapp-in",
    config: parseConfig('hostname = "mx.example.com"'),
    systemHostname: Deno.args[0] ?? "",
    isTerminal: false,
    grants: { net: [], read: [], write: [], sys: [] },
    addresses: [],
    dnsServers: [],
    seesNetwork: false,
  };
  const { signals } = relayedSignals();
  Deno.exit(await confine(start, { entry: Deno.mainModule, signals, err, pingInterval: 50 }));
}
