import type { ApiHistory } from './group.ts';
import { readInstant, readSpan } from './text.ts';

/** Series of a chart: instants in seconds, arrivals and admissions a second. */
export type Series = readonly [readonly number[], readonly number[], readonly number[]];

/** What a chart draws besides its series. */
export interface ChartMarks {
  /** Seconds since 1970 from which nothing was admitted though callers waited; undefined: no such time. */
  readonly since: number | undefined;
}

/** Counts of steps as rates a second. undefined: the server keeps none for this group. */
export function seriesOf(history: ApiHistory | undefined): Series | undefined {
  const [from, step] = [readInstant(history?.from), readSpan(history?.step)];
  if (from === undefined || step === undefined || step === 0) return undefined;
  const rates = (counts: readonly (string | number)[] = []): number[] => counts.map((count) => (Number(count) * 1000) / step);
  // The last step is not over.
  const admitted = rates(history?.admitted).slice(0, -1);
  const arrived = rates(history?.arrived);
  return [admitted.map((_, at) => (from + at * step) / 1000), admitted.map((_, at) => arrived[at] ?? 0), admitted];
}
