/**
 * Sends alerts by a webhook, bypassing our own queue: an HTTP request in the form
 * that the service takes.
 *
 * @module
 */
import { createHmac, randomUUID } from "node:crypto";
import { errorText } from "../base/error_text.ts";
import type { Problem } from "./problem_watch.ts";

/** The content of an alert. */
export interface Alert {
  /** The machine's name. */
  readonly hostname: string;
  /** The server that sends it, or `mailapp alert`. */
  readonly server: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Present problems; empty in an alert that only reports resolved ones. */
  readonly firing: readonly Problem[];
  /** Resolved problems. */
  readonly resolved: readonly Pick<Problem, "kind" | "about">[];
}

/** The forms of a request. */
export const ALERT_TEMPLATES = ["json", "ntfy", "slack", "matrix"] as const;

/** One of them. */
export type AlertTemplate = typeof ALERT_TEMPLATES[number];

/** Where an alert is posted. */
export interface Webhook {
  /** HTTPS, or HTTP on loopback. */
  readonly url: string;
  /** In which form. */
  readonly template: AlertTemplate;
  /** Goes into `Authorization: Bearer`. */
  readonly token?: string;
  /** Signs the body: `X-Mailapp-Signature: sha256=…`, an HMAC in hexadecimal digits. */
  readonly secret?: string;
}

/** A request, ready to be made. */
export interface AlertRequest {
  readonly url: string;
  readonly method: "POST" | "PUT";
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** In milliseconds. */
const TIMEOUT = 15_000;
/** Upper bound of the problems listed in one alert; further ones are counted. */
const MAX_TOLD = 20;

/** The subject line and the text of an alert. */
export function alertText(
  { hostname, server, firing, resolved }: Alert,
): { readonly title: string; readonly text: string } {
  const kinds = [...new Set((firing.length > 0 ? firing : resolved).map(({ kind }) => kind))].join(", ");
  const title = firing.length > 0
    ? `${hostname}: ${server} needs attention (${kinds})`
    : `${hostname}: ${server}: resolved (${kinds})`;
  const more = firing.length - MAX_TOLD;
  return {
    title,
    text: [
      ...firing.slice(0, MAX_TOLD).map(({ what, next }) => `${what}. ${next}`),
      ...(more > 0 ? [`and ${more} more; mailapp doctor shows them`] : []),
      ...resolved.slice(0, MAX_TOLD).map(({ kind, about }) =>
        `resolved: ${kind}${about === undefined ? "" : `, ${about}`}`
      ),
    ].join("\n"),
  };
}

/** The HTTP request of an alert. */
export function alertRequest(alert: Alert, { url, template, token, secret }: Webhook): AlertRequest {
  const { title, text } = alertText(alert);
  const authorization: Record<string, string> = token === undefined
    ? {}
    : { authorization: `Bearer ${token}` };
  const json = (value: unknown) => JSON.stringify(value);
  const plain = { url, method: "POST" as const };
  switch (template) {
    case "ntfy":
      return {
        ...plain,
        headers: {
          ...authorization,
          "content-type": "text/plain; charset=utf-8",
          // HTTP fields are ASCII; ntfy decodes RFC 2047.
          title: `=?UTF-8?B?${btoa(String.fromCharCode(...new TextEncoder().encode(title)))}?=`,
          priority: alert.firing.length > 0 ? "high" : "default",
          tags: alert.firing.length > 0 ? "warning" : "white_check_mark",
        },
        body: text,
      };
    case "slack":
      return {
        ...plain,
        headers: { ...authorization, "content-type": "application/json" },
        // Three characters are special in its markup.
        body: json({ text: escapeMarkup(`*${title}*\n${text}`) }),
      };
    case "matrix":
      return {
        // Each message has its own id in the URL, so that none is posted twice.
        url: `${url.replace(/\/$/, "")}/${randomUUID()}`,
        method: "PUT",
        headers: { ...authorization, "content-type": "application/json" },
        body: json({ msgtype: "m.text", body: `${title}\n${text}` }),
      };
    case "json": {
      const { hostname, server, at, firing, resolved } = alert;
      const body = json({ hostname, server, at: new Date(at).toISOString(), title, text, firing, resolved });
      return {
        ...plain,
        headers: {
          ...authorization,
          "content-type": "application/json",
          ...(secret !== undefined && {
            "x-mailapp-signature": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`,
          }),
        },
        body,
      };
    }
  }
}

function escapeMarkup(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * Posts an alert.
 * @throws {Error} when the service does not accept it; the message does not contain the URL, which may be secret
 */
export async function postAlert(alert: Alert, webhook: Webhook): Promise<void> {
  const { url, ...request } = alertRequest(alert, webhook);
  let response: Response;
  try {
    response = await fetch(url, { ...request, redirect: "error", signal: AbortSignal.timeout(TIMEOUT) });
  } catch (error) {
    throw new Error(`the webhook cannot be reached: ${errorText(error).replaceAll(url, "…")}`);
  }
  await response.body?.cancel();
  if (!response.ok) throw new Error(`the webhook answers ${response.status}`);
}
