/**
 * Sends alerts as `[alerts]` configures them.
 *
 * @module
 */
import { allMetrics } from "../base/counters.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Config } from "../config/config.ts";
import { type Alert, postAlert } from "../doctor/alert.ts";
import { mailAlert } from "../doctor/alert_mail.ts";
import { Dialogue } from "../doctor/dialogue.ts";
import type { ProblemAlerts } from "../doctor/problem_watch.ts";
import { createDial } from "../net/dial.ts";
import type { SocketAddress } from "../net/transport.ts";

/** One way to send an alert. */
export interface AlertWay {
  /** Which of the two it is. */
  readonly kind: "webhook" | "mail";
  /** For people; shows no secret. */
  readonly name: string;
  /**
   * Sends the alert.
   * @throws {Error} when it could not be sent
   */
  send(alert: Alert): Promise<void>;
}

/** All configured ways. The files with secrets are read each time, as they may change. */
export function alertWays({ alerts: { webhook, mail } }: Config): AlertWay[] {
  const ways: AlertWay[] = [];
  if (webhook !== undefined) {
    const { url, template, tokenFile, secretFile } = webhook;
    ways.push({
      kind: "webhook",
      name: `webhook on ${new URL(url).host} (${template})`,
      send: async (alert) => {
        const [token, secret] = await Promise.all([firstLine(tokenFile), firstLine(secretFile)]);
        await postAlert(alert, {
          url,
          template,
          ...(token !== undefined && { token }),
          ...(secret !== undefined && { secret }),
        });
      },
    });
  }
  if (mail !== undefined) {
    const { passwordFile, ...way } = mail;
    ways.push({
      kind: "mail",
      name: `mail to ${mail.to} by ${mail.host}`,
      send: async (alert) =>
        await mailAlert(alert, { ...way, password: await firstLine(passwordFile) ?? "" }),
    });
  }
  return ways;
}

/** @throws {Error} with the file's name */
async function firstLine(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return (await Deno.readTextFile(path)).split("\n", 1)[0]?.trim();
  } catch (error) {
    throw new Error(`${path}: ${errorText(error)}`, { cause: error });
  }
}

/**
 * All configured ways, for a {@linkcode ProblemWatch}; `undefined` if there is none.
 * @param server the server that sends the alerts
 */
export function alertsOf(config: Config, server: string): readonly ProblemAlerts[] | undefined {
  const ways = alertWays(config);
  if (ways.length === 0) return undefined;
  return ways.map(({ kind, send }) => ({
    way: kind,
    send: (news) => send({ hostname: config.hostname, server, at: systemClock.now(), ...news }),
  }));
}

/** In milliseconds. */
const TIMEOUT = 10_000;

/** Where one of our servers listens. */
export interface ProbePlace extends SocketAddress {
  /** The server name for implicit TLS; absent without it. */
  readonly tls?: string;
}

/** Connects to one of our servers and waits for its greeting, ten seconds for each step. */
export function greetingProbe(
  place: () => ProbePlace,
  { clock = systemClock }: { readonly clock?: Clock } = {},
): () => Promise<void> {
  return async () => {
    const { tls, ...address } = place();
    const transport = await createDial({ clock, timeout: TIMEOUT })(address);
    using dialogue = new Dialogue(transport, { clock, timeout: TIMEOUT });
    if (tls !== undefined) await dialogue.startTls(tls);
    const { code, lines } = await dialogue.listen();
    // A server with too many connections is alive.
    if (code >= 500) throw new Error(`it says ${code} ${lines.join(" ")}`);
  };
}

/** The sum of a counter of this thread; only of the series with these values of labels, if given. */
export function total(name: string, wanted: Readonly<Record<string, string>> = {}): number {
  let sum = 0;
  for (const metric of allMetrics()) {
    if (metric.name !== name) continue;
    for (const { labels, metric: counted } of metric.series()) {
      const isWanted = metric.labels.every((label, index) =>
        labels[index] === (wanted[label] ?? labels[index])
      );
      if (isWanted && "value" in counted) sum += counted.value;
    }
  }
  return sum;
}
