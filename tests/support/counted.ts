/**
 * Input that counts how often it is looked at, so that a test can show that work grows with the input and no faster.
 *
 * @module
 */

/** Input and the steps that reading it has taken so far. */
export interface Counted<T> {
  /** The input. */
  readonly input: T;
  /** Octets or characters that were looked at; one that was looked at twice counts twice. */
  readonly steps: () => number;
}

/** Bytes that count reads by index, searches, and the octets of each part that is cut out of them. */
export function countedBytes(bytes: Uint8Array): Counted<Uint8Array> {
  let steps = 0;
  const methods: Record<string, unknown> = {
    indexOf(value: number, from = 0) {
      const at = bytes.indexOf(value, from);
      steps += (at < 0 ? bytes.length : at + 1) - from;
      return at;
    },
    lastIndexOf(value: number, from = bytes.length - 1) {
      const at = bytes.lastIndexOf(value, from);
      steps += Math.min(from, bytes.length - 1) - at;
      return at;
    },
    subarray(start?: number, end?: number) {
      const part = bytes.subarray(start, end);
      steps += part.length;
      return part;
    },
  };
  const input = new Proxy(bytes, {
    get(target, key) {
      if (typeof key === "string" && /^\d+$/.test(key)) steps++;
      if (typeof key === "string" && key in methods) return methods[key];
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value === "function") throw new Error(`${String(key)} is not counted`);
      return value;
    },
  });
  return { input, steps: () => steps };
}

/** Octets that searches of any bytes look at while `work` runs; for buffers that the code under test makes itself. */
export function countSearched(work: () => void): number {
  using searches = new Searches();
  work();
  return searches.steps;
}

/** The same for work that takes more than one turn; nothing else may run beside it. */
export async function countSearchedLater(work: () => Promise<unknown>): Promise<number> {
  using searches = new Searches();
  await work();
  return searches.steps;
}

/** Octets that are copied into other octets, or within them, while `work` runs. */
export function countCopied(work: () => void): number {
  const { set, copyWithin } = Uint8Array.prototype;
  let octets = 0;
  Uint8Array.prototype.set = function (this: Uint8Array, from: ArrayLike<number>, at = 0) {
    octets += from.length;
    set.call(this, from, at);
  };
  Uint8Array.prototype.copyWithin = function (
    this: Uint8Array<ArrayBuffer>,
    ...[to, from, end = this.length]: [to: number, from: number, end?: number]
  ) {
    octets += end - from;
    return copyWithin.call(this, to, from, end) as Uint8Array<ArrayBuffer>;
  };
  try {
    work();
  } finally {
    // Those of all typed arrays are back then.
    Reflect.deleteProperty(Uint8Array.prototype, "set");
    Reflect.deleteProperty(Uint8Array.prototype, "copyWithin");
  }
  return octets;
}

/** Counts what searches look at, until it is disposed of. */
class Searches implements Disposable {
  steps = 0;

  constructor() {
    const { indexOf, lastIndexOf } = Uint8Array.prototype;
    // deno-lint-ignore no-this-alias
    const searches = this;
    Uint8Array.prototype.indexOf = function (this: Uint8Array, value: number, from = 0) {
      const at = indexOf.call(this, value, from);
      searches.steps += (at < 0 ? this.length : at + 1) - from;
      return at;
    };
    Uint8Array.prototype.lastIndexOf = function (this: Uint8Array, value: number, from = this.length - 1) {
      const at = lastIndexOf.call(this, value, from);
      searches.steps += Math.min(from, this.length - 1) - at;
      return at;
    };
  }

  [Symbol.dispose](): void {
    // Those of all typed arrays are back then.
    Reflect.deleteProperty(Uint8Array.prototype, "indexOf");
    Reflect.deleteProperty(Uint8Array.prototype, "lastIndexOf");
  }
}

/** A text that counts; a use that is not counted, such as one in a regular expression, throws. */
export function countedText(text: string): Counted<string> {
  let steps = 0;
  class Counting extends String {
    override charAt(at: number): string {
      steps++;
      return text.charAt(at);
    }
    override charCodeAt(at: number): number {
      steps++;
      return text.charCodeAt(at);
    }
    override slice(start?: number, end?: number): string {
      const part = text.slice(start, end);
      steps += part.length;
      return part;
    }
    override indexOf(searched: string, from = 0): number {
      const at = text.indexOf(searched, from);
      steps += (at < 0 ? text.length : at + 1) - from;
      return at;
    }
    override toString(): string {
      throw new Error("a use of the text that is not counted");
    }
  }
  // What reads a string by its methods cannot tell the difference.
  return { input: new Counting(text) as unknown as string, steps: () => steps };
}

/**
 * Fails unless twice the input takes at most twice the steps, and a little. `run` gets an input of this many
 * repetitions of the form, and returns the steps it took.
 */
export function assertLinear(run: (count: number) => number, { count = 2000, what = "" } = {}): void {
  const once = run(count);
  const twice = run(2 * count);
  if (once < count) throw new Error(`${what}: only ${once} steps for ${count}: the input was not read`);
  if (twice > 2.1 * once + 100) throw new Error(`${what}: ${once} steps, ${twice} for twice the input`);
}
