/**
 * The DKIM keys of a configuration, and what signs with them.
 *
 * @module
 */
import { DkimSigner } from "../dkim/sign.ts";
import { type DkimKey, DkimKeyError, loadDkimKey } from "../dkim/keys.ts";
import type { Config } from "../config/config.ts";
import { ConfigError, type ConfigIssue } from "../config/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ComposeNotice } from "../relay/settle.ts";
import { Slots } from "../base/slots.ts";

/** What `[dkim]` names. */
export interface DkimKeys {
  /** All keys, in the order of the file. */
  readonly keys: readonly DkimKey[];
  /** What is odd but does not stand in the way. */
  readonly warnings: readonly string[];
}

/**
 * Loads the keys of `[dkim]`.
 * @throws {ConfigError} with every key that cannot be used
 */
export async function loadDkimKeys({ file, dkim }: Pick<Config, "file" | "dkim">): Promise<DkimKeys> {
  const keys: DkimKey[] = [];
  const warnings: string[] = [];
  const issues: ConfigIssue[] = [];
  // More at once than there are processors would only keep the threads busy that write messages to the disk.
  const slots = new Slots(navigator.hardwareConcurrency);
  for (const [domain, entries] of Object.entries(dkim)) {
    for (const [index, { selector, keyFile }] of entries.entries()) {
      const where = `dkim.${JSON.stringify(domain)}${entries.length > 1 ? `[${index}]` : ""}.key`;
      const value = JSON.stringify(keyFile);
      try {
        const loaded = await loadDkimKey({ domain, selector, keyFile });
        keys.push(withSlots(loaded.key, slots));
        warnings.push(...loaded.warnings.map((warning) => `${where} = ${value}: ${warning}`));
      } catch (error) {
        if (!(error instanceof DkimKeyError)) throw error;
        issues.push({ key: where, value, problem: error.message });
      }
    }
  }
  if (issues.length > 0) throw new ConfigError(file, issues);
  return { keys, warnings };
}

function withSlots(key: DkimKey, slots: Slots): DkimKey {
  return {
    ...key,
    sign: async (data) => {
      using _slot = await slots.take(1);
      return await key.sign(data);
    },
  };
}

/** A signer with these keys, which are told in the log. */
export function openDkimSigner({ keys, warnings }: DkimKeys, { logger }: { logger: Logger }): DkimSigner {
  tell(logger, { keys, warnings });
  return new DkimSigner({ keys, logger });
}

/** Lets the signer have the keys of another configuration. */
export function replaceDkimKeys(
  signer: DkimSigner,
  { logger, ...loaded }: DkimKeys & { logger: Logger },
): void {
  tell(logger, loaded);
  signer.replaceKeys(loaded.keys);
}

function tell(logger: Logger, { keys, warnings }: DkimKeys): void {
  for (const warning of warnings) logger.warn("config.warning", { warning });
  for (const { domain, selector, algorithm } of keys) {
    logger.info("dkim.key.loaded", { domain, selector, algorithm });
  }
}

/** Signs our own notices, too, where there is a key for our name. */
export function signedNotices(compose: ComposeNotice, signer: DkimSigner): ComposeNotice {
  return async (request) => {
    const composed = await compose(request);
    if (composed === undefined) return undefined;
    const { entry, message } = composed;
    const signed = await signer.sign(entry.id, message);
    return { entry: { ...entry, size: signed.length }, message: signed };
  };
}
