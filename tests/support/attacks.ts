/**
 * What an attacker would try who runs code in a server's thread.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { open as openInspector } from "node:inspector";
import { connect } from "node:net";
import { userInfo } from "node:os";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { join } from "@std/path";
import type { ServerStart } from "../../server/server_start.ts";

/** By what each would mean; each throws when it is denied. */
export type Attempts = Readonly<Record<string, () => unknown>>;

/** Against a running server, in its thread. */
export function attemptsAgainst(
  { server, config: { dataDir, file = "", mailboxes } }: Pick<ServerStart, "server" | "config">,
): Attempts {
  const mailRoot = mailboxes.path.replace(/\{.*/, "");
  const onMail = { "read mail": () => [...Deno.readDirSync(mailRoot)] };
  const onAccount = { "ask for the uid": () => Deno.uid() };
  const onKeys = {
    "read DKIM keys": () => [...Deno.readDirSync(join(dataDir, "dkim"))],
    "read messages that come in": () => [...Deno.readDirSync(join(dataDir, "incoming"))],
    "change the accounts": () => Deno.writeTextFileSync(join(dataDir, "accounts", "accounts.json"), "{}"),
    "put others in their place": () =>
      Deno.renameSync(join(dataDir, "submit"), join(dataDir, "accounts", "accounts.json")),
  };
  const { writable, onesOwn } = {
    "serve-in": { writable: mailRoot, onesOwn: { ...attemptsOnNetwork(), ...attemptsOnQueue(dataDir) } },
    "serve-out": { writable: dataDir, onesOwn: onMail },
    "serve-submit": {
      writable: join(dataDir, "submit"),
      onesOwn: { ...attemptsOnNetwork(), ...attemptsOnQueue(dataDir), ...onMail, ...onKeys, ...onAccount },
    },
    "dashboard": {
      writable: dataDir,
      onesOwn: { ...attemptsOnNetwork(), ...attemptsOnQueue(dataDir), ...onMail, ...onKeys },
    },
    "serve-policy": {
      writable: dataDir,
      onesOwn: {
        ...attemptsOnNetwork(),
        ...attemptsOnQueue(dataDir),
        ...onMail,
        ...onKeys,
        ...onAccount,
        "read the account at the authority": () => [...Deno.readDirSync(join(dataDir, "acme"))],
        "change the certificate": () => Deno.writeTextFileSync(join(dataDir, "tls", "x"), ""),
        "read what logins have sent": () => [...Deno.readDirSync(join(dataDir, "submit"))],
      },
    },
  }[server];
  return { ...attemptsAnywhere(file), ...attemptsToReachOut(writable), ...onesOwn };
}

/** In a thread that takes mail for serve-out. */
export function attemptsInIntake({ dataDir, file = "", mailboxes }: ServerStart["config"]): Attempts {
  return {
    ...attemptsAnywhere(file),
    ...attemptsToReachOut(join(dataDir, "spool")),
    ...attemptsOnNetwork(),
    "read mail": () => [...Deno.readDirSync(mailboxes.path.replace(/\{.*/, ""))],
    "read messages that come in": () => [...Deno.readDirSync(join(dataDir, "incoming"))],
    "write beside the spool": () => Deno.writeTextFileSync(join(dataDir, "attack"), ""),
    "reach the control socket": () =>
      Deno.connect({ transport: "unix", path: join(dataDir, "control.sock") }),
  };
}

/** From a directory that may be written. */
function attemptsToReachOut(writable: string): Attempts {
  const inside = (name: string) => join(writable, `attack-${name}`);
  return {
    "make a symbolic link that leads out": () => Deno.symlinkSync("/etc", inside("link")),
    "link a file of others in": () => Deno.linkSync("/etc/hostname", inside("hard-link")),
    "copy a file of others in": () => Deno.copyFileSync("/etc/hostname", inside("copy")),
    "read a file above by way of ..": () => Deno.readTextFileSync(`${writable}/../../../../../etc/hostname`),
    "move a file out": () => {
      Deno.writeTextFileSync(inside("file"), "");
      try {
        Deno.renameSync(inside("file"), OUTSIDE);
      } finally {
        Deno.removeSync(inside("file"));
      }
    },
  };
}

const OUTSIDE = "/tmp/mailapp-attack";

/** In a thread that may at most read this file. */
export function attemptsAnywhere(readable: string): Attempts {
  return {
    "run a program": () => new Deno.Command("/bin/true").outputSync(),
    "run a program by Node's way": () => execFileSync("/bin/true", { env: {} }),
    "load a library": () => Deno.dlopen("libc.so.6", {}),
    "load a library by Node's way": () =>
      Reflect.get(process, "dlopen")({ exports: {} }, "/lib/x86_64-linux-gnu/libc.so.6"),
    "load a library into SQLite": () =>
      new DatabaseSync(":memory:", { allowExtension: true }).loadExtension("/lib/x86_64-linux-gnu/libc.so.6"),
    "read the environment": () => Deno.env.toObject(),
    "read a variable by Node's way": () => process.env["HOME"],
    "read the passwords' hashes": () => Deno.readTextFileSync("/etc/shadow"),
    "read the passwords' hashes by Node's way": () => readFileSync("/etc/shadow"),
    "read host keys": () => [...Deno.readDirSync("/etc/ssh")],
    "read a file by way of ..": () => Deno.readTextFileSync(`${readable}/../../../../etc/hostname`),
    "read the process's memory": () => Deno.openSync("/proc/self/mem"),
    "write the process's memory": () => Deno.openSync("/proc/self/mem", { write: true }),
    "read the process's environment": () => Deno.readTextFileSync("/proc/self/environ"),
    "read the process's memory map": () => Deno.readTextFileSync("/proc/self/maps"),
    "read the files of other threads": () => Deno.readTextFileSync("/proc/self/fd/3"),
    "list processes": () => [...Deno.readDirSync("/proc")],
    "write elsewhere": () => Deno.writeTextFileSync(OUTSIDE, "x"),
    "write what may be read": () => Deno.writeTextFileSync(readable, "", { append: true }),
    "open a database elsewhere": () => new DatabaseSync(OUTSIDE),
    "write a program": () => Deno.writeTextFileSync("/etc/cron.d/mailapp-attack", ""),
    "make a symbolic link": () => Deno.symlinkSync("/etc", OUTSIDE),
    "link a file elsewhere": () => Deno.linkSync("/etc/hostname", OUTSIDE),
    "make a temporary file": () => Deno.makeTempFileSync(),
    "watch files": () => Deno.watchFs("/etc"),
    "go to another directory": () => Deno.chdir("/etc"),
    "start a thread with more permissions": () =>
      new Worker("data:text/javascript,", threadWith({ run: true })),
    "start a thread with all permissions": () =>
      new Worker("data:text/javascript,", threadWith({ read: true, write: true, net: true, env: true })),
    "ask for a permission": () => granted(Deno.permissions.requestSync({ name: "run" })),
    "signal another process": () => Deno.kill(1, "SIGCONT"),
    "name the account": () => userInfo(),
    "name the machine": () => Deno.hostname(),
    "open a debugger": () => openInspector(0, "127.0.0.1"),
    "import from the network": () => import(String("https://127.0.0.1:9/x.js")),
    "import a file": () => import(String("file:///etc/hostname.js")),
    "import a file as text": () => import(String("file:///etc/hostname"), { with: { type: "text" } }),
  };
}

function attemptsOnNetwork(): Attempts {
  return {
    "connect to this machine": () => Deno.connect({ hostname: "127.0.0.1", port: 9 }),
    "connect to another machine": () => Deno.connect({ hostname: "192.0.2.1", port: 25 }),
    "connect by Node's way": () => promised((done) => connect(9, "127.0.0.1").on("error", done)),
    "connect by name": () => Deno.connect({ hostname: "localhost", port: 9 }),
    "fetch": () => fetch("http://127.0.0.1:8080/"),
    "listen on another port": () => Deno.listen({ hostname: "127.0.0.1", port: 9 }),
    "listen on every address": () => Deno.listen({ port: 0 }),
    // Node's sockets throw denials where they cannot be caught.
    "send a datagram": () =>
      promised((done) => {
        const heard = (event: ErrorEvent) => {
          event.preventDefault();
          done(event.error);
        };
        addEventListener("error", heard, { once: true });
        createSocket("udp4").bind({ address: "127.0.0.1", port: 0 }, () => done(new Error("bound")));
      }),
    "ask DNS": () => Deno.resolveDns("example.com.", "A", { nameServer: { ipAddr: "127.0.0.1", port: 9 } }),
    "read the routes": () => Deno.readTextFileSync("/proc/net/route"),
    "list interfaces": () => Deno.networkInterfaces(),
  };
}

function attemptsOnQueue(dataDir: string): Attempts {
  return {
    "command serve-out": () => Deno.connect({ transport: "unix", path: join(dataDir, "control.sock") }),
    "read the queue": () => [...Deno.readDirSync(join(dataDir, "spool"))],
    "put a message into the queue": () => Deno.writeFileSync(join(dataDir, "spool", "x"), Buffer.from("x")),
    "list the data directory": () => [...Deno.readDirSync(dataDir)],
    "change the mask of modes": () => Deno.umask(0),
  };
}

function threadWith(permissions: Readonly<Record<string, boolean>>): WorkerOptions {
  return { type: "module", deno: { permissions } } as WorkerOptions;
}

function granted({ state }: Deno.PermissionStatus): string {
  if (state === "granted") return state;
  throw new Deno.errors.NotCapable(state);
}

function promised(attack: (done: (error: unknown) => void) => void): Promise<never> {
  return new Promise((_, reject) => attack(reject));
}
