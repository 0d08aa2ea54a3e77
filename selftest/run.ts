/**
 * Runs the self-test: makes the copies, and tries all cases on them.
 *
 * @module
 */
import { join } from "@std/path";
import { errorText } from "../base/error_text.ts";
import type { Config } from "../config/config.ts";
import { failure, untested } from "../doctor/finding.ts";
import { openMailboxes } from "../server/parts.ts";
import { policyHosts } from "../server/policy_parts.ts";
import { createTestAuthority } from "./authority.ts";
import { type Copy, type CopyChanges, copyConfig, startCopy } from "./copies.ts";
import { FakeDns } from "./dns_server.ts";
import { forgingCases, greylistCases, listCases } from "./forging.ts";
import type { Group } from "./groups.ts";
import { deadlineCases, limitCases } from "./limits.ts";
import { Peers } from "./peers.ts";
import { receivingCases } from "./receiving.ts";
import { makeSenderKey, senderZone } from "./senders.ts";
import { policyCases } from "./serving_policy.ts";
import { addReceivers, faultCases, goodSending, VERIFIED } from "./sending.ts";
import { type Machine, settingsFindings } from "./settings.ts";
import type { Stage, Tell } from "./stage.ts";
import { makeAccounts, submissionCases } from "./submitting.ts";
import { zoneOf } from "./zone.ts";

/** What a run depends on. */
export interface SelftestOptions {
  /** The configuration under test. */
  readonly config: Config;
  /** An empty directory for everything that the copies write. */
  readonly directory: string;
  /** The module that every thread of the program begins with. */
  readonly entry: string;
  readonly machine: Machine;
  /** The groups to try; all if absent. */
  readonly only?: readonly Group[];
  /** Takes each finding as it is made. */
  readonly tell: Tell;
}

/** The patience of copies with slow clients and servers, in milliseconds. */
const SHORT = 2_000;

/** Runs all cases. Resolves when all copies have ended. */
export async function runSelftest(options: SelftestOptions): Promise<void> {
  const { config, directory, entry, tell } = options;
  const wanted = (...groups: Group[]) => groups.some((name) => options.only?.includes(name) ?? true);
  if (wanted("setting")) {
    for (const finding of await settingsFindings(config, options.machine)) tell(finding);
  }
  if (options.only?.every((name) => name === "setting")) return;
  const key = await makeSenderKey();
  await using dns = await FakeDns.start(zoneOf(senderZone(key)));
  await using peers = Peers.start();
  const authority = await createTestAuthority();
  const places = { directory, dnsPort: dns.port, peersPort: peers.port, entry };
  const hasServeIn = config.serveIn.domains.length > 0;
  const stage: Stage = {
    config,
    places,
    dns,
    peers,
    authority,
    own: hasServeIn ? ownAddress(config) : undefined,
  };
  addListTests(stage);
  await addReceivers(stage);
  await using copies = new Copies(stage, tell);
  const start = (...args: Parameters<Copies["start"]>) => copies.start(...args);

  const receiver = hasServeIn ? await start("serve-in", "receive") : undefined;
  const inTurn = async (name: Group, cases: () => Promise<void>) => {
    if (wanted(name)) await group(tell, name, cases);
  };
  const slow = async () => {
    if (receiver === undefined || !wanted("slow")) return;
    const copy = await start("serve-in", "deadlines", { idleTimeoutMs: SHORT });
    if (copy !== undefined) await inTurn("slow", () => deadlineCases(stage, { copy, tell }));
  };
  const faults = async () => {
    if (!wanted("fault")) return;
    const tlsPolicy = Object.fromEntries(VERIFIED.map((domain) => [domain, "verify" as const]));
    const copy = await start("serve-out", "faults", {
      patienceMs: SHORT,
      tlsPolicy,
      serveOutPort: freePort(),
    });
    if (copy !== undefined) await inTurn("fault", () => faultCases(stage, { copy, tell }));
  };
  const receiving = async () => {
    if (receiver === undefined) return;
    const copy = receiver;
    await inTurn("receive", () => receivingCases(stage, { copy, tell }));
    await inTurn("forged", () => forgingCases(stage, { copy, tell, key }));
    await inTurn("list", () => listCases(stage, { copy, tell }));
    await inTurn("limit", () => limitCases(stage, { copy, tell }));
    if (config.serveIn.checks.greylist === "off" || !wanted("greylist")) return;
    const greylisting = await start("serve-in", "greylist", { greylists: true });
    if (greylisting === undefined) return;
    await inTurn("greylist", () => greylistCases(stage, { copy: greylisting, tell }));
  };
  const sending = async () => {
    if (!wanted("send", "submit")) return;
    const serveInPort = receiver?.port;
    const copy = await start("serve-out", "send", {
      patienceMs: 10 * SHORT,
      serveOutPort: freePort(),
      ...(serveInPort !== undefined && { serveInPort }),
    });
    if (copy === undefined) return;
    await inTurn("send", () => goodSending(stage, { copy, tell, receiver }));
    if (config.serveSubmit !== undefined && wanted("submit")) {
      await submitting(stage, { tell, copies, serveOut: copy });
    }
  };
  const policy = async () => {
    if (config.servePolicy === undefined || !wanted("policy")) return;
    const copy = await start("serve-policy", "policy", { standIn: await standIn(stage) });
    if (copy !== undefined) await inTurn("policy", () => policyCases(stage, { copy, tell }));
  };
  await Promise.all([slow(), faults(), policy(), receiving().then(sending)]);
  if (options.only === undefined) tellUntested(config, tell);
}

