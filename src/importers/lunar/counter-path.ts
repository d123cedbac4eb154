/** Where a weight of Lunar stands, as options of a cost. */
export interface CounterSource {
  /** The value of `ask` or `settle`: `header x-tokens`, `json max_tokens`. */
  readonly source: string;
  readonly of: 'request' | 'answer';
}

const HEADER = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/;
const STEP = /^[A-Za-z0-9_-]{1,64}$/;
const STEPS_MAX = 16;

/** Reads `$.request.headers["x-tokens"]`, `$.request.body.max_tokens`, `$.response.body.usage.total_tokens`. Returns undefined for a path that no cost can follow. */
export function counterSource(path: string): CounterSource | undefined {
  const [of, part, ...steps] = stepsOf(path) ?? [];
  if (steps.length === 0 || steps.length > STEPS_MAX) return undefined;
  const [name = ''] = steps;
  if (of === 'request' && part === 'headers')
    return steps.length === 1 && HEADER.test(name) ? { source: `header ${name.toLowerCase()}`, of: 'request' } : undefined;
  if (of === 'request' && (part === 'query' || part === 'query_params'))
    return steps.length === 1 && /^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/.test(name) ? { source: `query ${name}`, of: 'request' } : undefined;
  if (part !== 'body' || !steps.every((step) => STEP.test(step))) return undefined;
  if (of === 'request') return { source: `json ${steps.join('.')}`, of: 'request' };
  return of === 'response' ? { source: `json ${steps.join('.')}`, of: 'answer' } : undefined;
}

/** Returns the steps behind `$`; undefined for what is no plain path (wildcards, filters, slices). */
function stepsOf(path: string): readonly string[] | undefined {
  const text = path.trim();
  if (!text.startsWith('$') || text.length > 1024) return undefined;
  const step = /\.([A-Za-z0-9_-]+)|\[(-?\d{1,9})\]|\["([^"\\\]]+)"\]|\['([^'\\\]]+)'\]/y;
  const steps: string[] = [];
  for (step.lastIndex = 1; step.lastIndex < text.length; ) {
    const [, bare, index, double, single] = step.exec(text) ?? [];
    const read = bare ?? index ?? double ?? single;
    if (read === undefined) return undefined;
    steps.push(read);
  }
  return steps;
}
