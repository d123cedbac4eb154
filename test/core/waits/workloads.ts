import type { GroupSpec, LimitSpec, Quota } from '../../../src/core/group.ts';
import { MINUTE, type Micros, SECOND } from '../../../src/core/time.ts';
import { exponential, logNormal, type Random, seededRandom, zipf } from '../../../src/simulate/random.ts';
import type { Caller } from './world.ts';

/** A workload: groups, and callers drawn by a seed. */
export interface Workload {
  readonly name: string;
  readonly groups: readonly GroupSpec[];
  readonly callers: (seed: number, count: number) => readonly Caller[];
  /** Only rates, spacing and windows bind, no caller leaves, and none comes that is more urgent. */
  readonly exact?: boolean;
  /** Half of those that wait are so near to the head that one holding time of a heavy tail decides: no range is narrow beside their wait. */
  readonly shallow?: boolean;
}

interface Kind {
  readonly group?: string;
  readonly key?: (random: Random) => string;
  readonly priority?: (random: Random) => number;
  readonly hold?: (random: Random) => Micros;
  readonly leavesAfter?: (random: Random) => Micros;
  /** Units of the limit named `tokens`. */
  readonly tokens?: (random: Random) => number;
}

/** Callers by Poisson: rushes of `rush` and quiet times of `calm` callers a second by turns, each `phase` long. */
function drawn(parts: { readonly calm: number; readonly rush: number; readonly phase: Micros; readonly kinds: readonly Kind[] }) {
  return (seed: number, count: number): readonly Caller[] => {
    const random = seededRandom(seed);
    const callers: Caller[] = [];
    let at = 0;
    while (callers.length < count) {
      const rate = Math.floor(at / parts.phase) % 2 === 0 ? parts.rush : parts.calm;
      at += exponential(random, SECOND / rate);
      const kind = parts.kinds[Math.floor(random() * parts.kinds.length)] as Kind;
      const tokens = kind.tokens?.(random);
      const leavesAfter = kind.leavesAfter?.(random);
      callers.push({
        at: Math.round(at),
        group: kind.group ?? 'g',
        key: kind.key?.(random) ?? '',
        priority: kind.priority?.(random) ?? 1,
        hold: Math.round(kind.hold?.(random) ?? 0),
        ...(tokens === undefined ? {} : { costs: { requests: 1, tokens } }),
        ...(leavesAfter === undefined ? {} : { leavesAfter: Math.round(leavesAfter) }),
      });
    }
    return callers;
  };
}

function limit(name: string, quota: Quota, scope: LimitSpec['scope'] = 'group', unit = 'requests'): LimitSpec {
  return { name, unit, scope, quota, keys: new Map() };
}

function group(limits: readonly LimitSpec[], more: Partial<GroupSpec> = {}): GroupSpec {
  return {
    name: 'g',
    limits,
    parent: undefined,
    settleMax: 10,
    enforce: true,
    backlog: { requests: 1e6, bytes: 1e9, perKey: 1e6, keys: 1e6, wait: undefined, onFull: 'newest' },
    aging: undefined,
    fairness: { by: 'none', weights: new Map() },
    ...more,
  };
}

const rate = (permits: number, burst = 1): Quota => ({ kind: 'rate', permits, per: SECOND, burst });
const slots = (max: number): Quota => ({ kind: 'concurrency', max });
const fair: Partial<GroupSpec> = { fairness: { by: 'key', weights: new Map() } };

/** Half are held for a second at most, one of a hundred for twenty and more. */
const heavy = (random: Random): Micros => logNormal(random, SECOND, 20 * SECOND);
/** Mean of {@link heavy} in seconds. */
const HEAVY_MEAN = 2.29;
/** Pareto with tail index 1.7: its variance is infinite. Mean 1.7 / 0.7 x 0.5 s. */
const pareto = (random: Random): Micros => Math.min(10 * MINUTE, 0.5 * SECOND * (1 - random()) ** (-1 / 1.7));
const PARETO_MEAN = 1.2;

const classes = (random: Random): number => (random() < 0.2 ? 0 : random() < 0.5 ? 1 : 2);
const impatient = (random: Random): Micros => exponential(random, 40 * SECOND);

/** Callers by load: their number a second as a part of what the limits pass. */
const load = (perSecond: number, phase: Micros, kinds: readonly Kind[], rush = 1.4, calm = 0.6) =>
  drawn({ rush: rush * perSecond, calm: calm * perSecond, phase, kinds });

const keyed = zipf(20, 1);
const key = (random: Random): string => `k${keyed(random)}`;

