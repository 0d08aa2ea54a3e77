/**
 * A server whose thread dies, in the way that the command line names; or ends well if it knows the routes of the
 * machine when it starts (`looks`).
 *
 * @module
 */
import { confine, isConfined, serveConfined } from "../../server/confinement.ts";
import { EXIT } from "../../server/exit_codes.ts";
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
    Promise.resolve<RunServer>((start, { network }) => {
      if (start.seesNetwork) {
        return Promise.resolve(network.read("/proc/net/route") === undefined ? EXIT.unavailable : EXIT.ok);
      }
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
    seesNetwork: Deno.args[0] === "looks",
  };
  const { signals } = relayedSignals();
  Deno.exit(await confine(start, { entry: Deno.mainModule, signals, err, pingInterval: 50 }));
}
