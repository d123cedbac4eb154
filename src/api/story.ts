import type { Explanation } from '../admission/admission.ts';
import type { LimitView } from '../core/gate/views.ts';
import { type Costs, costOf } from '../core/group.ts';
import type { WaitersAhead, WaitRange } from '../core/request.ts';
import { type Instant, NEVER } from '../core/time.ts';
import { describe } from './refusal-status.ts';
import { type ShownBinding, spanText, verdict } from './verdict.ts';

/** What a story tells of. Names in it are those that the reader may see. */
export interface Explained extends Pick<Explanation, 'admitted' | 'refusal' | 'place' | 'limits' | 'ahead'> {
  readonly now: Instant;
  readonly group: string;
  readonly key: string;
  readonly costs: Costs;
  readonly binding: ShownBinding | undefined;
}

/** Tells in a few sentences what a request would meet: whether it waits, behind which callers, what holds them up, and until when. */
export function story(explained: Explained): string {
  const { admitted, refusal, place, now } = explained;
  if (admitted) return 'It would be admitted at once.';
  const range = rangeText(place.range, now);
  const wait = range === '' ? 'for a time that is not known' : `for ${range}`;
  const first =
    refusal === undefined
      ? `It would wait at place ${place.place}, ${wait}.`
      : `It would be refused as ${refusal.reason.toUpperCase()}: ${describe(refusal)}${range === '' ? '' : ` Otherwise it would wait at place ${place.place}, ${wait}.`}`;
  return [first, aheadText(explained), bindingText(explained)].filter((each) => each !== '').join(' ');
}

/** Returns a range of waits as people read it: `4.0 s to 9.0 s`, `25 s`; empty: not known. */
export function rangeText(range: WaitRange | undefined, now: Instant): string {
  if (range === undefined || range.latest === NEVER) return '';
  const [from, to] = [spanText(range.earliest - now), spanText(range.latest - now)];
  return from === to ? to : `${from} to ${to}`;
}

function aheadText({ ahead, now }: Explained): string {
  if (ahead === undefined || ahead.total === 0) return '';
  const { total, moreUrgent, ofKey } = ahead;
  const parts = [...(moreUrgent > 0 ? [`${moreUrgent} more urgent`] : []), ...(ofKey > 0 ? [`${ofKey} of its own key`] : [])];
  const of = parts.length === 0 ? '' : `, ${parts.join(', ')}`;
  return `${total === 1 ? '1 waiter goes' : `${total} waiters go`} first${of}; next is ${nextText(ahead.next, now)}.`;
}

function nextText({ key, holder, priority, since }: WaitersAhead['next'], now: Instant): string {
  const name = holder === '' ? key : `${holder}${key === '' ? '' : ` (${key})`}`;
  return `${name === '' ? 'a caller' : name} of priority ${priority}, which has waited for ${spanText(now - since)}`;
}

function bindingText({ binding, group, now, refusal }: Explained): string {
  if (binding === undefined || refusal?.reason === 'oversized') return '';
  const name = [...(binding.group === group ? [] : [binding.group]), ...(binding.limit === '' ? [] : [binding.limit])].join('/');
  return `Held up by ${name === '' ? 'a pause' : binding.limit === '' ? `a pause of ${name}` : `limit ${name}`}: ${verdict(binding, now)}.`;
}

/** Returns what would help a request that would not be admitted at once, a sentence each, the surest first. */
export function help(explained: Explained): readonly string[] {
  const { admitted, refusal, binding, ahead, place, now } = explained;
  if (admitted) return [];
  const found: string[] = [];
  if (refusal?.reason === 'oversized') found.push(oversizedHelp(explained));
  if (binding?.kind === 'pause') found.push(pauseHelp(binding));
  const oldest = binding?.holders?.oldest;
  if (oldest !== undefined) {
    const name = oldest.holder || oldest.key || 'the oldest holder';
    const end = oldest.expiresAt === NEVER ? '' : `; unless it renews, its lease ends in ${spanText(oldest.expiresAt - now)}`;
    found.push(`Ask ${name} to release what it holds${end}.`);
  }
  if (refusal?.reason === 'expired' || refusal?.reason === 'infeasible') {
    const latest = place.range?.latest;
    found.push(latest === undefined || latest === NEVER ? 'Wait longer: send a longer ttl.' : `Send a ttl of at least ${spanText(latest - now)}.`);
  }
  const cheaper = refusal?.reason === 'oversized' ? undefined : cheaperHelp(explained);
  if (cheaper !== undefined) found.push(cheaper);
  if (ahead !== undefined && ahead.total > 0 && ahead.total > ahead.moreUrgent) {
    const others = ahead.total - ahead.moreUrgent;
    found.push(`A more urgent class or priority, where the caller may name one, goes before ${others === ahead.total ? 'all of them' : `${others} of them`}.`);
  }
  if (refusal?.reason === 'shed' && found.length === 0) found.push('Ask again later: the backlog is full.');
  return found;
}

function oversizedHelp({ refusal, limits, costs }: Explained): string {
  const limit = limits.find((each) => costOf(costs, each.unit) > each.capacity);
  return limit === undefined ? `Ask for less: limit ${refusal?.limit ?? ''} can never pass it.` : `Ask for ${limit.capacity} ${limit.unit} at most at once.`;
}

function pauseHelp({ group, key }: ShownBinding): string {
  return key === undefined ? `An operator can end the pause of ${group}.` : `An operator can end the pause of key ${key} in ${group}.`;
}

/** A smaller cost that its limits would pass at once, if no caller is ahead. */
function cheaperHelp({ limits, costs, ahead, binding, now }: Explained): string | undefined {
  if ((ahead !== undefined && ahead.total > 0) || binding?.kind === 'pause') return undefined;
  const [limit, ...more] = limits.filter(({ readyAt }) => readyAt === undefined || readyAt > now);
  if (limit === undefined || more.length > 0 || freeOf(limit) < 1 || freeOf(limit) >= costOf(costs, limit.unit)) return undefined;
  return `A cost of ${freeOf(limit)} ${limit.unit} would pass at once.`;
}

function freeOf({ capacity, used, debt }: LimitView): number {
  return Math.max(0, Math.floor(capacity - used - debt));
}
