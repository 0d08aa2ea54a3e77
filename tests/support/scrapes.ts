/**
 * What Prometheus would have of our metrics after some time, as input of `promtool test rules`.
 *
 * @module
 */

/** Labels that Prometheus adds. */
const TARGET = 'job="mailapp",instance="mx"';

/** Series of one target, a value for each scrape. */
export class Scrapes {
  readonly #series = new Map<string, string[]>();
  readonly #begin: number;
  #count = 0;

  /** `begin`: the time of the first scrape, in seconds since the epoch; promtool's time begins there at 0. */
  constructor(begin: number) {
    this.#begin = begin;
  }

  /** Takes the text of a scrape; `undefined` if the target did not answer. */
  take(text: string | undefined): void {
    this.#put(`up{${TARGET}}`, text === undefined ? 0 : 1);
    for (const [, name = "", labels = "", value] of text?.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm) ?? []) {
      const moment = /^(?:process_start_time|\w+_timestamp)_seconds$/.test(name) && Number(value) > 0;
      this.#put(
        `${name}{${labels === "" ? TARGET : `${labels},${TARGET}`}}`,
        moment ? Number(value) - this.#begin : Number(value),
      );
    }
    this.#count++;
  }

  #put(series: string, value: number): void {
    let values = this.#series.get(series);
    if (values === undefined) this.#series.set(series, values = []);
    // "_" is a scrape without this series.
    while (values.length < this.#count) values.push("_");
    values.push(String(value));
  }

  /** The series, as a list for promtool. */
  get input(): { readonly series: string; readonly values: string }[] {
    return Array.from(this.#series, ([series, values]) => ({ series, values: values.join(" ") }));
  }

  /** The number of scrapes. */
  get count(): number {
    return this.#count;
  }
}