export const WORKLOADS: readonly Workload[] = [
  { name: 'rate', exact: true, groups: [group([limit('r', rate(10, 5))])], callers: load(10, MINUTE, [{}]) },
  { name: 'spacing', exact: true, groups: [group([limit('s', { kind: 'spacing', spacing: 300_000, slack: 7_000 })])], callers: load(3.2, MINUTE, [{}]) },
  {
    name: 'window and spacing',
    exact: true,
    groups: [group([limit('w', { kind: 'window', permits: 60, per: 20 * SECOND }), limit('s', { kind: 'spacing', spacing: 100_000, slack: 0 })])],
    callers: load(3, 2 * MINUTE, [{}]),
  },
  {
    name: 'fixed window',
    exact: true,
    groups: [group([limit('f', { kind: 'fixed', permits: 100, per: 30 * SECOND, align: 'epoch', time: 0, timezone: 'UTC', spill: 0 } as Quota)])],
    callers: load(3.3, 3 * MINUTE, [{}]),
  },
  {
    name: 'parent and child rates',
    groups: [
      group([limit('p', rate(10, 3))], { name: 'p' }),
      group([limit('r', rate(8, 2))], { parent: { group: 'p', share: undefined } }),
      group([limit('r', rate(6, 2))], { name: 'h', parent: { group: 'p', share: undefined } }),
    ],
    callers: load(10, MINUTE, [{}, { group: 'h' }]),
  },
  {
    name: 'slots, heavy tail',
    groups: [group([limit('c', slots(8))])],
    callers: load(8 / HEAVY_MEAN, 2 * MINUTE, [{ hold: heavy }]),
  },
  {
    name: 'slots, Pareto',
    groups: [group([limit('c', slots(16))])],
    callers: load(16 / PARETO_MEAN, MINUTE, [{ hold: pareto }]),
  },
  { name: 'one slot, heavy tail', groups: [group([limit('c', slots(1))])], callers: load(1 / HEAVY_MEAN, 10 * MINUTE, [{ hold: heavy }]) },
  { name: 'classes, rate', groups: [group([limit('r', rate(10, 5))])], callers: load(10, 2 * MINUTE, [{ priority: classes }], 1.3) },
  {
    name: 'classes, slots',
    shallow: true,
    groups: [group([limit('c', slots(8))])],
    callers: load(8 / HEAVY_MEAN, 2 * MINUTE, [{ priority: classes, hold: heavy }], 1.3),
  },
  {
    name: 'aging classes, rate',
    groups: [group([limit('r', rate(10, 5))], { aging: 10 * SECOND })],
    callers: load(10, 2 * MINUTE, [{ priority: classes }], 1.3),
  },
  { name: 'leavers, rate', groups: [group([limit('r', rate(10, 5))])], callers: load(10, 2 * MINUTE, [{ leavesAfter: impatient }], 1.6, 0.8) },
  {
    name: 'leavers, slots',
    groups: [group([limit('c', slots(8))])],
    callers: load(8 / HEAVY_MEAN, 2 * MINUTE, [{ leavesAfter: impatient, hold: heavy }], 1.6, 0.8),
  },
  { name: 'fair keys, rate', groups: [group([limit('r', rate(10, 5))], fair)], callers: load(10, 2 * MINUTE, [{ key }]) },
  {
    name: 'key limits and slots',
    shallow: true,
    groups: [group([limit('k', rate(3, 3), 'key'), limit('c', slots(12))], fair)],
    callers: load(12 / HEAVY_MEAN, 2 * MINUTE, [{ key, hold: heavy }], 1.3),
  },
  {
    name: 'tokens and rate',
    exact: true,
    groups: [group([limit('r', rate(20, 10)), limit('t', { kind: 'rate', permits: 1_000, per: SECOND, burst: 2_000 }, 'group', 'tokens')])],
    callers: load(8, MINUTE, [{ tokens: (random) => Math.round(Math.min(1_900, logNormal(random, 80, 800))) }]),
  },
  {
    name: 'all at once',
    shallow: true,
    groups: [
      group([limit('c', slots(12))], { name: 'p' }),
      group([limit('r', rate(4, 4))], { parent: { group: 'p', share: undefined }, ...fair }),
      group([limit('w', { kind: 'window', permits: 90, per: 30 * SECOND })], { name: 'h', parent: { group: 'p', share: undefined } }),
    ],
    callers: load(
      12 / HEAVY_MEAN,
      2 * MINUTE,
      [
        { key, hold: heavy, priority: classes, leavesAfter: (random) => exponential(random, 3 * MINUTE) },
        { group: 'h', hold: heavy, priority: classes },
      ],
      1.4,
    ),
  },
];
