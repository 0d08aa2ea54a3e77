/**
 * Metrics: what the program counts and measures. A file declares at its top what it counts, and adds to it; nothing is
 * computed, formatted or allocated until someone reads {@linkcode allMetrics}.
 *
 * Names follow Prometheus's conventions: `mailapp_` first, base units (seconds, bytes), `_total` after counters. The
 * values of labels come from fixed sets where possible; a family holds a bounded number of them in any case.
 *
 * The figures belong to the thread, and start at 0 with it. What the threads of one server have counted is added up
 * by {@linkcode addFigures}.
 *
 * @module
 */

/** What kinds of metrics there are. */
export type MetricKind = "counter" | "gauge" | "histogram";

/** A number that only grows. */
export class Counter {
  /** The count so far. */
  value = 0;

  /** Adds 1, or a positive amount. */
  add(amount = 1): void {
    this.value += amount;
  }
}

/** A number that goes up and down. */
export class Gauge {
  /** The value now. */
  value = 0;

  /** Sets the value. */
  set(value: number): void {
    this.value = value;
  }
}

/** Counts values by bucket. */
export class Histogram {
  /** The upper bounds of the buckets, ascending; what is beyond the last has its own bucket. */
  readonly bounds: readonly number[];
  /** Values in each bucket, not cumulated; one more than there are bounds. */
  readonly counts: number[];
  /** The sum of all values. */
  sum = 0;

  /** Starts with empty buckets; `bounds` in ascending order. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  /** Takes a value, in the unit of the metric. */
  observe(value: number): void {
    const { bounds } = this;
    let index = 0;
    while (index < bounds.length && value > (bounds[index] as number)) index++;
    this.counts[index] = (this.counts[index] as number) + 1;
    this.sum += value;
  }
}

/** One member of a family: what its labels say, and its value. */
export interface Series<M> {
  /** The values of the labels, in the order of their names. */
  readonly labels: readonly string[];
  /** What is counted. */
  readonly metric: M;
}

/** What a metric is called and means. */
export interface MetricDescription {
  /** Such as `mailapp_messages_total`. */
  readonly name: string;
  /** Of all series. */
  readonly kind: MetricKind;
  /** One sentence without its full stop. */
  readonly help: string;
  /** The names of the labels. */
  readonly labels: readonly string[];
  /** Of a gauge: whether the values of several threads add up, as those of counters and histograms do. */
  readonly addsUp?: boolean;
  /** Of a histogram: the upper bounds of its buckets. */
  readonly bounds?: readonly number[];
}

/** A metric as it is read. */
export interface Metric extends MetricDescription {
  /** The series of this moment. */
  series(): Iterable<Series<Counter | Gauge | Histogram>>;
}

/** How a family is declared. */
export interface FamilyOptions {
  /** One sentence without its full stop. */
  readonly help: string;
  /** The names of the labels, such as `["result"]`. */
  readonly labels: readonly string[];
  /** The most combinations of values; others are counted under `other`. 100 if absent. */
  readonly maxSeries?: number;
}

const MAX_SERIES = 100;
/** The label value for combinations beyond the bound. */
export const OTHER = "other";

/** Buckets for waits on disks, networks and people: 1 ms to 10 minutes, in seconds. */
export const LATENCY_BOUNDS: readonly number[] = [
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
  30,
  60,
  600,
];

const metrics = new Map<string, Metric>();

/** Metrics that differ in the values of labels. */
export class Family<M extends Counter | Gauge | Histogram> {
  readonly #make: () => M;
  readonly #labels: readonly string[];
  readonly #maxSeries: number;
  readonly #series = new Map<string, Series<M>>();
  readonly #sources = new Set<() => Iterable<Series<M>>>();

  /** Has no series before {@linkcode Family.with} or {@linkcode Family.readFrom}. */
  constructor(make: () => M, { labels, maxSeries = MAX_SERIES }: FamilyOptions) {
    this.#make = make;
    this.#labels = labels;
    this.#maxSeries = maxSeries;
  }

