/**
 * What SIGHUP does to a running server.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import type { Logger } from "../base/log.ts";
import { errorText } from "../base/error_text.ts";

/** What {@linkcode reloader} needs. */
export interface ReloadOptions {
  /** Takes `config.reloaded` and `config.not_reloaded`. */
  readonly logger: Logger;
  /** The configuration that the server was started with. */
  readonly config: Config;
  /** What is read again whatever the configuration says: the log file, the certificate. */
  readonly before: () => Promise<void>;
  /** Reads the configuration again. */
  readonly load: () => Promise<Config>;
  /** Puts to use what may change while the server runs; throws where it may not be used. */
  readonly apply: (next: Config) => Promise<void> | void;
  /** The tables that count only after a restart, by name. */
  readonly fixed: (config: Config) => Readonly<Record<string, unknown>>;
}

/** Gives what to call at SIGHUP: one reload after the other, and never worse than before. */
export function reloader({ logger, config, before, load, apply, fixed }: ReloadOptions): () => void {
  const reload = async () => {
    await before();
    try {
      const next = await load();
      await apply(next);
      logger.info("config.reloaded", { needs_restart: changedKeys(fixed(config), fixed(next)) });
    } catch (error) {
      const reason = errorText(error);
      logger.error("config.not_reloaded", { error: reason, action: "keeping the old one" });
    }
  };
  let last = Promise.resolve();
  return () => {
    last = last.then(reload);
  };
}

function changedKeys(
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): string[] {
  return Object.keys(after).filter((key) => JSON.stringify(after[key]) !== JSON.stringify(before[key]));
}
