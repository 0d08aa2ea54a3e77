/**
 * Haraka in the comparison.
 *
 * @module
 */
import { makeFolder } from "../../../tests/support/peers/folder.ts";
import { freePort, untilListening } from "../../../tests/support/peers/ports.ts";
import { startUntil } from "../../../tests/support/peers/process.ts";
import { resolvingBy } from "../../../tests/support/peers/resolving.ts";
import { unpacked } from "../../../tests/support/peers/unpacked.ts";
import { WARM_UP } from "../../servers.ts";
import { DOMAIN, type Peer, SELECTOR, type Target, targetOf, type World } from "../peer.ts";

const MODULES = unpacked("haraka/node_modules");

/** Haraka from npm, by node. */
export const HARAKA: Peer = {
  name: "Haraka",
  warmUp: WARM_UP,
  version: async () => JSON.parse(await Deno.readTextFile(`${MODULES}/Haraka/package.json`)).version,
  start: { relay: (world) => start(world), sign: (world) => start(world, { sign: true }) },
  lacks: {
    store: "it stores nothing itself",
    check: "it stores nothing itself",
    submit: "its logins are not set up here",
  },
};

/** Anyone may relay, as from loopback. */
const RELAY_FOR_ALL = `exports.hook_rcpt = (next, connection) => {
  connection.relaying = true;
  next(OK);
};
`;

async function start({ dns, dkimKey }: World, { sign = false } = {}): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("haraka"));
  const port = freePort();
  for (const name of ["config", "plugins", "queue"]) await folder.mkdir(name);
  await Deno.symlink(MODULES, folder.at("node_modules"));
  // As `haraka -i` does, without which it does not run.
  await copyFiles(`${MODULES}/Haraka/config`, folder.at("config"));
  const files = {
    "config/me": "haraka.test\n",
    "config/smtp.ini": `listen=127.0.0.1:${port}\n`,
    "config/plugins": `${sign ? "dkim\n" : ""}relay_for_all\n`,
    "config/outbound.ini": "local_mx_ok=true\n",
    "plugins/relay_for_all.js": RELAY_FOR_ALL,
    ...sign && {
      "config/dkim.ini":
        `[sign]\nenabled=true\nselector=${SELECTOR}\ndomain=${DOMAIN}\nheaders=From, Subject, To\n[canon]\nbody=relaxed\n`,
      "config/dkim.private.key": dkimKey,
    },
  };
  for (const [name, text] of Object.entries(files)) await folder.write(name, text);
  // Into a file, since the bench's own process would have to read it.
  const script = 'exec node "$1" -c "$2" > "$2/haraka.log" 2>&1';
  const command = ["sh", "-c", script, "sh", `${MODULES}/Haraka/bin/haraka`, folder.path];
  const [program = "", ...args] = await resolvingBy({ server: dns, folder, command });
  const { pid } = stack.use(await startUntil(program, { args, ready: () => untilListening(port) }));
  return targetOf({ port, pids: [pid] }, stack);
}

async function copyFiles(from: string, to: string): Promise<void> {
  for await (const { name, isFile } of Deno.readDir(from)) {
    if (isFile) await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