  /** The series with these values, one for each label. Keep the result where it is used often. */
  with(...values: readonly string[]): M {
    const key = values.length === 1 ? values[0] as string : values.join("\n");
    return (this.#series.get(key) ?? this.#add(key, values)).metric;
  }

  /**
   * Takes further series from a function, which is called only when the metrics are read. Disposing of the result
   * removes the function.
   */
  readFrom(source: () => Iterable<Series<M>>): Disposable {
    this.#sources.add(source);
    return { [Symbol.dispose]: () => void this.#sources.delete(source) };
  }

  /** The series of this moment. */
  *series(): Generator<Series<M>> {
    yield* this.#series.values();
    for (const source of this.#sources) yield* source();
  }

  #add(key: string, values: readonly string[]): Series<M> {
    if (values.length !== this.#labels.length) {
      throw new TypeError(`${values.length} values for the labels ${this.#labels.join()}`);
    }
    const full = this.#series.size >= this.#maxSeries;
    const labels = full ? this.#labels.map(() => OTHER) : values;
    const place = full ? labels.join("\n") : key;
    const known = this.#series.get(place);
    if (known !== undefined) return known;
    const series = { labels, metric: this.#make() };
    this.#series.set(place, series);
    return series;
  }
}

/** Declares a counter; `name` ends in `_total`. */
export function counter(name: string, help: string): Counter {
  return single(new Counter(), { name, kind: "counter", help });
}

/** Declares counters that differ in their labels; `name` ends in `_total`. */
export function counters(name: string, options: FamilyOptions): Family<Counter> {
  return declare(new Family(() => new Counter(), options), { name, kind: "counter", ...options });
}

/**
 * Declares a gauge.
 * @param options `addsUp`: whether the values of several threads make one together; default: that of the first counts
 */
export function gauge(
  name: string,
  help: string,
  { addsUp = false }: { readonly addsUp?: boolean } = {},
): Gauge {
  return single(new Gauge(), { name, kind: "gauge", help, addsUp });
}

/** Declares gauges that differ in their labels; without labels, one that is read from a function. */
export function gauges(name: string, options: FamilyOptions): Family<Gauge> {
  return declare(new Family(() => new Gauge(), options), { name, kind: "gauge", ...options });
}

/** Declares a histogram, of seconds unless the bounds are others; `name` ends in its unit. */
export function histogram(name: string, help: string, bounds: readonly number[] = LATENCY_BOUNDS): Histogram {
  return single(new Histogram(bounds), { name, kind: "histogram", help, bounds });
}

/** Declares histograms that differ in their labels, with the bounds of {@linkcode histogram}. */
export function histograms(
  name: string,
  options: FamilyOptions,
  bounds: readonly number[] = LATENCY_BOUNDS,
): Family<Histogram> {
  return declare(new Family(() => new Histogram(bounds), options), {
    name,
    kind: "histogram",
    bounds,
    ...options,
  });
}

/** A series for {@linkcode Family.readFrom}. */
export function reading(value: number, ...labels: readonly string[]): Series<Gauge> {
  const metric = new Gauge();
  metric.value = value;
  return { labels, metric };
}

/** The metrics of this thread that loaded modules have declared, by name. */
export function ownMetrics(): Metric[] {
  return [...metrics.values()].sort((one, other) => one.name < other.name ? -1 : 1);
}

/** Whether the values of several threads are one value together. */
export function isSum({ kind, addsUp = false }: MetricDescription): boolean {
  return kind !== "gauge" || addsUp;
}

/** As {@linkcode ownMetrics}, and what other threads have counted. */
export function allMetrics(): Metric[] {
  const own = ownMetrics();
  return others.size === 0 ? own : own.map((metric) => ({ ...metric, series: () => seriesOfAll(metric) }));
}

/** What other threads have counted of a metric. */
export type OtherFigures = (metric: MetricDescription) => Iterable<Series<Counter | Gauge | Histogram>>;

const others = new Set<OtherFigures>();

/** Adds these figures to what {@linkcode allMetrics} reads, until the result is disposed of. */
export function addFigures(figures: OtherFigures): Disposable {
  others.add(figures);
  return { [Symbol.dispose]: () => void others.delete(figures) };
}

function seriesOfAll(metric: Metric): Iterable<Series<Counter | Gauge | Histogram>> {
  const sums = new Map<string, Series<Counter | Gauge | Histogram>>();
  const take = ({ labels, metric: figure }: Series<Counter | Gauge | Histogram>) => {
    const key = labels.join("\n");
    sums.set(key, { labels, metric: sumOf(sums.get(key)?.metric, figure) });
  };
  for (const series of metric.series()) take(series);
  for (const other of others) for (const series of other(metric)) take(series);
  return sums.values();
}

function sumOf<M extends Counter | Gauge | Histogram>(sum: M | undefined, more: M): M;
function sumOf(
  sum: Counter | Gauge | Histogram | undefined,
  more: Counter | Gauge | Histogram,
): Counter | Gauge | Histogram {
  if (more instanceof Histogram) {
    const added = new Histogram(more.bounds);
    const before = sum instanceof Histogram ? sum : added;
    for (const [index, count] of more.counts.entries()) {
      added.counts[index] = count + (before.counts[index] ?? 0);
    }
    added.sum = more.sum + before.sum;
    return added;
  }
  const added = more instanceof Counter ? new Counter() : new Gauge();
  added.value = more.value + (sum instanceof Histogram ? 0 : sum?.value ?? 0);
  return added;
}

function single<M extends Counter | Gauge | Histogram>(
  metric: M,
  description: Omit<MetricDescription, "labels">,
): M {
  const series: readonly Series<M>[] = [{ labels: [], metric }];
  add({ ...description, labels: [], series: () => series });
  return metric;
}

function declare<M extends Counter | Gauge | Histogram>(
  family: Family<M>,
  { name, kind, help, labels, bounds = [] }: MetricDescription,
): Family<M> {
  add({ name, kind, help, labels, bounds, series: () => family.series() });
  return family;
}

function add(metric: Metric): void {
  if (metrics.has(metric.name)) throw new TypeError(`the metric ${metric.name} is declared twice`);
  metrics.set(metric.name, metric);
}
