import type { Refusal } from '../core/refusal.ts';
import { after, type Instant } from '../core/time.ts';
import type { AdmissionAsk, Explanation } from './admission.ts';
import { priorityOf } from './entry.ts';
import type { Home } from './gates.ts';
import { isRefusal } from './units.ts';

/** What would happen to this ask now; changes nothing. */
export function explain({ tree, entry }: Home, now: Instant, ask: AdmissionAsk, draining: boolean): Explanation | Refusal {
  const { turn } = tree;
  if (turn.over !== undefined) return turn.over;
  const priority = priorityOf(ask, entry.settings);
  if (typeof priority !== 'number') return priority;
  const costs = entry.units.priced(ask.costs);
  if (isRefusal(costs)) return costs;
  // The gate first does what is due. Where somebody waits that may admit, which needs the right to decide.
  const may = turn.waiting.size === 0 || turn.awaitRight(now) === undefined;
  if (!may) return { reason: 'undecided', retryAt: now };
  const { settings } = entry;
  const waitUntil = after(now, Math.min(ask.wait ?? settings.wait.default, settings.wait.max, ask.waitMax ?? settings.wait.max));
  const { admitted, refusal, place, limits } = turn.gate.explain(now, tree.request(entry, ask, priority, costs, waitUntil, undefined));
  turn.settle(now);
  return draining
    ? { group: entry.name, admitted: false, refusal: { reason: 'draining', retryAt: now }, place, limits }
    : { group: entry.name, admitted, refusal, place, limits };
}
