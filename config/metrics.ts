/**
 * The table `[metrics]`: where each server shows Prometheus what it counts.
 *
 * @module
 */
import type { EndpointConfig, MetricsConfig } from "./config.ts";
import { isLoopback, parseEndpoint } from "./names.ts";
import { pathOrEmpty, table, value } from "./values.ts";

const endpointOrEmpty = value(
  'an IP address and port, such as "127.0.0.1:9465", or "" for none',
  (input): EndpointConfig | "" | undefined => input === "" ? "" : parseEndpoint(input),
);

/** The table. */
export const metrics = table({
  serve_in: endpointOrEmpty.prefault(""),
  serve_out: endpointOrEmpty.prefault(""),
  serve_submit: endpointOrEmpty.prefault(""),
  serve_policy: endpointOrEmpty.prefault(""),
  token_file: pathOrEmpty.prefault(""),
}).transform(({ serve_in, serve_out, serve_submit, serve_policy, token_file }, context): MetricsConfig => {
  for (const [name, endpoint] of Object.entries({ serve_in, serve_out, serve_submit, serve_policy })) {
    if (endpoint === "" || token_file !== "" || isLoopback(endpoint.address)) continue;
    const message =
      "must be a loopback address, or token_file be set: whoever can ask sees whom mail goes to";
    context.issues.push({ code: "custom", message, input: undefined, path: [name] });
  }
  return {
    ...(serve_in !== "" && { serveIn: serve_in }),
    ...(serve_out !== "" && { serveOut: serve_out }),
    ...(serve_submit !== "" && { serveSubmit: serve_submit }),
    ...(serve_policy !== "" && { servePolicy: serve_policy }),
    ...(token_file !== "" && { tokenFile: token_file }),
  };
});
