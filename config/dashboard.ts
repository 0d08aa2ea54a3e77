/**
 * The table `[dashboard]`: the page in the browser.
 *
 * @module
 */
import * as z from "zod";
import type { DashboardConfig } from "./config.ts";
import { isLoopback, parseDomain, parseEndpoint } from "./names.ts";
import { pathOrEmpty, table, value } from "./values.ts";

const MAX_HOSTS = 20;

const endpoint = value('an IP address and port, such as "127.0.0.1:8025"', parseEndpoint);

const hostNames = z.array(value('a host name, such as "mail.example.com"', parseDomain), {
  error: "must be a list of host names",
}).max(MAX_HOSTS, `must have at most ${MAX_HOSTS} names`);

const reports = value(
  'an address of this server, such as "reports@example.com", or "" for none',
  (input) =>
    input === "" || /^[^\s@"<>]{1,64}@[^\s@]{1,253}$/.test(String(input)) ? String(input) : undefined,
);

/** The table. */
export const dashboard = table({
  listen: endpoint.prefault("127.0.0.1:8025"),
  token_file: pathOrEmpty.prefault(""),
  hosts: hostNames.prefault([]),
  reports: reports.prefault(""),
}).transform(({ listen, token_file, hosts, reports }, context): Omit<DashboardConfig, "installed"> => {
  if (token_file === "" && !isLoopback(listen.address)) {
    const message = "must be a loopback address, or token_file be set: the page shows and manages the queue";
    context.issues.push({ code: "custom", message, input: undefined, path: ["listen"] });
  }
  return {
    listen,
    hosts,
    ...(token_file !== "" && { tokenFile: token_file }),
    ...(reports !== "" && { reports }),
  };
});
