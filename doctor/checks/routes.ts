/**
 * Whether the hosts that mail is routed to take it from us: TLS, certificate, login.
 *
 * @module
 */
import { errorText } from "../../base/error_text.ts";
import { failure, type Finding, ok, untested } from "../finding.ts";
import type { Setup } from "../setup.ts";

/** The result of testing a route. */
export type RouteTrial =
  /** A message could be sent now; `how` describes the connection. */
  | { readonly kind: "ready"; readonly how: string }
  /** No message could be sent. */
  | { readonly kind: "refused"; readonly why: string; readonly next?: string }
  /** It could not be tested. */
  | { readonly kind: "unknown"; readonly why: string };

/** A route as the check sees it. */
export interface RouteProbe {
  /** The domain, or `*` for all others. */
  readonly name: string;
  /** The host and its port, for people. */
  readonly host: string;
  /** Whether it uses a login. */
  readonly login: boolean;
  /** Runs the dialogue up to, but not including, MAIL, as serve-out does. */
  readonly tryOut: () => Promise<RouteTrial>;
}

/** Tests each route as serve-out would use it. Sends no mail. */
export async function checkRoutes({ routes }: Pick<Setup, "routes">): Promise<Finding[]> {
  return await Promise.all(routes.map(checkRoute));
}

async function checkRoute({ name, host, login, tryOut }: RouteProbe): Promise<Finding> {
  const subject = `${name === "*" ? "all other mail" : name} by way of ${host}`;
  let trial: RouteTrial;
  try {
    trial = await tryOut();
  } catch (error) {
    trial = { kind: "unknown", why: errorText(error) };
  }
  switch (trial.kind) {
    case "ready":
      return ok("route", subject, `it takes mail from here: ${trial.how}${login ? ", logged in" : ""}`);
    case "unknown":
      return untested("route", subject, { what: trial.why });
    case "refused":
      return failure("route.refused", subject, {
        what: trial.why,
        next: trial.next ?? "Check the route in [serve-out.routes]: host, port, tls, user and password_file.",
      });
  }
}
