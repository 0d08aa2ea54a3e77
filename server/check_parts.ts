/**
 * Builds what serve-in's checks of incoming mail need from the configuration.
 *
 * @module
 */
import { join } from "@std/path";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { type DnsList, DnsLists } from "../checks/dns_lists.ts";
import type { Filter } from "../checks/filter.ts";
import type { GreylistPort } from "../checks/greylist.ts";
import { GreylistFile } from "../checks/greylist_file.ts";
import { MailInspector } from "../checks/inspector.ts";
import { MilterFilter } from "../checks/milter_filter.ts";
import { RspamdFilter } from "../checks/rspamd.ts";
import type { Config, FilterConfig } from "../config/config.ts";
import type { Resolver } from "../dns/resolver.ts";
import type { DnsServer } from "../dns/wire_client.ts";
import { openConfinedResolver } from "./confined_resolver.ts";
import { asksDns, isChecked } from "./dns_parts.ts";
import { incomingDirectory } from "./parts.ts";

/** What the checks depend on. */
export interface ChecksOptions {
  /** The DNS servers that this thread may ask. */
  readonly dnsServers: readonly DnsServer[];
  readonly clock: Clock;
  readonly logger: Logger;
  /** The domains that are local at this moment. */
  readonly domains: () => readonly string[];
  /** The greylist of another thread; absent: this one has it, and its file. */
  readonly greylist?: GreylistPort;
}

/** For connecting to a filter, for each part of a message sent to it, and for its answer; in milliseconds. */
const FILTER_TIMEOUT = 30_000;

/** The file of the senders that greylisting knows. */
export function greylistFile(config: Config): string {
  return join(incomingDirectory(config), "greylist");
}

/** The checks of a running serve-in, which a reload may replace. */
export class Checks implements AsyncDisposable {
  readonly #options: ChecksOptions;
  #config: Config | undefined;
  #resolver: Resolver | undefined;
  #lists: DnsLists | undefined;
  #greylist: GreylistFile | undefined;
  #inspector: MailInspector | undefined;

  private constructor(options: ChecksOptions) {
    this.#options = options;
  }

  /** Opens what the configured checks need, and begins to test the DNS lists. */
  static async open(config: Config, options: ChecksOptions): Promise<Checks> {
    const checks = new Checks(options);
    await checks.change(config);
    return checks;
  }

  /** For the server; `undefined` if nothing is checked. */
  get inspector(): MailInspector | undefined {
    return this.#inspector;
  }

  /** The resolver of the checks; `undefined` if they send no queries. */
  get resolver(): Resolver | undefined {
    return this.#resolver;
  }

  /** Where senders are asked about; `undefined` as long as greylisting was never on. */
  get greylist(): GreylistPort | undefined {
    return this.#options.greylist ?? this.#greylist;
  }

  /** Applies another configuration from now on; inspections in progress finish under the previous one. */
  async change(config: Config): Promise<void> {
    const { serveIn: { checks }, hostname, dns } = config;
    const { clock, logger, domains, dnsServers } = this.#options;
    const { greylist, dnsLists } = checks;
    const before = this.#config;
    if (sameJson([before?.dns, before?.serveIn.checks], [dns, checks])) return;
    if (greylist !== "off" && this.#options.greylist === undefined) {
      // There is one file: it stays open even while greylisting is turned off.
      this.#greylist ??= await GreylistFile.open({ path: greylistFile(config), clock, logger });
    }
    const resolver = this.#resolver;
    if (!asksDns(config)) this.#resolver = undefined;
    else if (resolver === undefined || !sameJson(before?.dns, dns)) {
      this.#resolver = openConfinedResolver(config, { servers: dnsServers, logger });
    }
    if (this.#resolver !== resolver || !sameJson(before?.serveIn.checks.dnsLists, dnsLists)) {
      this.#lists?.[Symbol.dispose]();
      this.#lists = this.#openLists(dnsLists);
    }
    this.#config = config;
    this.#inspector = !isChecked(config) ? undefined : new MailInspector({
      hostname,
      checks,
      isOwnDomain: (domain) => isOwnDomain(domain, { hostname, domains: domains() }),
      resolver: this.#resolver,
      clock,
      logger,
      filters: checks.filters.map((filter) => openFilter(filter, clock)),
      lists: this.#lists,
      ...(greylist !== "off" && { greylist: this.greylist }),
      refusesListed: dnsLists.some(({ action }) => action === "refuse"),
    });
  }

  /** Mail is taken at once: a list is ignored until it has been tested. */
  #openLists(lists: readonly DnsList[]): DnsLists | undefined {
    if (lists.length === 0 || this.#resolver === undefined) return undefined;
    const { clock, logger } = this.#options;
    const opened = new DnsLists({ lists, resolver: this.#resolver, clock, logger });
    void opened.start();
    return opened;
  }

  /** Stops testing lists; writes pending changes of the greylist. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#lists?.[Symbol.dispose]();
    await this.#greylist?.[Symbol.asyncDispose]();
  }
}

function sameJson(some: unknown, other: unknown): boolean {
  return JSON.stringify(some) === JSON.stringify(other);
}

function openFilter(filter: FilterConfig, clock: Clock): Filter {
  const common = { clock, timeoutMs: FILTER_TIMEOUT };
  return filter.kind === "rspamd"
    ? new RspamdFilter({ host: filter.host, port: filter.port, ...common })
    : new MilterFilter({ address: filter, ...common });
}

/** Whether programs of this machine may send in the name of a domain. */
export function isOwnDomain(
  domain: string,
  { hostname, domains }: { readonly hostname: string; readonly domains: readonly string[] },
): boolean {
  return domain === hostname || domains.includes(domain);
}
