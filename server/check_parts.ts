/**
 * From the configuration to what serve-in's checks of incoming mail need.
 *
 * @module
 */
import { join } from "@std/path";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { DnsLists } from "../checks/dns_lists.ts";
import type { Filter } from "../checks/filter.ts";
import { GreylistFile } from "../checks/greylist_file.ts";
import { MailInspector } from "../checks/inspector.ts";
import { MilterFilter } from "../checks/milter_filter.ts";
import { RspamdFilter } from "../checks/rspamd.ts";
import type { Config, FilterConfig } from "../config/config.ts";
import type { Resolver } from "../dns/resolver.ts";
import { asksDns, isChecked } from "./dns_parts.ts";
import { incomingDirectory } from "./parts.ts";

/** The checks of a running serve-in. */
export interface Checks extends AsyncDisposable {
  /** For the server; absent where nothing is checked. */
  readonly inspector?: MailInspector;
}

/** What they depend on. */
export interface ChecksOptions {
  /** Asked about everything. */
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The domains that are local at this moment. */
  readonly domains: () => readonly string[];
}

/** For the connection to a filter, each part of a message that it takes, and its answer; in milliseconds. */
const FILTER_TIMEOUT = 30_000;

/** Where serve-in remembers whom greylisting knows. */
export function greylistFile(config: Config): string {
  return join(incomingDirectory(config), "greylist");
}

/** Opens what the checks of the configuration need, and begins to test its DNS lists. */
export async function openChecks(config: Config, options: ChecksOptions): Promise<Checks> {
  if (!isChecked(config)) return { [Symbol.asyncDispose]: () => Promise.resolve() };
  const { hostname, serveIn: { checks } } = config;
  const { resolver, clock, logger, domains } = options;
  const lists = checks.dnsLists.length === 0
    ? undefined
    : new DnsLists({ lists: checks.dnsLists, resolver, clock, logger });
  const greylist = checks.greylist === "off"
    ? undefined
    : await GreylistFile.open({ path: greylistFile(config), clock, logger });
  // Mail is taken at once: until a list has been tested it says nothing.
  void lists?.start();
  const inspector = new MailInspector({
    hostname,
    checks,
    isOwnDomain: (domain) => domain === hostname || domains().includes(domain),
    ...(asksDns(config) && { resolver }),
    clock,
    logger,
    filters: checks.filters.map((filter) => openFilter(filter, clock)),
    ...(lists && { lists }),
    ...(greylist && { greylist }),
    refusesListed: checks.dnsLists.some(({ action }) => action === "refuse"),
  });
  return {
    inspector,
    async [Symbol.asyncDispose]() {
      lists?.[Symbol.dispose]();
      await greylist?.[Symbol.asyncDispose]();
    },
  };
}

function openFilter(filter: FilterConfig, clock: Clock): Filter {
  const common = { clock, timeoutMs: FILTER_TIMEOUT };
  return filter.kind === "rspamd"
    ? new RspamdFilter({ host: filter.host, port: filter.port, ...common })
    : new MilterFilter({ address: filter, ...common });
}
