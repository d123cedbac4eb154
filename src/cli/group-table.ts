import { parseServerDuration } from '../client/duration.ts';
import type { Shown } from './operator-calls.ts';
import { plain, span, tableLines } from './text-table.ts';

const GROUP_COLUMNS = ['GROUP', 'STATE', 'WAITING', 'OLDEST', 'LEASES', 'ADMITTED', 'REFUSED', 'LIMITS', 'WHY'] as const;
const LIMIT_COLUMNS = ['LIMIT', 'QUOTA', 'USED', 'DEBT', 'UNIT', 'FREE IN'] as const;
const KEY_COLUMNS = ['LIMIT', 'KEY', 'USED', 'DEBT'] as const;
const WAITER_COLUMNS = ['PLACE', 'WAITER', 'KEY', 'PRIORITY', 'WAITED', 'GOES IN', 'TIMEOUT', 'BEHIND', 'COSTS', 'HOLDER'] as const;
const LEASE_COLUMNS = ['PERMIT', 'KEY', 'HELD', 'LEFT', 'COSTS', 'HOLDER'] as const;
/** Limits that a row of the table of groups names, the fullest first. */
const LIMITS_SHOWN = 3;

/** Lines of a table of groups, with what each limit has used of what it has. */
export function groupTable(groups: readonly Shown[]): readonly string[] {
  return tableLines(
    GROUP_COLUMNS,
    groups.map((group) => [
      ...[text(group['name']), stateOf(group), text(group['waiting']), spanOf(group['oldestWaited']), text(group['leases'])],
      ...[text(counters(group)['admitted']), String(refusedOf(group)), limitsOf(group), whyOf(group)],
    ]),
  );
}

/** A group with its limits, and the fullest keys of those that count keys. */
export function groupLines(group: Shown): readonly string[] {
  const { pause, placement } = group as { pause?: Shown; placement?: Shown };
  const backlog = objects(group['backlog']).map(({ priority, waiting }) => `${text(waiting)} of priority ${text(priority)}`);
  const refused = Object.entries(object(counters(group)['refused'])).map(([reason, count]) => `${text(count)} ${reason.toLowerCase()}`);
  const facts: readonly (readonly [string, string])[] = [
    ['group', text(group['name'])],
    ['state', stateOf(group)],
    ['why', whyOf(group)],
    ['parent', text(group['parent'])],
    ['pause', pause === undefined ? '' : [pause['left'] === undefined ? 'until it is resumed' : `ends in ${spanOf(pause['left'])}`, byWhom(pause)].join('')],
    ['override', group['overrideLeft'] === undefined ? '' : `ends in ${spanOf(group['overrideLeft'])}${byWhom(object(group['override']))}`],
    ['paused keys', pausedKeysOf(group)],
    ['waiting', [text(group['waiting']), backlog.length < 2 ? '' : backlog.join(', ')].filter((part) => part !== '').join(': ')],
    ['oldest', spanOf(group['oldestWaited'])],
    ['leases', text(group['leases'])],
    ['keys in use', count(group['keys'])],
    ['arrived', text(counters(group)['arrived'])],
    ['left', count(counters(group)['left'])],
    ['admitted', text(counters(group)['admitted'])],
    ['refused', refused.join(', ')],
    ['lapsed', count(counters(group)['lapsed'])],
    [
      'decided by',
      placement === undefined ? '' : `${text(placement['replica']) || 'no replica'} (shard ${text(placement['shard'])}, term ${text(placement['term'])})`,
    ],
  ];
  const limits = objects(group['limits']);
  const keys = limits.flatMap((limit) =>
    objects(limit['fullest']).map((use) => [text(limit['name']), text(use['key']), `${text(use['used'])}/${text(use['capacity'])}`, count(use['debt'])]),
  );
  return [
    ...facts.filter(([, value]) => value !== '').map(([name, value]) => `${name.padEnd(13)} ${value}`),
    ...(limits.length === 0 ? [] : ['', ...tableLines(LIMIT_COLUMNS, limits.map(limitRow))]),
    ...(keys.length === 0 ? [] : ['', ...tableLines(KEY_COLUMNS, keys)]),
  ];
}

/** How many keys are paused, and each with the end of its pause, who did it and why. */
function pausedKeysOf(group: Shown): string {
  const pauses = objects(group['keyPauses']).map((each) => {
    const end = each['left'] === undefined ? 'until it is resumed' : `ends in ${spanOf(each['left'])}`;
    return `${text(each['key']) || 'no key'} ${end}${byWhom(each)}`;
  });
  return [count(group['pausedKeys']), ...(pauses.length === 0 ? [] : [pauses.join('; ')])].join(': ');
}

/** Lines of a table of waiters, in the order of the server. */
export function waiterTable(waiters: readonly Shown[]): readonly string[] {
  return tableLines(
    WAITER_COLUMNS,
    waiters.map((waiter) => {
      const place = object(waiter['place']);
      return [
        ...[
          text(place['place']),
          text(waiter['id']),
          text(waiter['key']),
          text(waiter['priority']),
          spanOf(waiter['waited']),
          rangeOf(place['range'], waiter['late']),
        ],
        ...[spanOf(waiter['ttlLeft']), text(place['limit']), costsOf(waiter), text(waiter['holder'])],
      ];
    }),
  );
}

