/**
 * Metrics as text: the exposition format of Prometheus (version 0.0.4), and OpenMetrics 1.0.
 *
 * @module
 */
import { Counter, Gauge, type Histogram, type Metric } from "../base/counters.ts";

/** The two formats, by their media types. */
export const METRICS_TYPES = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
} as const;

/** One of them. */
export type MetricsFormat = keyof typeof METRICS_TYPES;

/** Writes the present values of these metrics. */
export function writeMetrics(metrics: Iterable<Metric>, format: MetricsFormat): string {
  const lines: string[] = [];
  for (const metric of metrics) writeMetric(metric, { format, lines });
  if (format === "openMetrics") lines.push("# EOF");
  return `${lines.join("\n")}\n`;
}

function writeMetric(
  { name, kind, help, labels, series }: Metric,
  { format, lines }: { readonly format: MetricsFormat; readonly lines: string[] },
): void {
  // In OpenMetrics `_total` belongs to the sample, not to the family.
  const family = format === "openMetrics" ? name.replace(/_total$/, "") : name;
  lines.push(`# HELP ${family} ${escapeHelp(help)}.`, `# TYPE ${family} ${kind}`);
  for (const { labels: values, metric } of series()) {
    const pairs = labels.map((label, index) => `${label}="${escapeValue(values[index] ?? "")}"`);
    if (metric instanceof Counter || metric instanceof Gauge) {
      lines.push(`${name}${inBraces(pairs)} ${number(metric.value)}`);
    } else {
      writeHistogram(metric, { name, pairs, lines });
    }
  }
}

function writeHistogram(
  { bounds, counts, sum }: Histogram,
  { name, pairs, lines }: {
    readonly name: string;
    readonly pairs: readonly string[];
    readonly lines: string[];
  },
): void {
  let below = 0;
  for (const [index, count] of counts.entries()) {
    below += count;
    lines.push(`${name}_bucket${inBraces([...pairs, `le="${bound(bounds[index])}"`])} ${below}`);
  }
  lines.push(`${name}_sum${inBraces(pairs)} ${number(sum)}`, `${name}_count${inBraces(pairs)} ${below}`);
}

function inBraces(pairs: readonly string[]): string {
  return pairs.length === 0 ? "" : `{${pairs.join()}}`;
}

/** OpenMetrics wants bounds as floating-point numbers, so that one bound has one name. */
function bound(value: number | undefined): string {
  if (value === undefined) return "+Inf";
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

function number(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return String(value);
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replace(/\.$/, "");
}

function escapeValue(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
