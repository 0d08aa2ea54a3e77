/**
 * The state of the servers and the machine, as far as the dashboard may see it.
 *
 * @module
 */
import { readOwnFile } from "../../storage/own_file.ts";
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { type Clock, systemClock } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import { Dialogue } from "../../doctor/dialogue.ts";
import { currentProblems, type Problem } from "../../doctor/problem_watch.ts";
import { readFindings, type SavedFindings } from "../../doctor/saved_findings.ts";
import { parsePolicy } from "../../mta_sts/policy.ts";
import { createDial } from "../../net/dial.ts";
import { showEndpoint } from "../../net/listen.ts";
import { askOwnPolicy } from "../../mta_sts/ask_own.ts";
import { probeName } from "../../smtp/own_probe.ts";
import { freeRoom } from "../../storage/free_space.ts";
import { readHistograms, type ServerMetrics } from "./metrics.ts";

/** Where a server answers. */
export interface Probe {
  readonly name: string;
  /** Where it listens: without TLS, or where it begins with TLS if there is nothing else. */
  readonly places: readonly { readonly address: string; readonly port: number; readonly tls: boolean }[];
  /** The name of an MTA-STS host, for a server that speaks HTTPS; absent: it speaks SMTP. */
  readonly policyHost?: string;
  /** Whether its certificate is asked for. */
  readonly certificate: boolean;
  /** Where it exposes its metrics, if it does. */
  readonly metrics?: string;
}

/** What is read; found before the thread is confined. */
export interface MachinePlaces {
  readonly hostname: string;
  readonly probes: readonly Probe[];
  /** The files in which servers leave the problems they find. */
  readonly problemFiles: readonly string[];
  /** A directory on the file system of the data. */
  readonly directory: string;
  /** Octets below which mail is deferred. */
  readonly minFree: number;
  /** The file with the MTA-STS policies. */
  readonly policies: string;
  /** The file with what doctor found last. */
  readonly findings: string;
  /** For the metrics. */
  readonly metricsToken?: string;
}

/** A server. */
export interface ServerState {
  readonly name: string;
  readonly up: boolean;
  /** Where it answers, or why not. */
  readonly about: string;
  /** When its certificate expires, in milliseconds since the epoch. */
  readonly certificateExpiry?: number;
  readonly metrics?: ServerMetrics;
}

/** An MTA-STS policy. */
export interface PolicyState {
  readonly domain: string;
  readonly mode: string;
  /** Milliseconds since the epoch. */
  readonly expires: number;
  readonly mx: readonly string[];
}

/** All of it. */
export interface MachineState {
  readonly servers: readonly ServerState[];
  /** Problems that servers have found. */
  readonly reported: readonly Problem[];
  /** Octets; absent if it cannot be determined. */
  readonly free?: number;
  readonly minFree: number;
  readonly policies: readonly PolicyState[];
  /** What doctor found when it was run last; absent if it never was. */
  readonly doctor?: SavedFindings;
}

/** For each step, in milliseconds. */
const TIMEOUT = 5_000;
/** How long a state is shown before it is read again, in milliseconds. */
const FRESH = 30_000;
/** Likewise while a server does not answer. */
const FRESH_DOWN = 5_000;
/** Each look at a certificate is a line in the server's log. */
const CERTIFICATE_FRESH = 10 * 60_000;
/** How long the first visitor, and the first one for a while, waits, in milliseconds. */
const PATIENCE = 200;
const MAX_POLICY_FILE = 32 * 1024 * 1024;
const MAX_POLICIES = 500;

/** Reads the state, seldom enough not to fill the servers' logs. */
export class Machine {
  readonly #places: MachinePlaces;
  readonly #clock: Clock;
  #state: MachineState | undefined;
  #reading: Promise<void> | undefined;
  #until = -Infinity;
  readonly #certificates = new Map<string, { readonly expiry: number | undefined; readonly until: number }>();

  /** Nothing is read yet. */
  constructor(places: MachinePlaces, clock: Clock = systemClock) {
    this.#places = places;
    this.#clock = clock;
  }

