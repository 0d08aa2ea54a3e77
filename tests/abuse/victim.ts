/**
 * The server under attack, as it is shipped: a separate process; and an honest client that is served meanwhile, a
 * process too, so that what the attackers cost does not count as the server's delay.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { percentile } from "../../bench/statistics.ts";
import { Dialogue } from "../support/dialogue.ts";
import { type LoggedEvent, RunningMailapp, Workspace } from "../support/mailapp.ts";

const HONEST_CLIENT = fileURLToPath(new URL("./honest_client.ts", import.meta.url));

/** Messages that the first user has got when {@linkcode Victim.start} is done. */
export const WARM_UP = 5;

/** Resident memory, in octets. */
export interface Memory {
  /** At this moment (VmRSS). */
  readonly now: number;
  /** The most since the start, or since {@linkcode Victim.forgetPeak} (VmHWM). */
  readonly peak: number;
}

/** How long an honest client waited for its messages to be taken. */
export interface Latency {
  readonly messages: number;
  /** Milliseconds from connecting to the 250 after the data. */
  readonly p50: number;
  readonly p99: number;
}

/** A running serve-in for example.com. Disposed, it is gone. */
export class Victim implements AsyncDisposable {
  readonly #workspace: Workspace;
  readonly #server: RunningMailapp;
  /** The port for plaintext and STARTTLS. */
  readonly port: number;
  /** The port for implicit TLS. */
  readonly tlsPort: number;

  private constructor(workspace: Workspace, server: RunningMailapp, ports: readonly [number, number]) {
    this.#workspace = workspace;
    this.#server = server;
    [this.port, this.tlsPort] = ports;
  }

  /** Starts it, with caps that let attackers in, and these lines of `[serve-in]`; `users` are local-parts. */
  static async start(
    { settings = {}, users = ["alice"], tables = {} }: {
      readonly settings?: Readonly<Record<string, unknown>>;
      readonly users?: readonly string[];
      /** Lines of other tables. */
      readonly tables?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
    } = {},
  ): Promise<Victim> {
    const workspace = await Workspace.create();
    try {
      const config = await workspace.configure({
        tls: { self_signed: true },
        "serve-in": {
          tls_port: 0,
          max_connections: 5000,
          max_connections_per_ip: 5000,
          ...settings,
        },
        mailboxes: { users },
        "mailboxes.aliases": { postmaster: users[0] },
        ...tables,
      });
      const server = new RunningMailapp(["serve-in", "--config", config]);
      try {
        const plain = await server.event("listener.ready");
        const secure = await server.event("listener.ready", { after: 1 });
        await server.event("server.ready");
        const victim = new Victim(workspace, server, [Number(plain["port"]), Number(secure["port"])]);
        // The first message loads and compiles code.
        for (let message = 0; message < WARM_UP; message++) await victim.#warmUp();
        return victim;
      } catch (error) {
        await server[Symbol.asyncDispose]();
        throw error;
      }
    } catch (error) {
      await workspace[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #warmUp(): Promise<void> {
    using dialogue = await Dialogue.connect(this.port);
    await dialogue.hear();
    for (
      const line of [
        "EHLO warm.test",
        "MAIL FROM:<a@warm.test>",
        "RCPT TO:<postmaster>",
        "DATA",
        "x\r\n.",
        "QUIT",
      ]
    ) {
      await dialogue.say(line);
    }
  }

  /** Resident memory. */
  memory(): Memory {
    const status = Deno.readTextFileSync(`/proc/${this.#server.pid}/status`);
    const octets = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
    return { now: octets("VmRSS"), peak: octets("VmHWM") };
  }

  /** The peak is measured again from here on (proc(5), clear_refs). */
  forgetPeak(): void {
    Deno.writeTextFileSync(`/proc/${this.#server.pid}/clear_refs`, "5");
  }

  /** Waits for an event of this name, the one `after` this many of them. */
  event(name: string, options: { readonly after: number }): Promise<LoggedEvent> {
    return this.#server.event(name, options);
  }

  /** How many of the server's events have this name and these fields. */
  count(event: string, fields: Readonly<Record<string, unknown>> = {}): number {
    return this.#server.events.filter((entry) =>
      entry.event === event && Object.entries(fields).every(([name, value]) => entry[name] === value)
    ).length;
  }

  /** The names in a user's `new/`. */
  stored(user: string): Promise<string[]> {
    return this.#workspace.stored(user);
  }

  /**
   * Sends messages, one after the other, over a connection each.
   * @throws {Error} when one is refused
   */
  async serveHonestClient(messages: number): Promise<Latency> {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--frozen",
        "--no-check",
        HONEST_CLIENT,
        `${this.port}`,
        `${messages}`,
        "alice@example.com",
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).output();
    const decoder = new TextDecoder();
    if (code !== 0) throw new Error(`the honest client failed: ${decoder.decode(stderr)}`);
    const latencies = JSON.parse(decoder.decode(stdout)) as number[];
    return {
      messages: latencies.length,
      p50: percentile(latencies, 50),
      p99: percentile(latencies, 99),
    };
  }

  /** The certificate that the server made for itself, in PEM. */
  async certificate(): Promise<string> {
    const made = await this.#server.event("tls.certificate.loaded");
    return await Deno.readTextFile(String(made["file"]));
  }

  /** SIGTERM; the exit code. */
  stop(): Promise<number> {
    return this.#server.stop();
  }

  /** Kills it and removes all that it stored. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
    await this.#workspace[Symbol.asyncDispose]();
  }
}
