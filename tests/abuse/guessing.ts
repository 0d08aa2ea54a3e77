/**
 * Many who guess the password of one login, from many addresses at once.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { makeHosts } from "../support/hosts.ts";
import type { RunningMailapp } from "../support/mailapp.ts";
import { runOk } from "../support/peers/process.ts";
import { PASSWORD, SubmissionMachine } from "../support/submission.ts";
import type { Report } from "./scenarios.ts";

const CLIENT = fileURLToPath(new URL("submission_client.ts", import.meta.url));
const SERVER = "198.51.100.1";
const HONEST = "198.51.100.2";
/** Where the owner has never been before. */
const ELSEWHERE = "10.99.1.1";
const LOGIN = "alice@example.com";
const MIB = 1024 ** 2;
/** What the server may take more than before: far above what is measured, as V8 lets some garbage lie. */
const MAX_GROWTH = 100 * MIB;

/** Addresses in networks of ten each. */
function guessers(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `10.${1 + Math.floor(n / 10)}.7.${1 + n % 10}`);
}

/**
 * Guesses from each of these addresses, while a client that has logged in sends, and the owner logs in from elsewhere.
 * Throws where one of these does not work, where a guess is taken, or where the guesses are not held up.
 */
export async function guessing(
  { guesses, addresses, quiet, report }: {
    /** In all. */
    readonly guesses: number;
    readonly addresses: number;
    /** How long the client sends before the guesses begin, in milliseconds. */
    readonly quiet: number;
    readonly report: Report;
  },
): Promise<void> {
  await using hosts = await makeHosts();
  const from = guessers(addresses);
  const device = hosts.device.replace(/^s/, "c");
  const commands = [...from, ELSEWHERE].map((address) => `address add ${address}/32 dev ${device}\n`);
  const [ip = "", ...inside] = hosts.client;
  await runOk(ip, { args: [...inside, "ip", "-batch", "-"], stdin: commands.join("") });
  await using machine = await SubmissionMachine.create({
    changes: {
      "serve-submit": {
        listen: [SERVER],
        messages_an_hour: 0,
        messages_a_day: 0,
        recipients_an_hour: 0,
        recipients_a_day: 0,
      },
    },
    run: { through: hosts.server },
  });
  await using _serveOut = await machine.start("serve-out");
  await using serveSubmit = await machine.start("serve-submit");
  const client = (what: string, options: object, stdin: "null" | "piped" = "null") =>
    new Deno.Command(ip, {
      args: [
        ...inside,
        ...[
          Deno.execPath(),
          "run",
          "-A",
          "--quiet",
          "--no-config",
          CLIENT,
          what,
          SERVER,
          String(machine.tlsPort),
        ],
        JSON.stringify({ login: LOGIN, password: PASSWORD, ...options }),
      ],
      stdin,
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
  const outcome = async (child: Deno.ChildProcess) => {
    const { code, stdout } = await child.output();
    assert.equal(code, 0);
    return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "");
  };
  const login = async (address: string) => await outcome(client("login", { address }));

  const before = memoryOf(serveSubmit);
  assert.equal((await login(HONEST)).reply, "235");
  const honest = client("send", { address: HONEST }, "piped");
  const writer = honest.stdin.getWriter();
  await new Promise((resolve) => setTimeout(resolve, quiet));
  await writer.write(Uint8Array.of(10));
  const storm = outcome(client("guess", { addresses: from, guesses: guesses / addresses }));
  // Once the login is under attack.
  await serveSubmit.event("login.paused", { where: { scope: "login" } });
  const elsewhere = await login(ELSEWHERE);
  const again = await login(HONEST);
  const { replies, seconds } = await storm;
  await writer.close();
  const [alone = [], latencies = []]: number[][] = await outcome(honest);
  const after = memoryOf(serveSubmit);

  const describe = (sorted: readonly number[]) => {
    const at = (share: number) => (sorted[Math.floor(share * (sorted.length - 1))] ?? NaN).toFixed(1);
    return `${sorted.length}, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`;
  };
  const checked = replies["535"] ?? 0;
  report(
    `${guesses} wrong passwords from ${addresses} addresses in ${seconds.toFixed(0)} s: ${
      JSON.stringify(replies)
    }; ` +
      `messages of a client that was logged in: before ${describe(alone)}; meanwhile ${
        describe(latencies)
      }; ` +
      `the owner logs in from elsewhere in ${elsewhere.ms.toFixed(0)} ms, where it was before in ${
        again.ms.toFixed(0)
      } ms; ` +
      `resident memory ${(before / MIB).toFixed(1)} MiB before, ${(after / MIB).toFixed(1)} MiB after`,
  );
  assert.equal(elsewhere.reply, "235", "the owner, from elsewhere");
  assert.equal(again.reply, "235", "the owner, where the login was right before");
  assert.ok(latencies.length > 0);
  assert.equal(Object.values<number>(replies).reduce((sum, count) => sum + count, 0), guesses);
  assert.deepEqual(Object.keys(replies).filter((code) => code !== "535" && code !== "454"), []);
  // 20 of each network and a few that were under way, however many come.
  assert.ok(checked <= 40 * Math.ceil(addresses / 10), `${checked} were checked`);
  assert.ok(after - before < MAX_GROWTH, `${after - before} octets more`);
}

/** Resident memory, in octets. */
function memoryOf({ pid }: RunningMailapp): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`)) ?? [];
  return Number(kib) * 1024;
}
