/**
 * Follows the log file of a server's copy.
 *
 * @module
 */
import { systemClock } from "../base/clock.ts";

/** An event of the log, in its JSON form. */
export type LoggedEvent = Readonly<Record<string, unknown>> & { readonly event: string };

const LOOK_AGAIN = 20;

/** The events of one file. */
export class LogTail {
  /** Those that were read so far. */
  readonly events: LoggedEvent[] = [];
  readonly #path: string;
  #at = 0;
  #rest = "";

  /** Reads nothing yet. */
  constructor(path: string) {
    this.#path = path;
  }

  /** The first event for which `test` holds, past or to come within the time; `undefined` if there is none. */
  async find(
    test: (event: LoggedEvent) => boolean,
    patience: number,
  ): Promise<LoggedEvent | undefined> {
    const until = systemClock.monotonic() + patience;
    for (let next = 0;;) {
      await this.read();
      for (; next < this.events.length; next++) {
        const event = this.events[next];
        if (event !== undefined && test(event)) return event;
      }
      if (systemClock.monotonic() > until) return undefined;
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
    }
  }

  /** Reads what has come. */
  async read(): Promise<void> {
    let text: string;
    try {
      using file = await Deno.open(this.#path);
      await file.seek(this.#at, Deno.SeekMode.Start);
      const bytes = new Uint8Array(await new Response(file.readable).arrayBuffer());
      this.#at += bytes.length;
      text = new TextDecoder().decode(bytes);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      if (error instanceof Deno.errors.BadResource) return;
      throw error;
    }
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line !== "") this.events.push(JSON.parse(line) as LoggedEvent);
    }
  }
}
