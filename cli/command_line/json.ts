/**
 * What `--json` prints, in one style for all commands. docs/json.md has the style and each command's shape; a test
 * runs all of them.
 *
 * @module
 */
import type { ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";

/** Prints one value, in many lines. */
export function printJson(value: unknown, io: Pick<Io, "out">): void {
  io.out(`${JSON.stringify(jsonValue(value), null, 2)}\n`);
}

/** Prints an array element by element, so that it may be long. Disposing completes it in any case. */
export class JsonArray implements Disposable {
  readonly #io: Pick<Io, "out">;
  readonly #wanted: boolean;
  #state: "empty" | "open" | "ended" = "empty";

  /** Prints nothing unless `wanted`. */
  constructor(io: Pick<Io, "out">, { wanted = true }: { readonly wanted?: boolean } = {}) {
    this.#io = io;
    this.#wanted = wanted;
  }

  /** Prints an element, in one line. */
  add(value: unknown): void {
    const text = `${this.#state === "empty" ? "[" : ","}\n${JSON.stringify(jsonValue(value))}`;
    // If this fails, as in `… | head`, the array is not completed either.
    this.#state = "ended";
    this.#io.out(text);
    this.#state = "open";
  }

  /** Prints the end. */
  end(): void {
    if (this.#wanted && this.#state !== "ended") this.#io.out(this.#state === "empty" ? "[]\n" : "\n]\n");
    this.#state = "ended";
  }

  /** Completes an array that has begun; an error before that stands by itself. */
  [Symbol.dispose](): void {
    if (this.#state === "open") this.end();
  }
}

/**
 * Runs a command whose error is to be JSON, too, if it has printed nothing else on standard output: `error` with
 * what standard error says, and the exit code.
 */
export async function withJsonErrors<T extends Pick<Io, "out" | "err">>(
  io: T,
  command: (io: T) => Promise<ExitCode>,
): Promise<ExitCode> {
  let printed = false;
  let said = "";
  const code = await command({
    ...io,
    out: (text: string) => {
      printed = true;
      io.out(text);
    },
    err: (text: string) => {
      said += text;
      io.err(text);
    },
  });
  if (code !== 0 && !printed) {
    printJson({ error: { message: said.trim().replace(/^mailapp: /, ""), exitCode: code } }, io);
  }
  return code;
}

/** A moment, from milliseconds since the epoch. */
export function moment(ms: number): Date {
  return new Date(ms);
}

/** The value with names in snake case, all the way down. */
function jsonValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(jsonValue);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [snakeCase(name), jsonValue(item)]),
  );
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
