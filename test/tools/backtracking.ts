import type { Automaton } from '../../tools/expression-linear.ts';

/** Steps of one search, at which it is given up. */
export const STEPS_MAX = 100_000;

/** What a search by backtracking came to. */
export interface Search {
  /** States entered, over all beginnings: what a matcher's time is in proportion to. */
  readonly steps: number;
  /** The ends of each match, first to last; wrong where the expression looks ahead. */
  readonly matches: readonly (readonly [from: number, to: number])[];
}

/** Searches a text for every match, as `matchAll` does (`sticky`: with the flag `y`), by the plainest backtracking matcher there is, and counts its steps. */
export function search({ begin, accept, free, takes, next, needs, exits }: Automaton, text: string, sticky = false): Search {
  const matches: [number, number][] = [];
  let steps = 0;
  /** The end of the first match that begins at `from`; -1: none. Ways that are still open are on a stack of its own. */
  const from = (start: number): number => {
    // Each way has the repetitions that it began at its place, so that none matches nothing for ever.
    const open: { state: number; at: number; begun: readonly number[] }[] = [{ state: begin, at: start, begun: [] }];
    for (let way = open.pop(); way !== undefined && steps < STEPS_MAX; way = open.pop()) {
      const { state, at, begun } = way;
      steps += 1;
      if (state === accept) return at;
      const set = takes[state];
      if (set !== undefined) {
        const code = text.charCodeAt(at);
        if (at < text.length && set.some(([low, high]) => low <= code && code <= high)) open.push({ state: next[state] as number, at: at + 1, begun: [] });
        continue;
      }
      if (begun.includes(state)) continue;
      if ((needs[state] === 'start' && at !== 0) || (needs[state] === 'end' && at !== text.length)) continue;
      const exit = exits.get(state);
      for (const each of [...(free[state] ?? [])].reverse())
        open.push({ state: each, at, begun: exit !== undefined && each !== exit ? [...begun, state] : begun.filter((one) => one !== state) });
    }
    return -1;
  };
  for (let start = 0; start <= text.length && steps < STEPS_MAX; ) {
    const end = from(start);
    if (end >= 0) matches.push([start, end]);
    else if (sticky) break;
    start = Math.max(start + 1, end);
  }
  return { steps, matches };
}
