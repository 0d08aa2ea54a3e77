/**
 * Probes: commands of ours that test a server of the same machine. They name themselves in EHLO, so that the log tells
 * them from clients, and what is refused to them counts nowhere.
 *
 * @module
 */
import { addressScope, sameAddress } from "../net/ip_address.ts";
import type { Session } from "./session.ts";

/** The commands that probe. */
export type Probe = "dashboard" | "doctor" | "explain" | "healthcheck" | "status";

/** The name of a probe for EHLO. */
export function probeName(probe: Probe): string {
  return `${probe}.probe.localhost`;
}

const NAME = /^(dashboard|doctor|explain|healthcheck|status)\.probe\.localhost$/i;

/** Which probe a client of this machine is; `undefined` for any other client, whatever it calls itself. */
export function probeOf(
  { hello, remote, local }: Pick<Session, "hello" | "remote" | "local">,
): string | undefined {
  const [, probe] = NAME.exec(hello?.domain ?? "") ?? [];
  if (probe === undefined) return undefined;
  const isHere = addressScope(remote.address) === "loopback" || sameAddress(remote.address, local.address);
  return isHere ? probe.toLowerCase() : undefined;
}
