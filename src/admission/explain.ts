import type { Refusal } from '../core/refusal.ts';
import { type Instant, plus } from '../core/time.ts';
import type { AdmissionRequest, Explanation } from './admission.ts';
import { priorityOf } from './group-entry.ts';
import type { GroupLocation } from './tree-registry.ts';
import { isRefusal } from './units.ts';

/** What would happen to this ask now; changes nothing. */
export function explain({ tree, entry }: GroupLocation, now: Instant, ask: AdmissionRequest, draining: boolean): Explanation | Refusal {
  const { turn } = tree;
  if (turn.closedReason !== undefined) return turn.closedReason;
  const priority = priorityOf(ask, entry.settings);
  if (typeof priority !== 'number') return priority;
  const costs = entry.units.priced(ask.costs);
  if (isRefusal(costs)) return costs;
  // The gate first does what is due. Where somebody waits that may admit, which needs the right to decide.
  const may = turn.waiting.size === 0 || turn.awaitTerm(now) === undefined;
  if (!may) return { reason: 'undecided', retryAt: now };
  const { settings } = entry;
  const waitUntil = plus(now, Math.min(ask.wait ?? settings.wait.default, settings.wait.max, ask.waitMax ?? settings.wait.max));
  const { admitted, refusal, place, limits } = turn.gate.explain(now, tree.request(entry, ask, priority, costs, waitUntil, undefined));
  turn.settle(now);
  return draining
    ? { group: entry.name, admitted: false, refusal: { reason: 'draining', retryAt: now }, place, limits }
    : { group: entry.name, admitted, refusal, place, limits };
}
