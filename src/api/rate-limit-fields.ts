import type { LimitView } from '../core/gate/views.ts';
import { type Instant, NEVER, SECOND } from '../core/time.ts';

/*
 * RateLimit and RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-11: lists of Structured Field strings (RFC 9651)
 * with integer parameters, times in whole seconds. A limit is named as in refusals: an ancestor's as `group/name`.
 */

/** Largest integer of a Structured Field (RFC 9651 3.3.1). */
const INTEGER_MAX = 999_999_999_999_999;

/** Name of a limit as its caller meets it in refusals, for a caller of `group`. */
export function policyName(view: LimitView, group: string): string {
  return view.group === group ? view.name : `${view.group}/${view.name}`;
}

/** The two fields for limits as a caller of `group` sees them; none where there are no limits. */
export function rateLimitFields(views: readonly LimitView[], group: string, now: Instant): readonly (readonly [name: string, value: string])[] {
  if (views.length === 0) return [];
  let policies = '';
  let limits = '';
  for (const view of views) {
    const name = quoted(policyName(view, group));
    const partition = view.scope === 'key' && view.key !== undefined && view.key !== '' ? `;pk=:${Buffer.from(view.key).toString('base64')}:` : '';
    policies += `${policies === '' ? '' : ', '}${name}${policyOf(view)}${partition}`;
    limits += `${limits === '' ? '' : ', '}${name}${limitOf(view, now)}${partition}`;
  }
  return [
    ['RateLimit-Policy', policies],
    ['RateLimit', limits],
  ];
}

/** Whole seconds until more opens, rounded up; undefined: not known. */
export function resetSeconds(view: LimitView, now: Instant): number | undefined {
  return view.resetAt === NEVER ? undefined : whole(Math.ceil(Math.max(0, view.resetAt - now) / SECOND));
}

function policyOf(view: LimitView): string {
  if (view.per === undefined) return `;q=${whole(view.capacity)};qu="concurrent-requests"`;
  const unit = view.unit === 'requests' ? '' : `;qu=${quoted(view.unit)}`;
  const permits = view.permits ?? view.capacity;
  // A window below a second has no `w`: the same pace, stated for one second.
  if (view.per < SECOND) return `;q=${whole(Math.floor((permits * SECOND) / view.per))};w=1${unit}`;
  return `;q=${whole(permits)};w=${whole(Math.ceil(view.per / SECOND))}${unit}`;
}

function limitOf(view: LimitView, now: Instant): string {
  const left = `;r=${whole(Math.max(0, view.capacity - view.used))}`;
  const reset = resetSeconds(view, now);
  return reset === undefined ? left : `${left};t=${reset}`;
}

/** A Structured Field string: ASCII, quotes and backslashes escaped, what it cannot hold replaced. */
function quoted(text: string): string {
  if (/^[\w./-]*$/.test(text)) return `"${text}"`;
  return `"${text.replaceAll(/[^\x20-\x7e]/g, '?').replaceAll(/["\\]/g, '\\$&')}"`;
}

function whole(count: number): number {
  return Math.min(INTEGER_MAX, Math.max(0, Math.floor(count)));
}
