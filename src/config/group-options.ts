import { CLASS_NAME, GROUP_NAME, LEASE_MAX, PUSHBACK_MAX, TTL_MAX, UNITS_MAX } from '../core/bounds.ts';
import { PRIORITY_MAX } from '../core/group.ts';
import { DAY, MILLISECOND } from '../core/time.ts';
import { ValueError } from './errors.ts';
import { limitOptions, unitName } from './limit-options.ts';
import { boolean, decimal, duration, durationOrNone, integer, keyNames, oneOf, percent, size, string } from './scalars.ts';
import { dictionary, list, option, optional, type ReportAt, refine, required, scalar, struct, type Unverified, type ValueOf } from './schema.ts';
import { formatSourceValue, type SourceValue } from './source-value.ts';
import { showDuration } from './units.ts';

const NAME_RULE = 'Letters, digits, ".", "_" and "-", a letter or digit first, at most 128.';

/** The name of a group, where one is named. */
export const groupName = string({ unit: 'group name', pattern: GROUP_NAME, rule: NAME_RULE, lengthMax: 128 });

/** The name of a priority; a letter first, so that it is never taken for a number. */
export const className = string({
  unit: 'class name',
  pattern: CLASS_NAME,
  rule: 'Letters, digits, ".", "_" and "-", a letter first, at most 64.',
  lengthMax: 64,
});

const priorityNumber = integer({ min: 0, max: PRIORITY_MAX });

const classes = dictionary(priorityNumber, {
  noun: 'class',
  names: /^(?!least$)[A-Za-z][A-Za-z0-9._-]{0,63}$/,
  namesMax: 1000,
  rule: 'Letters, digits, ".", "_" and "-", a letter first, at most 64; "least" is taken.',
});

const defaultPriority = scalar<number | string>({
  unit: 'priority',
  bounds: `least, a class, or 0 to ${PRIORITY_MAX}`,
  json: { anyOf: [priorityNumber.json, { type: 'string' }] },
  read: (raw: SourceValue) => {
    const value = raw.kind === 'scalar' ? raw.value : undefined;
    if (typeof value === 'string' && value !== '') return value;
    const fits = typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= PRIORITY_MAX;
    return fits
      ? value
      : new ValueError(`${formatSourceValue(raw)} is not a priority`, `Take least, the name of a class, or 0 (most urgent) to ${PRIORITY_MAX}.`);
  },
});

const weights = dictionary(decimal({ min: 0.001, max: 1_000_000 }), keyNames);

/** `default` not above `max`, for wait timeout and for lives of leases (seed LN-25). */
function checkTimes(times: { readonly default?: number | undefined; readonly max?: number | undefined }, report: ReportAt, written: ReadonlySet<string>): void {
  if (times.default === undefined || times.max === undefined || times.default <= times.max) return;
  const problem = `the default of ${showDuration(times.default)} is above the maximum of ${showDuration(times.max)}`;
  report([written.has('default') ? 'default' : 'max'], new ValueError(problem, 'Raise max, or lower default.'));
}

const priority = refine(
  struct({
    classes: option(classes, {}, 'Names of priorities; a lower number is more urgent.'),
    default: option(defaultPriority, 'least', `Priority of a caller that names none: least (${PRIORITY_MAX}), a class, or a number.`),
    aging: option(
      durationOrNone({ min: MILLISECOND, max: 30 * DAY }),
      'none',
      'One step of priority is worth this much waiting, so that no caller starves; none: strictly by priority.',
    ),
  }),
  checkPriority,
);

function checkPriority(options: Unverified<{ classes: ReadonlyMap<string, number>; default: number | string }>, report: ReportAt): void {
  const named = options.default;
  if (typeof named !== 'string' || named === 'least' || options.classes === undefined || options.classes.has(named)) return;
  const known = [...options.classes.keys()];
  report(
    ['default'],
    new ValueError(
      `there is no class ${JSON.stringify(named)}`,
      known.length === 0 ? 'Name it under priority.classes, or take least or a number.' : `Take least, a number, or one of ${known.slice(0, 10).join(', ')}.`,
    ),
  );
}

const fairness = refine(
  struct({
    by: option(oneOf('key', 'none'), 'key', 'Inside one priority: key shares fairly between keys; none is plain first in, first out.'),
    weights: option(weights, {}, 'A key with weight 4 gets four times the share of a key without (1).'),
  }),
  (options, report) => {
    if (options.by === 'none' && (options.weights?.size ?? 0) > 0)
      report(['weights'], new ValueError('weights have no meaning with by: none', 'Remove them, or take by: key.'));
  },
);

