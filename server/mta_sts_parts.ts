/**
 * The MTA-STS policies of the domains that serve-out sends to: fetched over HTTPS, kept in the data directory.
 *
 * @module
 */
import { readOwnFile } from "../storage/own_file.ts";
import { Buffer } from "node:buffer";
import { dirname, join } from "@std/path";
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import type { Resolver } from "../dns/resolver.ts";
import { fetchPolicy } from "../mta_sts/fetch.ts";
import { type KeptPolicy, Policies, type PolicyStore } from "../mta_sts/policies.ts";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { NewFile } from "../storage/new_file.ts";

/** The file in the data directory. */
export const POLICY_FILE = "mta-sts.json";
/** In octets; the stored policies are bounded well below it. */
const LONGEST_FILE = 64 * 1024 * 1024;
const VERSION = 1;

/** What the policies depend on. */
export interface PolicyParts {
  /** As it is now; a reload may change it. */
  readonly live: { readonly config: Config; readonly resolver: Resolver };
  readonly logger: Logger;
}

/** The stored policies, refreshed until {@linkcode Policies.stop}. */
export async function openPolicies({ live, logger }: PolicyParts): Promise<Policies> {
  const { dataDir } = live.config;
  const policies = createPolicies({ live, logger }, new PolicyFile(join(dataDir, POLICY_FILE), logger));
  await policies.load();
  policies.start();
  return policies;
}

/** Policies that are fetched again and not stored, for a command. */
export function passingPolicies(parts: PolicyParts): Policies {
  return createPolicies(parts, { load: () => Promise.resolve([]), save: () => Promise.resolve() });
}

function createPolicies({ live, logger }: PolicyParts, store: PolicyStore): Policies {
  return new Policies({
    // The current resolver, which a reload may replace.
    resolver: { txt: (name, options) => live.resolver.txt(name, options) },
    clock: systemClock,
    logger,
    store,
    fetch: (domain, signal) =>
      fetchPolicy(domain, {
        resolver: live.resolver,
        allowPrivate: live.config.serveOut.allowPrivateTargets,
        signal,
      }),
  });
}

/** The policies as a JSON file. */
class PolicyFile implements PolicyStore {
  readonly #path: string;
  readonly #logger: Logger;

  constructor(path: string, logger: Logger) {
    this.#path = path;
    this.#logger = logger;
  }

  async load(): Promise<readonly unknown[]> {
    try {
      const { mailapp, policies } = JSON.parse(await readOwnFile(this.#path, { most: LONGEST_FILE }));
      if (mailapp !== VERSION || !Array.isArray(policies)) throw new Error("not a file of MTA-STS policies");
      return policies;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) {
        this.#logger.warn("mta_sts.not_read", { path: this.#path, error: errorText(error) });
      }
      return [];
    }
  }

  async save(policies: readonly KeptPolicy[]): Promise<void> {
    // The text contains the whole policy.
    const kept = policies.map(({ policy: _, ...rest }) => rest);
    const file = await NewFile.createAnew(`${this.#path}.new`, { mode: 0o600 });
    await file.write(Buffer.from(`${JSON.stringify({ mailapp: VERSION, policies: kept })}\n`));
    await file.finish();
    await file.publish(this.#path);
    await new DirectorySyncer().sync(dirname(this.#path));
  }
}
