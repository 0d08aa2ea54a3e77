/**
 * Requests to serve-policy, good and bad.
 *
 * @module
 */
import { POLICY_PATH } from "../../mta_sts/policy.ts";

/** One request, and what serve-policy answers. */
export interface PolicyRequest {
  /** What is tried, for people. */
  readonly tried: string;
  /** Whole, as it goes over the connection. */
  readonly request: string;
  /** The status of the response. */
  readonly status: 200 | 400 | 404 | 405;
  /** Whether the response has no body; a response with status 200 and a body has the policy. */
  readonly bodyless?: true;
}

/**
 * The requests (RFC 8461 §3.3, RFC 9112).
 * @param host a policy host of ours, in its one spelling
 * @param options `other`: another one, which may be the same
 */
export function policyRequests(
  host: string,
  { other = host }: { readonly other?: string } = {},
): readonly PolicyRequest[] {
  const get = (fields: readonly string[], { target = POLICY_PATH, version = "HTTP/1.1" } = {}) =>
    [`GET ${target} ${version}`, ...fields, "", ""].join("\r\n");
  const own = [`Host: ${host}`];
  const cases = (status: PolicyRequest["status"], requests: Readonly<Record<string, string>>) =>
    Object.entries(requests).map(([tried, request]): PolicyRequest => ({ tried, request, status }));
  return [
    ...cases(200, {
      "the policy": get(own),
      "the policy of another domain": get([`Host: ${other}`]),
      "a host with port, capitals and a final dot": get([
        `HOST:${host.replace("mta-sts", "MTA-STS").replace(/\w/g, (letter) => letter.toUpperCase())}.:443`,
      ]),
      "the absolute form": get(["Host: other.test"], { target: `https://${other}${POLICY_PATH}` }),
      "a query": get(own, { target: `${POLICY_PATH}?x=y` }),
      "HTTP/1.0": get(own, { version: "HTTP/1.0" }),
    }),
    {
      tried: "HEAD",
      request: get(own).replace("GET", "HEAD"),
      status: 200,
      bodyless: true,
    },
    ...cases(404, {
      "a host that is not ours": get([`Host: ${host.replace("mta-sts.", "")}`]),
      "a host that is a property of objects": get(["Host: constructor"]),
      "no host": get([]),
      "the root": get(own, { target: "/" }),
      "a path that climbs": get(own, { target: `/x/..${POLICY_PATH}` }),
      "a path that climbs in escapes": get(own, { target: `/.well-known/%2e%2e${POLICY_PATH}` }),
      "a path with a slash too many": get(own, { target: `/${POLICY_PATH}` }),
      "a path below that of the policy": get(own, { target: `${POLICY_PATH}/x` }),
      "a file of the machine": get(own, { target: "/../../../../etc/passwd" }),
    }),
    ...cases(405, {
      "POST with a body": `POST ${POLICY_PATH} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 5\r\n\r\nhello`,
      "CONNECT": `CONNECT ${host}:25 HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    }),
    ...cases(400, {
      "two hosts": get([`Host: ${host}`, `Host: ${other}`]),
      "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "SMTP": "EHLO client.test\r\n\r\n",
      "nothing but an end": "\r\n\r\n",
    }),
  ];
}
