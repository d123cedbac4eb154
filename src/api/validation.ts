import type { AdmissionRequest } from '../admission/admission.ts';
import { PERMIT_CHARS_MAX } from '../admission/permit-id.ts';
import type { TraceContext } from '../admission/tracing.ts';
import { COST_UNITS_MAX, GROUP_NAME, KEY_BYTES_MAX, LEASE_MAX, PUSHBACK_MAX, TTL_MAX, UNIT_NAME, UNITS_MAX } from '../core/bounds.ts';
import { type Costs, ONE_REQUEST, PRIORITY_MAX } from '../core/group.ts';
import type { Disposition } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND, type Micros } from '../core/time.ts';

/** What a front end knows of a call besides its fields. */
export interface CallContext {
  /** The credential's name; '' without auth. */
  readonly caller: string;
  /** Time until the caller's own deadline; undefined: it has none. */
  readonly remaining: Micros | undefined;
  readonly session?: string | undefined;
  /** Where the caller's trace goes on; read only while tracing is on. */
  readonly trace?: TraceContext | undefined;
}

/** A call without a caller's name and without a deadline. */
export const ANONYMOUS: CallContext = Object.freeze({ caller: '', remaining: undefined });

/** Fields of an acquire, decoded but not checked. Numbers a protocol could not read are NaN. */
export interface AcquireFields {
  readonly group: string;
  readonly key?: string | undefined;
  readonly ttl?: Micros | undefined;
  readonly priority?: number | undefined;
  readonly priorityClass?: string | undefined;
  readonly costs?: Costs | undefined;
  readonly lease?: Micros | undefined;
  readonly holder?: string | undefined;
  readonly requestId?: string | undefined;
}

/** Fields of a release, decoded but not checked. */
export interface ReleaseFields {
  readonly permit?: string | undefined;
  readonly outcome?: string | undefined;
  readonly costs?: Costs | undefined;
  readonly retryAfter?: Micros | undefined;
  readonly group?: string | undefined;
  readonly requestId?: string | undefined;
}

/** A checked release: of a permit, or of an acquire by its request id. */
export type Release =
  | {
      readonly of: 'permit';
      readonly permit: string;
      readonly disposition: Disposition;
      readonly costs: Costs | undefined;
      readonly retryAfter: Micros | undefined;
    }
  | { readonly of: 'request'; readonly group: string; readonly requestId: string };

/** An answer needs this long to reach its caller before the caller's own deadline; a deadline that passes becomes a stream reset. */
const DEADLINE_MARGIN: Micros = 50 * MILLISECOND;

const ASCII = /^[\x20-\x7e]*$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** `malformed` with what is wrong and what to do about it. */
export function malformed(detail: string): Refusal {
  return { reason: 'malformed', detail };
}

/** Whether a value is a refusal. */
export function isRefusal(value: object): value is Refusal {
  // A message of the protocol may have a field of that name.
  return 'reason' in value && !('$typeName' in value);
}

/** Checks an acquire: the one place where that is done, for every protocol. */
export function parseAcquire(fields: AcquireFields, facts: CallContext): AdmissionRequest | Refusal {
  const { key = '', holder = '', requestId = '', ttl, lease, priority, priorityClass = '' } = fields;
  const wrong =
    checkGroup(fields.group) ??
    checkText('key', key, KEY_BYTES_MAX) ??
    (ttl === undefined ? undefined : checkDuration('ttl', ttl, 0, TTL_MAX)) ??
    checkUrgency(priority, priorityClass) ??
    (lease === undefined ? undefined : checkDuration('lease', lease, 1, LEASE_MAX)) ??
    checkText('holder', holder, 256) ??
    checkText('request_id', requestId, 128);
  if (wrong !== undefined) return wrong;
  const costs = fields.costs === undefined ? ONE_REQUEST : checkCosts(fields.costs);
  if (isRefusal(costs)) return costs;
  const waitMax = facts.remaining === undefined ? undefined : Math.max(0, facts.remaining - DEADLINE_MARGIN);
  return {
    group: fields.group,
    key,
    priority,
    priorityClass: priorityClass === '' ? undefined : priorityClass,
    costs,
    wait: ttl !== undefined && waitMax !== undefined ? Math.min(ttl, waitMax) : ttl,
    waitMax,
    lease,
    holder,
    requestId: requestId === '' ? undefined : requestId,
    caller: facts.caller,
    session: facts.session,
    bytes: 0,
    trace: facts.trace,
  };
}

/** Checks a renewal. */
export function parseRenew(fields: { permit: string; lease?: Micros | undefined }): { readonly permit: string; readonly lease: Micros | undefined } | Refusal {
  const { permit, lease } = fields;
  return checkName('permit', permit) ?? (lease === undefined ? undefined : checkDuration('lease', lease, 1, LEASE_MAX)) ?? { permit, lease };
}

