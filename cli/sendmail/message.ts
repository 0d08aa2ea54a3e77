/**
 * A message of a program, with its envelope.
 *
 * @module
 */
import type { DsnOptions, Notify } from "../../smtp/envelope.ts";

/** What is to be sent. */
export interface Message {
  /** Without angle brackets; `""` is the null sender. */
  readonly sender: string;
  /** At least one, each once. */
  readonly recipients: readonly string[];
  /** `-N`. */
  readonly notify?: Notify;
  /** `-R` and `-V`. */
  readonly dsn?: DsnOptions;
  /** As the program wrote it; serve-out repairs what is wrong with it. */
  readonly bytes: Uint8Array;
}
