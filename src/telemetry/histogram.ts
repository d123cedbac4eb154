import type { Registry } from 'prom-client';
import type { Micros } from '../core/time.ts';

/** Upper bounds of waits and holds in seconds: to ten minutes, the longest wait timeout a group gives by default. */
export const WAIT_BUCKETS: readonly number[] = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
/** Upper bounds of things that should take no time at all, in seconds. */
export const FINE_BUCKETS: readonly number[] = [0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1];

/** Counts of one label in one array: an observation is a search among a dozen bounds and two additions. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** Counts a length of time. */
  observe(micros: Micros): void {
    const seconds = micros / 1e6;
    let index = 0;
    while (index < this.#bounds.length && seconds > (this.#bounds[index] ?? 0)) index += 1;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#sum += seconds;
  }

  /** As Prometheus has them: cumulative, with `+Inf`, sum and count. */
  samples(name: string, labels: Readonly<Record<string, string>>): readonly Sample[] {
    const samples: Sample[] = [];
    let total = 0;
    for (const [index, count] of this.#counts.entries()) {
      total += count;
      samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le: this.#bounds[index] ?? '+Inf' }, value: total });
    }
    samples.push({ metricName: `${name}_sum`, labels, value: this.#sum }, { metricName: `${name}_count`, labels, value: total });
    return samples;
  }
}

/** One line of a scrape. */
interface Sample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** Name, help and labels of a histogram, as prom-client calls them. */
export interface HistogramOptions {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
}

/** Puts histograms of our own into a registry: prom-client's hash their labels at each observation, on the way of every request. */
export function registerHistogram(registry: Registry, { name, help, labelNames }: HistogramOptions, samples: (name: string) => readonly Sample[]): void {
  const metric = {
    name,
    help,
    labelNames,
    type: 'histogram',
    aggregator: 'sum',
    get: async () => ({ name, help, type: 'histogram', aggregator: 'sum', values: samples(name) }),
    reset: () => undefined,
  };
  registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
}