/** A certificate of the self-test's authority for all names of this server. */
async function standIn({ config, places, authority }: Stage): Promise<{ certFile: string; keyFile: string }> {
  const { cert, key } = await authority.issue({ names: [config.hostname, ...policyHosts(config)] });
  const files = {
    certFile: join(places.directory, "stand-in.crt"),
    keyFile: join(places.directory, "stand-in.key"),
  };
  await Deno.writeTextFile(files.certFile, cert);
  await Deno.writeTextFile(files.keyFile, key, { mode: 0o600 });
  return files;
}

async function submitting(
  stage: Stage,
  { tell, copies, serveOut }: { readonly tell: Tell; readonly copies: Copies; readonly serveOut: Copy },
): Promise<void> {
  const accounts = await makeAccounts(stage);
  if (accounts === undefined || serveOut.port === undefined) {
    const what = "there is no mailbox here that could log in";
    tell(untested("submit.none", "logins to serve-submit", { what }));
    return;
  }
  const copy = await copies.start("serve-submit", "submit", {
    serveOutPort: serveOut.port,
    accountsFile: accounts.file,
  });
  if (copy !== undefined) await group(tell, "submit", () => submissionCases(stage, { copy, tell, accounts }));
}

/** Copies that run; disposed, they end. */
class Copies implements AsyncDisposable {
  readonly #stage: Stage;
  readonly #tell: Tell;
  readonly #running: Copy[] = [];

  constructor(stage: Stage, tell: Tell) {
    this.#stage = stage;
    this.#tell = tell;
  }

  /** Starts one; tells why it does not start. */
  async start(
    server: "serve-in" | "serve-out" | "serve-submit" | "serve-policy",
    name: string,
    changes: CopyChanges = {},
  ): Promise<Copy | undefined> {
    const { config, places, authority } = this.#stage;
    try {
      const own = await copyConfig(config, { name, places, changes });
      const copy = await startCopy(server, own, { places, trusted: [authority.cert] });
      this.#running.push(copy);
      return copy;
    } catch (error) {
      this.#tell(failure("start.failed", `a copy of ${server} (${name})`, {
        what: `does not start: ${errorText(error)}`,
        next: "Run mailapp check-config, with the account that the servers run as",
      }));
      return undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running.map((copy) => copy.stop()));
  }
}

/** A group that breaks off is a finding, and does not end the others. */
async function group(tell: Tell, name: string, cases: () => Promise<void>): Promise<void> {
  try {
    await cases();
  } catch (error) {
    tell(failure(`${name}.broken_off`, `the cases "${name}"`, {
      what: `aborted: ${errorText(error)}`,
      next: "Try again; if it happens again, please report it",
    }));
  }
}

/** An address of a mailbox here. */
function ownAddress(config: Config): string {
  const [first] = openMailboxes(config).all();
  return first?.address ?? `postmaster@${config.serveIn.domains[0]}`;
}

/** Each list has its test entry (RFC 5782 §5), or it would not be used. */
function addListTests({ config, dns }: Stage): void {
  for (const { zone } of config.serveIn.checks.dnsLists) {
    const name = `2.0.0.127.${zone}`;
    dns.zone[`${name} A`] = { answers: [{ name, type: "A", ttl: 60, data: "127.0.0.2" }] };
    const six = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";
    dns.zone[`${six}.${zone} A`] = {
      answers: [{ name: `${six}.${zone}`, type: "A", ttl: 60, data: "127.0.0.2" }],
    };
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function tellUntested({ serveIn, serveSubmit, dkim }: Config, tell: Tell): void {
  const { filters } = serveIn.checks;
  if (filters.length > 0) {
    tell(untested("real.filters", "the filters", {
      what: "they are separate programs, which the self-test leaves alone",
      next: "mailapp doctor, and a message of your own",
    }));
  }
  if (serveSubmit?.dovecotSocket !== undefined) {
    tell(untested("real.dovecot", "Dovecot's passwords", {
      what: "the copy has its own accounts, since Dovecot is real",
      next: "mailapp doctor --login LOGIN",
    }));
  }
  tell(untested("real.world", "DNS, ports and reverse DNS as the world sees them", {
    what: "nothing leaves this machine" +
      (Object.keys(dkim).length > 0 ? "; nor whether the DKIM keys are published" : ""),
    next: "mailapp doctor",
  }));
}
