/**
 * The DKIM keys of a configuration, and the signer that uses them.
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

/**
 * Loads the keys of `[dkim]`, in the order of the file.
 * @param options `share`: the part of the processors that this thread may sign on, above 0 to 1; 1 if absent
 * @throws {ConfigError} with every key that cannot be used
 */
export async function loadDkimKeys(
  { file, dkim }: Pick<Config, "file" | "dkim">,
  { share = 1 }: { readonly share?: number } = {},
): Promise<readonly DkimKey[]> {
  const keys: DkimKey[] = [];
  const issues: ConfigIssue[] = [];
  // More at once than there are processors would only keep the threads busy that write messages to the disk.
  const slots = new Slots(Math.ceil(navigator.hardwareConcurrency * share));
  for (const [domain, entries] of Object.entries(dkim)) {
    for (const [index, { selector, keyFile }] of entries.entries()) {
      const where = `dkim.${JSON.stringify(domain)}${entries.length > 1 ? `[${index}]` : ""}.key`;
      const value = JSON.stringify(keyFile);
      try {
        keys.push(withSlots(await loadDkimKey({ domain, selector, keyFile }), slots));
      } catch (error) {
        if (!(error instanceof DkimKeyError)) throw error;
        issues.push({ key: where, value, problem: error.message });
      }
    }
  }
  if (issues.length > 0) throw new ConfigError(file, issues);
  return keys;
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

/** A signer with these keys, which are logged. */
export function openDkimSigner(keys: readonly DkimKey[], { logger }: { logger: Logger }): DkimSigner {
  tell(keys, logger);
  return new DkimSigner({ keys, logger });
}

/** Replaces the signer's keys by those of another configuration. */
export function replaceDkimKeys(
  signer: DkimSigner,
  { keys, logger }: { readonly keys: readonly DkimKey[]; readonly logger: Logger },
): void {
  tell(keys, logger);
  signer.replaceKeys(keys);
}

function tell(keys: readonly DkimKey[], logger: Logger): void {
  for (const { domain, selector, algorithm } of keys) {
    logger.info("dkim.key.loaded", { domain, selector, algorithm });
  }
}

/** Signs our own notices, too, if there is a key for our hostname. */
export function signedNotices(compose: ComposeNotice, signer: DkimSigner): ComposeNotice {
  return async (request) => {
    const composed = await compose(request);
    if (composed === undefined) return undefined;
    const { entry, message } = composed;
    const signed = await signer.sign(entry.id, message);
    return { entry: { ...entry, size: signed.length }, message: signed };
  };
}