/** Checks a release. */
export function parseRelease(fields: ReleaseFields): Release | Refusal {
  const { permit = '', group = '', requestId = '', outcome = 'used', retryAfter } = fields;
  if (requestId !== '') {
    if (permit !== '') return malformed('Name either `permit` or `group` and `request_id`, not both.');
    return checkGroup(group) ?? checkText('request_id', requestId, 128) ?? { of: 'request', group, requestId };
  }
  const wrong = checkName('permit', permit);
  if (wrong !== undefined) return wrong;
  if (outcome !== 'used' && outcome !== 'unused' && outcome !== 'dropped') {
    return malformed('`outcome` must be `used`, `unused` or `dropped`.');
  }
  if (retryAfter !== undefined) {
    if (outcome !== 'dropped') return malformed('`retry_after` goes with the outcome `dropped` only; leave it out.');
    const long = checkDuration('retry_after', retryAfter, 0, PUSHBACK_MAX);
    if (long !== undefined) return long;
  }
  if (fields.costs === undefined) return { of: 'permit', permit, disposition: outcome, costs: undefined, retryAfter };
  if (outcome === 'unused') return malformed('`costs` state what was used; leave them out with the outcome `unused`.');
  const costs = checkCosts(fields.costs);
  return isRefusal(costs) ? costs : { of: 'permit', permit, disposition: outcome, costs, retryAfter };
}

/** Refuses what cannot be a group's name; undefined: it can. */
export function checkGroup(group: string): Refusal | undefined {
  if (GROUP_NAME.test(group)) return undefined;
  if (group === '') return malformed('`group` is missing; name the group whose limits count.');
  return malformed('`group` must be 1 to 128 letters, digits, dots, dashes or underscores, beginning with a letter or digit.');
}

/** Refuses an empty, overlong or unprintable name of a permit or waiter; undefined: it is fine. */
export function checkName(field: string, name: string): Refusal | undefined {
  if (name === '') return malformed(`\`${field}\` is missing; send the one you were given.`);
  return checkText(field, name, PERMIT_CHARS_MAX);
}

/** Refuses text that is longer than `bytesMax` in UTF-8 or does not print; undefined: it is fine. */
export function checkText(field: string, text: string, bytesMax: number): Refusal | undefined {
  if (text.length > bytesMax) return malformed(`\`${field}\` is longer than ${bytesMax} bytes; shorten it.`);
  if (ASCII.test(text)) return undefined;
  if (CONTROL.test(text) || !text.isWellFormed()) return malformed(`\`${field}\` holds characters that do not print; leave them out.`);
  if (Buffer.byteLength(text) > bytesMax) return malformed(`\`${field}\` is longer than ${bytesMax} bytes in UTF-8; shorten it.`);
  return undefined;
}

/** Refuses a length of time outside `least` to `most` microseconds; undefined: it is fine. */
export function checkDuration(field: string, micros: Micros, least: Micros, most: Micros): Refusal | undefined {
  if (Number.isNaN(micros)) return malformed(`\`${field}\` is not a duration; write for example \`30s\`.`);
  if (micros >= least && micros <= most && Number.isInteger(micros)) return undefined;
  if (micros < 0) return malformed(`\`${field}\` is negative; send a duration from ${least === 0 ? '0' : 'just above 0'} to ${most / 1e6}s.`);
  if (micros < least) return malformed(`\`${field}\` must be at least ${least / 1e6}s; leave it out for the default.`);
  return malformed(`\`${field}\` must be at most ${most / 1e6}s.`);
}

function checkUrgency(priority: number | undefined, priorityClass: string): Refusal | undefined {
  if (priority === undefined) return priorityClass === '' ? undefined : checkText('priority_class', priorityClass, 128);
  if (priorityClass !== '') return malformed('Name either `priority` or `priority_class`, not both.');
  if (Number.isInteger(priority) && priority >= 0 && priority <= PRIORITY_MAX) return undefined;
  return malformed(`\`priority\` must be a whole number from 0 (most urgent) to ${PRIORITY_MAX}.`);
}

function checkCosts(costs: Costs): Costs | Refusal {
  const units = Object.keys(costs);
  if (units.length > COST_UNITS_MAX) return malformed(`\`costs\` names more than ${COST_UNITS_MAX} units; name fewer.`);
  for (const unit of units) {
    if (!UNIT_NAME.test(unit)) return malformed('A unit in `costs` must be 1 to 64 letters, digits, dots, dashes or underscores, beginning with a letter.');
    const cost = costs[unit] ?? Number.NaN;
    if (!(Number.isInteger(cost) && cost >= 0 && cost <= UNITS_MAX)) return malformed(`The cost of \`${unit}\` must be a whole number from 0 to ${UNITS_MAX}.`);
  }
  return costs;
}
