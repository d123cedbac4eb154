import type { OverrideRequest } from '../admission/admission.ts';
import { KEY_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX, PER_MAX, PER_MIN, SLACK_MAX, UNITS_MAX } from '../core/bounds.ts';
import type { Quota } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import { DAY, type Micros } from '../core/time.ts';
import { placeOf } from './page-token.ts';
import { checkDuration, checkGroup, checkText, isRefusal, malformed } from './validation.ts';

/** An operator's change, decoded but not checked; numbers a protocol could not read are NaN. */
export interface OverrideFields {
  readonly group: string;
  readonly limits: ReadonlyMap<string, Quota | undefined>;
  readonly enforce: boolean | undefined;
  readonly duration: Micros | undefined;
  /** Absent: false. */
  readonly forgive?: boolean | undefined;
}

const HOLD_MAX: Micros = 30 * DAY;
const LIMITS_MAX = 64;

/**
 * Checks a page of a list: size 0 is the default. `list` is what the tokens of its pages were made for (`pageTokenOf`); `token` of the result is the
 * place where the page begins.
 */
export function toPage(
  list: string,
  fields: { readonly pageSize?: number | undefined; readonly pageToken?: string | undefined },
): { size: number; token: string } | Refusal {
  const { pageSize = 0, pageToken = '' } = fields;
  if (!(Number.isInteger(pageSize) && pageSize >= 0 && pageSize <= PAGE_MAX)) return malformed(`\`page_size\` must be a whole number from 1 to ${PAGE_MAX}.`);
  const from = placeOf(list, pageToken);
  return isRefusal(from) ? from : { size: pageSize === 0 ? PAGE_DEFAULT : pageSize, token: from.place };
}

/** Checks whom a pause or its end is for, and for how long; undefined: it is fine. */
export function checkPause(group: string, key: string | undefined, duration?: Micros): Refusal | undefined {
  return (
    checkGroup(group) ??
    (key === undefined ? undefined : checkText('key', key, KEY_BYTES_MAX)) ??
    (duration === undefined ? undefined : checkDuration('duration', duration, 1, HOLD_MAX))
  );
}

/** Checks an override. */
export function toOverride(fields: OverrideFields): OverrideRequest | Refusal {
  const { group, enforce, duration, forgive = false } = fields;
  const wrong = checkGroup(group);
  if (wrong !== undefined) return wrong;
  const changes = fields.limits.size > 0 || enforce !== undefined;
  if (duration === undefined && forgive && !changes) return { limits: new Map(), enforce: undefined, for: undefined, forgive };
  if (duration === undefined) return malformed('`duration` is missing; set how long the change holds (0 ends a running one).');
  const long = checkDuration('duration', duration, 0, HOLD_MAX);
  if (long !== undefined) return long;
  if (duration === 0 && changes) return malformed('A `duration` of 0 ends the running override; leave `limits` and `enforce` out.');
  if (duration > 0 && !changes)
    return malformed('Nothing to change; name `limits`, `enforce` or `forgiveDebt`, or a `duration` of 0 to end a running override.');
  if (fields.limits.size > LIMITS_MAX) return malformed(`\`limits\` names more than ${LIMITS_MAX}; name fewer.`);
  const limits = new Map<string, Quota>();
  for (const [name, quota] of fields.limits) {
    const bad =
      checkText('limits', name, 128) ??
      (quota === undefined
        ? malformed(`The limit \`${name}\` has no quota; name one of \`rate\`, \`spacing\`, \`window\` or \`concurrency\` in it.`)
        : checkQuota(name, quota));
    if (bad !== undefined) return bad;
    if (quota !== undefined) limits.set(name, quota);
  }
  return { limits, enforce, for: duration, ...(forgive && { forgive }) };
}

function checkQuota(name: string, quota: Quota): Refusal | undefined {
  switch (quota.kind) {
    case 'rate':
      return checkPermits(name, quota.permits) ?? checkPeriod(name, quota.per) ?? checkPermits(name, quota.burst);
    case 'spacing':
      return checkPeriod(name, quota.spacing) ?? checkDuration(`${name}.slack`, quota.slack, 0, SLACK_MAX);
    case 'window':
      return checkPermits(name, quota.permits) ?? checkPeriod(name, quota.per);
    case 'fixed':
      return checkPermits(name, quota.permits) ?? (quota.per === 'month' ? undefined : checkPeriod(name, quota.per));
    case 'concurrency':
      return checkPermits(name, quota.max);
  }
}

function checkPermits(name: string, permits: number): Refusal | undefined {
  if (Number.isInteger(permits) && permits >= 1 && permits <= UNITS_MAX) return undefined;
  return malformed(`The numbers of limit \`${name}\` must be whole, from 1 to ${UNITS_MAX}; to admit no caller, pause the group.`);
}

function checkPeriod(name: string, micros: Micros): Refusal | undefined {
  return checkDuration(`${name}.per`, micros, PER_MIN, PER_MAX);
}
