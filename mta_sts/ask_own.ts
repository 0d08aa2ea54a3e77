/**
 * Whether a serve-policy of this machine answers.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import type { SocketAddress } from "../net/transport.ts";
import { httpsRequest } from "../tls/https_request.ts";
import { MAX_POLICY, parsePolicy, POLICY_PATH } from "./policy.ts";

/**
 * Fetches the policy from this address, whatever its certificate.
 * @param options `host`: the name of the policy host; `timeout` in milliseconds
 * @throws when there is no policy
 */
export async function askOwnPolicy(
  { address, port }: SocketAddress,
  { host, timeout, clock }: { readonly host: string; readonly timeout: number; readonly clock: Clock },
): Promise<void> {
  const { status, body } = await httpsRequest({
    host,
    addresses: [address],
    port,
    path: POLICY_PATH,
    verify: false,
    maxBody: MAX_POLICY,
    timeout,
    clock,
  });
  if (status !== 200) throw new Error(`HTTP status ${status}`);
  parsePolicy(new TextDecoder().decode(body));
}
