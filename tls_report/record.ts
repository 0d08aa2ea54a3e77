/**
 * The TXT record at `_smtp._tls.DOMAIN` by which a domain requests reports about TLS (RFC 8460 §3).
 *
 * @module
 */

/** The destination of a report. */
export type ReportEndpoint =
  | { readonly kind: "mail"; readonly address: string }
  | { readonly kind: "https"; readonly host: string; readonly port: number; readonly path: string };

const MAX_RECORD = 2048;
const MAX_ENDPOINTS = 5;
const ADDRESS = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,253}$/;

/** The endpoints of the records at that name, at most five; none where there is no record, or more than one. */
export function reportEndpoints(records: readonly string[]): ReportEndpoint[] {
  const [record, ...others] = records.filter((text) => /^v=TLSRPTv1[ \t]*(?:;|$)/.test(text));
  if (record === undefined || others.length > 0 || record.length > MAX_RECORD) return [];
  const field = record.split(";").find((part) => /^[ \t]*rua[ \t]*=/.test(part));
  if (field === undefined) return [];
  return field.slice(field.indexOf("=") + 1).split(",").flatMap((uri) => readEndpoint(uri.trim()) ?? [])
    .slice(0, MAX_ENDPOINTS);
}

/** The URI of an endpoint, for the log and as a key. */
export function showEndpointUri(endpoint: ReportEndpoint): string {
  return endpoint.kind === "mail"
    ? `mailto:${endpoint.address}`
    : `https://${endpoint.host}${endpoint.port === 443 ? "" : `:${endpoint.port}`}${endpoint.path}`;
}

function readEndpoint(uri: string): ReportEndpoint | undefined {
  if (/^mailto:/i.test(uri)) {
    let address: string;
    try {
      address = decodeURIComponent(uri.slice("mailto:".length).split("?")[0] ?? "");
    } catch {
      return undefined;
    }
    return ADDRESS.test(address) ? { kind: "mail", address } : undefined;
  }
  let url: URL;
  try {
    url = new URL(uri);
  } catch {
    return undefined;
  }
  const { protocol, hostname, port, pathname, search, username } = url;
  if (protocol !== "https:" || username !== "" || !/^[a-z0-9_-][a-z0-9._-]*$/.test(hostname)) {
    return undefined;
  }
  return {
    kind: "https",
    host: hostname,
    port: port === "" ? 443 : Number(port),
    path: `${pathname}${search}`,
  };
}
