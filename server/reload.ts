/**
 * Reloads a running server at SIGHUP.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import type { Log } from "../observe/logger.ts";
import { errorText } from "../base/error_text.ts";
import { rightsWarnings } from "./rights.ts";
import { loadAgain, type ServerStart } from "./server_start.ts";

/** A setting that a running server cannot always take over. */
export interface FixedSetting {
  /** The key in the file, such as `serve-out.port`. */
  readonly key: string;
  /** Its paths in a {@linkcode Config}, which change together. */
  readonly paths: readonly (readonly string[])[];
  /** The file or address that the new value needs beyond the server's grants. Absent: a restart is needed in any case. */
  beyond?(next: Config): string | undefined;
}

/** What {@linkcode reloader} needs. */
export interface ReloadOptions {
  /** What the server was started with. */
  readonly start: ServerStart;
  /** Its log. */
  readonly log: Log;
  /** The settings that need a restart. */
  readonly fixed: readonly FixedSetting[];
  /** Reads again what does not depend on the configuration, such as the certificate. */
  before?(): Promise<unknown>;
  /**
   * Applies a new configuration, in which the fixed settings are as before. If it throws, nothing may have
   * changed.
   */
  apply(next: Config): Promise<void> | void;
}

/** Returns the function to call at SIGHUP: reloads run one after the other, and a failed one changes nothing. */
export function reloader({ start, log, fixed, before, apply }: ReloadOptions): () => void {
  const { logger } = log;
  let current = start.config;
  const reload = async () => {
    if (start.config.log.file !== undefined) await reopen(log);
    await before?.();
    try {
      const file = await loadAgain(start);
      const rights = await rightsWarnings(file, { grants: start.grants });
      const read = { ...file, warnings: [...file.warnings, ...rights] };
      const { config, kept, needs } = keepFixed(read, { current, fixed });
      await apply(config);
      tellWarnings(config, { logger, known: current.warnings });
      current = config;
      logger.info("config.reloaded", { needs_restart: kept });
      if (kept.length === 0) return;
      logger.warn("config.needs_restart", {
        settings: kept,
        ...(needs.length > 0 && { needs }),
        action: `systemctl restart ${start.unit}`,
      });
    } catch (error) {
      logger.error("config.not_reloaded", { error: errorText(error), action: "keeping the old one" });
    }
  };
  let last = Promise.resolve();
  return () => {
    last = last.then(reload);
  };
}

async function reopen({ logger, reopen }: Log): Promise<void> {
  try {
    await reopen();
    logger.info("log.reopened");
  } catch (error) {
    logger.error("log.not_reopened", { error: errorText(error) });
  }
}

function tellWarnings(
  { warnings }: Config,
  { logger, known }: { readonly logger: Log["logger"]; readonly known: readonly string[] },
): void {
  for (const warning of warnings) if (!known.includes(warning)) logger.warn("config.warning", { warning });
}

/**
 * A configuration in which settings that need a restart are unchanged; `kept` has their keys, `needs` what exceeds the
 * grants.
 */
export function keepFixed(
  next: Config,
  { current, fixed }: { readonly current: Config; readonly fixed: readonly FixedSetting[] },
): { readonly config: Config; readonly kept: readonly string[]; readonly needs: readonly string[] } {
  let config = next;
  const kept: string[] = [];
  const needs: string[] = [];
  for (const { key, paths, beyond } of fixed) {
    if (paths.every((path) => JSON.stringify(at(next, path)) === JSON.stringify(at(current, path)))) continue;
    const needed = beyond?.(next);
    if (beyond !== undefined && needed === undefined) continue;
    for (const path of paths) config = replaced(config, path, at(current, path)) as Config;
    kept.push(key);
    if (needed !== undefined) needs.push(needed);
  }
  return { config, kept, needs };
}

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((inner, name) => (inner as Record<string, unknown> | undefined)?.[name], value);
}

/** A copy in which the value at this path is replaced or removed. */
function replaced(value: unknown, [name, ...rest]: readonly string[], by: unknown): unknown {
  if (name === undefined) return by;
  const { [name]: inner, ...others } = value as Record<string, unknown>;
  const put = replaced(inner, rest, by);
  return put === undefined ? others : { ...others, [name]: put };
}
