/**
 * `mailapp explain --connect`: what would happen with the servers as they are now.
 *
 * @module
 */
import { silentLogger } from "../../base/log.ts";
import type { Config } from "../../config/config.ts";
import type { Target } from "../../relay/mx.ts";
import type { TlsLevel } from "../../relay/queue_entry.ts";
import { HostConnection } from "../../relay/transmit.ts";
import { openResolver, sessionOptions } from "../../server/relay_parts.ts";
import { printable } from "../command_line/terminal.ts";
import { keyOf } from "./dane.ts";

/** How a connection went: how it was protected when mail could have been sent, or why it could not. */
export type Trial =
  | { readonly tls: TlsLevel }
  | { readonly error: string };

/** By {@linkcode keyOf}. */
export type Trials = ReadonlyMap<string, Trial>;

/** Of more addresses none is tried. */
const MAX_TRIALS = 8;

/** Connects to the targets as an attempt would, up to where MAIL could be said. */
export async function tryTargets(targets: readonly Target[], config: Config): Promise<Trials> {
  const options = sessionOptions(config, { resolver: openResolver(config), logger: silentLogger });
  return new Map(
    await Promise.all(
      targets.slice(0, MAX_TRIALS).map(async (target): Promise<readonly [string, Trial]> => {
        const opened = await HostConnection.open(target, options);
        if (opened.kind === "unavailable") {
          const { reply, error, status } = opened.attempt;
          return [keyOf(target), { error: error ?? reply ?? status }];
        }
        const { tls } = opened.connection;
        await opened.connection.close();
        return [keyOf(target), { tls }];
      }),
    ),
  );
}

const LEVELS: Readonly<Record<TlsLevel, string>> = {
  none: "mail would be sent without TLS",
  unverified: "mail would be sent over TLS; the certificate was not verified",
  verified: "mail would be sent over TLS; the certificate is valid for the host",
  dane: "mail would be sent over TLS; the certificate is one that the TLSA records name",
};

/** The line below a target. */
export function describeTrial(trial: Trial | undefined): string[] {
  if (trial === undefined) return [];
  const text = "tls" in trial ? LEVELS[trial.tls] : `no mail would be sent: ${printable(trial.error)}`;
  return [`      ${text}`];
}
