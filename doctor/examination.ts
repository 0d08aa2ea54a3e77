/**
 * One run of doctor over its checks; shared lookups are made once.
 *
 * @module
 */
import { errorText } from "../base/error_text.ts";
import type { Check } from "./checks.ts";
import { checkResolver } from "./checks/dns.ts";
import { failure, type Finding } from "./finding.ts";
import type { Setup } from "./setup.ts";
import { checkAddresses, type World } from "./world.ts";

/** What the checks of one run share. */
export class Examination {
  /** What is examined. */
  readonly setup: Setup;
  #dns: ReturnType<typeof checkResolver> | undefined;
  #addresses: ReturnType<typeof checkAddresses> | undefined;

  /** Runs no check yet. */
  constructor(setup: Setup) {
    this.setup = setup;
  }

  /** Whether DNS answers. */
  dns(): ReturnType<typeof checkResolver> {
    return this.#dns ??= checkResolver(this.setup);
  }

  /** Whether the server's name resolves to its addresses. */
  addresses(): ReturnType<typeof checkAddresses> {
    return this.#addresses ??= checkAddresses(worldOf(this.setup));
  }

  /** The input of the DNS checks; behind NAT with the addresses that the name resolves to. */
  async world(): Promise<World> {
    return (await this.addresses()).world;
  }

  /** Runs the checks concurrently; returns their findings in the order of the table. Never rejects. */
  async run(checks: readonly Check[]): Promise<Finding[]> {
    const findings = await Promise.all(checks.map((check) => this.#run(check)));
    return findings.flat();
  }

  async #run({ name, needsDns, run }: Check): Promise<readonly Finding[]> {
    try {
      if (needsDns && (await this.dns()).down) return [];
      return await run(this);
    } catch (error) {
      return [failure(`${name}.error`, this.setup.hostname, {
        what: `this check itself failed: ${errorText(error)}`,
        next: "This is a defect of mailapp: please report it, with what mailapp --version says.",
      })];
    }
  }
}

function worldOf(setup: Setup): World {
  const {
    hostname,
    domains,
    machineNames = [],
    own,
    closedNetwork,
    dkim = [],
    certificate,
    dnssec,
    resolver,
  } = setup;
  return {
    hostname,
    domains,
    machineNames,
    listening: own.listening,
    sending: own.sending,
    ...(own.smarthost && { smarthost: own.smarthost.host }),
    closedNetwork,
    dkim,
    ...(certificate.kind === "known" && certificate.pair && { certificate: certificate.pair.leaf }),
    dnssec,
    resolver,
  };
}
