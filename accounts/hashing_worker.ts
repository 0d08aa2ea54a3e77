/**
 * The thread that hashes passwords: it may touch nothing, and knows only what it is asked.
 *
 * @module
 */
import { errorText } from "../base/error_text.ts";
import { argon2Hasher } from "./password_hash.ts";

/** What the thread is asked. */
export type HashRequest =
  | { readonly id: number; readonly kind: "hash"; readonly password: string; readonly like?: string }
  | {
    readonly id: number;
    readonly kind: "match";
    readonly password: string;
    readonly encoded: readonly string[];
  };

/** What it answers. */
export type HashAnswer =
  | { readonly id: number; readonly result: string | undefined }
  | { readonly id: number; readonly error: string };

/** The name of such a thread. */
export const HASHER = "hasher";

/** The side of the thread. */
export interface HashingScope {
  /** Answers. */
  postMessage(answer: HashAnswer): void;
  /** Receives requests. */
  onmessage: ((event: MessageEvent<HashRequest>) => void) | null;
}

/**
 * Each hash takes WebAssembly memory of its own, 19 MiB, and V8 collects ten of them and more before it thinks of it.
 * So it is asked to, after every third (build/v8_flags.ts).
 */
const COLLECT_AFTER = 3;

/** What the thread does, for the rest of its life: one request after the other. */
export function serveHashing(scope: HashingScope): void {
  const { gc } = globalThis as { readonly gc?: () => void };
  let last = Promise.resolve();
  let answered = 0;
  scope.onmessage = ({ data }) => {
    last = last.then(async () => {
      scope.postMessage(await answer(data));
      if (++answered % COLLECT_AFTER === 0) gc?.();
    });
  };
}

async function answer(request: HashRequest): Promise<HashAnswer> {
  const { id, password } = request;
  try {
    const result = request.kind === "hash"
      ? await argon2Hasher.hash(password, request.like)
      : await argon2Hasher.match(password, request.encoded);
    return { id, result };
  } catch (error) {
    return { id, error: errorText(error) };
  }
}