const backlog = struct({
  requests: option(integer({ min: 0, max: 10_000_000 }, 'callers'), 10_000, 'Callers that wait at most; more are shed. 0: no caller waits.'),
  bytes: option(size({ min: 0, max: 2 ** 40 }), '256MiB', 'Bytes held for waiting callers at most.'),
  perKey: option(integer({ min: 0, max: 10_000_000 }, 'callers'), 1000, 'Callers that wait at most for one key; those without a key are not counted here.'),
  keys: option(integer({ min: 1, max: 10_000_000 }, 'keys'), 100_000, 'Keys with waiters, leases or limits in use at most; idle ones are forgotten.'),
  wait: option(durationOrNone({ min: 0, max: 30 * DAY }), 'none', 'A caller whose expected wait is longer is shed at once.'),
  onFull: option(
    oneOf('leastUrgent', 'newest'),
    'leastUrgent',
    'Who is shed when requests, bytes or perKey is full: leastUrgent takes the youngest caller of the least urgent priority, waiting or new; newest the new one.',
  ),
});

const costs = dictionary(
  refine(
    struct({
      default: optional(integer({ min: 0, max: UNITS_MAX }), 'What a request that does not name this unit costs in it.', '0'),
      required: option(boolean(), false, 'true: a request that does not name this unit is refused as malformed.'),
    }),
    (cost, report) => {
      if (cost.required === true && cost.default !== undefined)
        report(['required'], new ValueError('a cost that must be named needs no default', 'Remove default, or required.'));
    },
  ),
  unitName,
);

/** The body in place of a problem. */
export const refusalOptions = struct({
  status: option(integer({ min: 400, max: 599 }, 'HTTP status'), 429, 'HTTP status of shed, expired and infeasible.'),
  contentType: option(
    string({
      unit: 'content type',
      pattern: /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(; ?[\w.+-]+=[\w.+-]+)*$/,
      rule: 'A media type: text/plain, application/json.',
      lengthMax: 128,
    }),
    'text/plain',
    'Content-Type of the body.',
  ),
  body: option(
    string({ unit: 'text', pattern: /^/, rule: 'Text.', lengthMax: 65_536 }),
    'Too many requests. Please try again later.',
    'The body, as it is sent.',
  ),
});

const group = struct({
  limits: option(list(limitOptions, 64), [], 'All must agree before a caller goes, and all are charged in one step.'),
  parent: optional(
    struct({
      group: required(groupName, 'The group whose limits must agree too.'),
      share: optional(percent(), "At most this part of each of the parent's limits.", 'all of it'),
    }),
    'A group above this one: a whole tree has one order.',
  ),
  enforce: option(boolean(), true, 'false: shadow; limits count and report, no caller is held.'),
  ttl: option(
    refine(
      struct({
        default: option(duration({ min: 0, max: TTL_MAX }), '30s', 'How long a caller waits that sets no ttl; 0: now or not at all.'),
        max: option(duration({ min: 0, max: TTL_MAX }), '10m', 'A caller that sets more waits this long.'),
      }),
      checkTimes,
    ),
    {},
    'Wait timeouts.',
  ),
  backlog: option(backlog, {}, 'Bounds of the queue.'),
  priority: option(priority, {}, 'Urgency.'),
  fairness: option(fairness, {}, 'Order inside one priority.'),
  lease: option(
    refine(
      struct({
        default: option(duration({ min: 100 * MILLISECOND, max: LEASE_MAX }), '30s', 'Life of a lease when the caller sets none.'),
        max: option(duration({ min: 100 * MILLISECOND, max: LEASE_MAX }), '10m', 'A caller that sets more gets this; renewing starts anew.'),
      }),
      checkTimes,
    ),
    {},
    'Lives of leases.',
  ),
  pushback: option(
    struct({
      scope: option(oneOf('key', 'group'), 'key', "Whom a backend's 429 pauses."),
      max: option(duration({ min: 0, max: PUSHBACK_MAX }), '60s', 'For how long at most.'),
    }),
    {},
    'What a backend that pushes back may do.',
  ),
  settle: option(
    struct({
      max: option(
        decimal({ min: 1, max: 1000 }),
        10,
        "What counts against a limit once real costs were settled, at most, as a multiple of the limit's number; what is beyond is not charged.",
      ),
    }),
    {},
    'Real costs above what was asked for.',
  ),
  costs: option(costs, {}, 'Costs of requests that name none, by unit; for the groups below, too. A unit that no limit counts is refused.'),
  refusal: optional(refusalOptions, 'What a refused HTTP caller gets in place of application/problem+json.', 'application/problem+json'),
  unreachable: option(
    oneOf('closed', 'share', 'open'),
    'closed',
    'When the cluster is lost: hold every caller, let each replica give its share, or let every caller pass; one node never loses it.',
  ),
});

/** A group as read. */
export type GroupOptions = ValueOf<typeof group>;

/** All options of a group. */
export const groupOptions = refine(group, checkLimitNames);

function checkLimitNames(group: Unverified<GroupOptions>, report: ReportAt): void {
  const seen = new Set<string>();
  for (const [index, limit] of (group.limits ?? []).entries()) {
    const name = limit?.name;
    if (name === undefined) continue;
    if (seen.has(name))
      report(['limits', index, 'name'], new ValueError(`two limits are called ${name}`, 'Refusals and metrics distinguish limits by name: give each its own.'));
    seen.add(name);
  }
}