  /** The state as it was found last; a stale one is renewed in the background. Never throws. */
  async look(): Promise<MachineState> {
    if (this.#reading === undefined && this.#clock.monotonic() >= this.#until) {
      this.#reading = this.#read().then((state) => {
        this.#state = state;
        const isUp = state.servers.every(({ up }) => up);
        this.#until = this.#clock.monotonic() + (isUp ? FRESH : FRESH_DOWN);
      }).finally(() => this.#reading = undefined);
    }
    // Nor is what was found long ago, before anybody looked, shown as the state now.
    if (this.#state === undefined || this.#clock.monotonic() - this.#until > FRESH) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, PATIENCE);
      await Promise.race([this.#reading, promise]);
      clearTimeout(timer);
    }
    return this.#state ?? { servers: [], reported: [], minFree: 0, policies: [] };
  }

  /** Waits until nothing is under way. */
  async idle(): Promise<void> {
    await this.#reading;
  }

  async #read(): Promise<MachineState> {
    const { probes, problemFiles, directory, minFree, policies, findings } = this.#places;
    const now = this.#clock.now();
    const [servers, found, room, kept, doctor] = await Promise.all([
      Promise.all(probes.map((probe) => this.#probe(probe))),
      Promise.all(problemFiles.map((file) => currentProblems(file, now))),
      freeRoom(directory).catch(() => undefined),
      readPolicies(policies, now).catch(() => []),
      readFindings(findings),
    ]);
    return {
      servers,
      reported: found.flat(),
      ...(room && { free: room.octets }),
      minFree,
      policies: kept,
      ...(doctor && { doctor }),
    };
  }

  async #probe(probe: Probe): Promise<ServerState> {
    const { name, places, metrics } = probe;
    const failures: string[] = [];
    const counted = metrics === undefined
      ? undefined
      : await readHistograms(metrics, { token: this.#places.metricsToken, timeout: TIMEOUT });
    for (const place of places) {
      const where = showEndpoint(place.address, place.port);
      try {
        const certificateExpiry = await this.#greet(probe, place);
        return {
          name,
          up: true,
          about: where,
          ...(certificateExpiry !== undefined && { certificateExpiry }),
          ...(counted && { metrics: counted }),
        };
      } catch (error) {
        failures.push(`${where}: ${errorText(error)}`);
      }
    }
    return { name, up: false, about: failures.join("; ") || "its port is not known" };
  }

  /** @returns when the certificate expires, if that is wanted and there is one */
  async #greet(probe: Probe, place: Probe["places"][number]): Promise<number | undefined> {
    const known = this.#certificates.get(probe.name);
    if (probe.policyHost !== undefined) {
      await askOwnPolicy(place, { host: probe.policyHost, timeout: TIMEOUT, clock: this.#clock });
      return undefined;
    }
    const transport = await createDial({ clock: this.#clock, timeout: TIMEOUT })(place);
    using dialogue = new Dialogue(transport, { clock: this.#clock, timeout: TIMEOUT });
    let certificate = place.tls
      ? (await dialogue.startTls(this.#places.hostname)).peerCertificate
      : undefined;
    const { code } = await dialogue.listen();
    if (code >= 300) throw new Error(`it says ${code}`);
    if (!probe.certificate) return undefined;
    if (known !== undefined && this.#clock.monotonic() < known.until) return known.expiry;
    const { hostname } = this.#places;
    const { lines } = await dialogue.say(`EHLO ${probeName("dashboard")}`);
    if (
      lines.some((line) => line.trim().toUpperCase() === "STARTTLS") &&
      (await dialogue.say("STARTTLS")).code < 300
    ) {
      certificate = (await dialogue.startTls(hostname)).peerCertificate;
    }
    await dialogue.end();
    const expiry = certificate && new X509Certificate(Buffer.from(certificate)).validToDate.getTime();
    this.#certificates.set(probe.name, { expiry, until: this.#clock.monotonic() + CERTIFICATE_FRESH });
    return expiry;
  }
}

/** @throws what the file system and `JSON.parse()` throw */
async function readPolicies(path: string, now: number): Promise<PolicyState[]> {
  if ((await Deno.stat(path)).size > MAX_POLICY_FILE) return [];
  const file = JSON.parse(await readOwnFile(path)) as { policies?: unknown };
  if (!Array.isArray(file.policies)) return [];
  return file.policies.flatMap((kept): PolicyState[] => {
    const { domain, text, fetchedAt } = kept as Record<string, unknown>;
    const { mode, maxAge, mx } = parsePolicy(String(text));
    const expires = Number(fetchedAt) + maxAge * 1000;
    return typeof domain === "string" && mode !== "none" && expires > now
      ? [{ domain, mode, expires, mx: mx.slice(0, 20) }]
      : [];
  }).sort((one, other) => one.expires - other.expires).slice(0, MAX_POLICIES);
}
