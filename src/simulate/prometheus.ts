import { GROUP_NAME } from '../core/bounds.ts';
import { ONE_REQUEST } from '../core/group.ts';
import { type Micros, SECOND } from '../core/time.ts';
import { seededRandom } from './random.ts';
import { REQUESTS_MAX, type SimulatedRequest } from './simulated-request.ts';

/** Requests drawn from a metrics export. */
export interface Exported {
  readonly requests: readonly SimulatedRequest[];
  /** Microseconds since 1970. */
  readonly startedAt: Micros;
}

/** One series of a range query: labels, and pairs of seconds since 1970 and a number as text. */
interface Series {
  readonly metric: Readonly<Record<string, unknown>>;
  readonly values: readonly (readonly [number, string])[];
}

/**
 * Draws requests from the answer of Prometheus' `GET /api/v1/query_range` about a counter of arrivals, with the label `group` and perhaps
 * `class` (https://prometheus.io/docs/prometheus/latest/querying/api/). Between two samples as many come as the counter grew, at moments
 * drawn evenly; a counter that falls began anew. Returns a sentence where the text is something else.
 */
export function drawExported(text: string, { seed, hold }: { readonly seed: number; readonly hold: Micros }): Exported | string {
  const series = seriesOf(text);
  if (typeof series === 'string') return series;
  const random = seededRandom(seed);
  const requests: SimulatedRequest[] = [];
  for (const { metric, values } of series) {
    const { group, class: named } = metric;
    if (typeof group !== 'string' || !GROUP_NAME.test(group)) return 'A series has no label `group`: sum by (group).';
    for (let i = 1; i < values.length; i++) {
      const [[from, before], [to, after]] = [values[i - 1] as readonly [number, string], values[i] as readonly [number, string]];
      const grown = Number(after) - Number(before);
      const count = Math.round(grown < 0 ? Number(after) : grown);
      if (!(count >= 0) || !(to > from)) return 'A sample is no number, or older than the one before.';
      if (requests.length + count > REQUESTS_MAX) return `These are more than ${REQUESTS_MAX} requests: take a shorter range.`;
      for (let n = 0; n < count; n++) {
        const at = Math.round((from + random() * (to - from)) * SECOND);
        requests.push({
          at,
          group,
          key: '',
          priority: typeof named === 'string' && named !== '' ? named : undefined,
          costs: ONE_REQUEST,
          wait: undefined,
          hold,
          settled: undefined,
        });
      }
    }
  }
  requests.sort((a, b) => a.at - b.at);
  const startedAt = requests[0]?.at ?? 0;
  return { requests: requests.map((each) => ({ ...each, at: each.at - startedAt })), startedAt };
}

function seriesOf(text: string): readonly Series[] | string {
  try {
    const { data } = JSON.parse(text) as { readonly data?: { readonly resultType?: unknown; readonly result?: unknown } };
    const result = data?.resultType === 'matrix' && Array.isArray(data.result) ? (data.result as readonly Series[]) : undefined;
    const isSeries = result?.every((each) => typeof each?.metric === 'object' && Array.isArray(each.values) && each.values.every(isSample));
    return result !== undefined && isSeries === true ? result : 'This is no answer to a range query of Prometheus (resultType "matrix").';
  } catch {
    return 'This is no JSON.';
  }
}

function isSample(value: unknown): boolean {
  return Array.isArray(value) && typeof value[0] === 'number' && typeof value[1] === 'string';
}