/** Lines of a table of leases, the one held longest first. */
export function leaseTable(leases: readonly Shown[]): readonly string[] {
  const held = (lease: Shown): number => parseServerDuration(lease['held']) ?? 0;
  return tableLines(
    LEASE_COLUMNS,
    [...leases]
      .sort((a, b) => held(b) - held(a))
      .map((lease) => [...[text(lease['permit']), text(lease['key']), spanOf(lease['held']), spanOf(lease['left']), costsOf(lease), text(lease['holder'])]]),
  );
}

/** What holds for a group, the first that does, and flags beside it: `paused`, `moving override`, `open shadow`. */
export function stateOf(group: Shown): string {
  const { placement, pause, enforce, overrideLeft } = group as { placement?: Shown; pause?: unknown; enforce?: unknown; overrideLeft?: unknown };
  const undecided = placement !== undefined && text(placement['replica']) === '';
  const said = text(group['state']);
  const state = said !== '' ? said : undecided ? 'undecided' : pause !== undefined ? 'paused' : Number(group['waiting'] ?? 0) > 0 ? 'moving' : 'open';
  return [state, overrideLeft === undefined ? '' : 'override', enforce === false ? 'shadow' : ''].filter((part) => part !== '').join(' ');
}

/** A quota in the file's own notation. */
export function quotaOf(limit: Shown): string {
  const { kind, capacity, permits = capacity, per, quota } = limit;
  if (quota !== undefined && quota !== '') return `${text(quota)}${limit['scope'] === 'LIMIT_SCOPE_KEY' ? ' per key' : ''}`;
  const time = spanOf(per);
  if (kind === 'LIMIT_KIND_SPACING') return `every ${time}`;
  if (kind === 'LIMIT_KIND_CONCURRENCY') return `${text(capacity)} at once`;
  const burst = kind === 'LIMIT_KIND_RATE' && permits !== undefined && text(capacity) !== '1' ? `, burst ${text(capacity)}` : '';
  return `${text(permits)}/${time}${burst}${kind === 'LIMIT_KIND_FIXED' ? ' fixed' : ''}${limit['scope'] === 'LIMIT_SCOPE_KEY' ? ' per key' : ''}`;
}

/** A range of waits; `late` marks one that was shorter on arrival. */
function rangeOf(range: unknown, late: unknown): string {
  const { earliest, latest } = object(range);
  if (latest === undefined) return late === true ? 'not known, late' : 'not known';
  const [from, to] = [spanOf(earliest), spanOf(latest)];
  return `${from === to ? to : `${from} to ${to}`}${late === true ? ', late' : ''}`;
}

/** The server's sentence on what holds the group up. */
function whyOf(group: Shown): string {
  return text(object(group['binding'])['text']);
}

function limitRow(limit: Shown): readonly string[] {
  const { name, used, capacity, debt, unit, resetAfter, scope, keysInUse } = limit;
  const use = scope === 'LIMIT_SCOPE_KEY' ? `${text(keysInUse)} keys` : `${text(used)}/${text(capacity)}`;
  return [text(name), quotaOf(limit), use, count(debt), text(unit), text(resetAfter) === '0s' ? '' : spanOf(resetAfter)];
}

function limitsOf(group: Shown): string {
  const part = ({ used, capacity }: Shown): number => Number(used ?? 0) / Math.max(1, Number(capacity ?? 1));
  const limits = objects(group['limits']).sort((a, b) => part(b) - part(a));
  const shown = limits.slice(0, LIMITS_SHOWN).map((limit) => `${text(limit['name'])} ${limitRow(limit)[2] ?? ''}`);
  return [...shown, ...(limits.length > LIMITS_SHOWN ? [`+${limits.length - LIMITS_SHOWN}`] : [])].join(', ');
}

function costsOf(of: Shown): string {
  const costs = Object.entries(object(of['costs'])).map(([unit, cost]) => `${text(cost)} ${plain(unit)}`);
  return costs.join(', ');
}

/** `, by ana: ledger migration`; '' where nothing is known. */
function byWhom({ by, reason }: Shown): string {
  return `${text(by) === '' ? '' : `, by ${text(by)}`}${text(reason) === '' ? '' : `: ${text(reason)}`}`;
}

function counters(group: Shown): Shown {
  return object(group['counters']);
}

function refusedOf(group: Shown): number {
  return Object.values(object(counters(group)['refused'])).reduce<number>((sum, each) => sum + Number(each), 0);
}

function object(value: unknown): Shown {
  return typeof value === 'object' && value !== null ? (value as Shown) : {};
}

function objects(value: unknown): Shown[] {
  return Array.isArray(value) ? value.map(object) : [];
}

/** A number that is left out where it is 0. */
function count(value: unknown): string {
  return text(value) === '0' ? '' : text(value);
}

function spanOf(duration: unknown): string {
  const ms = parseServerDuration(duration);
  return ms === undefined ? '' : ms > 0 && ms < 10_000 ? `${Number((ms / 1000).toPrecision(2))}s` : span(ms);
}

function text(value: unknown): string {
  return value === undefined || value === null ? '' : plain(String(value));
}
