/**
 * Latencies, from the metrics that a server exposes.
 *
 * @module
 */

/** Some quantiles of a histogram. */
export interface Latency {
  /** How many were counted. */
  readonly count: number;
  /** Upper bounds in seconds: half of all, 99 of a hundred; `Infinity`: longer than the histogram can tell. */
  readonly median: number;
  readonly p99: number;
}

/** What is shown of a server's metrics. */
export interface ServerMetrics {
  /** Open connections. */
  readonly connections?: number;
  /** Resident memory in octets. */
  readonly memory?: number;
  /** By the name of the metric, since the server's start. */
  readonly latencies: ReadonlyMap<string, Latency>;
}

/** The histograms that are shown, with what each measures. */
export const HISTOGRAMS: Readonly<Record<string, string>> = {
  mailapp_message_acceptance_seconds: "from the end of the data to the 250",
  mailapp_relay_seconds: "from accepting a message to relaying it",
  mailapp_tls_handshake_seconds: "TLS handshakes",
  mailapp_storage_sync_seconds: "syncs to the disk",
};

const MAX_ANSWER = 4 * 1024 * 1024;
const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)/s;

/** Asks a server; `undefined` if it does not answer. */
export async function readHistograms(
  endpoint: string,
  { token, timeout }: { readonly token?: string | undefined; readonly timeout: number },
): Promise<ServerMetrics | undefined> {
  try {
    const response = await fetch(`http://${endpoint}/metrics`, {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      redirect: "error",
      signal: AbortSignal.timeout(timeout),
    });
    const text = await boundedText(response);
    return response.ok && text !== undefined ? parseMetrics(text) : undefined;
  } catch {
    return undefined;
  }
}

/** The body; `undefined` if it is too long. Where a server is gone, any account may have its port. */
async function boundedText({ body }: Response): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MAX_ANSWER) return undefined;
  }
  return text;
}

/** Reads the text format of Prometheus. */
export function parseMetrics(text: string): ServerMetrics {
  const buckets = new Map<string, Map<number, number>>();
  let connections: number | undefined;
  let memory: number | undefined;
  for (const line of text.split("\n")) {
    const [, name = "", labels = "", value = ""] = SAMPLE.exec(line) ?? [];
    if (name === "mailapp_smtp_open_connections") connections = Number(value);
    if (name === "process_resident_memory_bytes") memory = Number(value);
    const histogram = name.replace(/_bucket$/, "");
    if (histogram === name || !Object.hasOwn(HISTOGRAMS, histogram)) continue;
    const le = Number(/(?:^|,)le="([^"]*)"/.exec(labels)?.[1]?.replace("+Inf", "Infinity"));
    let counts = buckets.get(histogram);
    if (counts === undefined) buckets.set(histogram, counts = new Map());
    // Series of all other labels together.
    counts.set(le, (counts.get(le) ?? 0) + Number(value));
  }
  const latencies = new Map<string, Latency>();
  for (const [name, counts] of buckets) {
    const count = counts.get(Infinity) ?? 0;
    if (count === 0) continue;
    const bounds = [...counts].sort(([one], [other]) => one - other);
    const bound = (share: number) => bounds.find(([, below]) => below >= share * count)?.[0] ?? Infinity;
    latencies.set(name, { count, median: bound(0.5), p99: bound(0.99) });
  }
  return {
    ...(connections !== undefined && { connections }),
    ...(memory !== undefined && { memory }),
    latencies,
  };
}
