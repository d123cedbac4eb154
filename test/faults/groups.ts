import { shardOf } from '../../src/core/sharding.ts';
import type { CheckedGroup } from './history.ts';

const SECOND = 1_000_000;

/** Groups that only probes ask for, each in a shard of its own: spaced widely enough to tell two permits apart, and open again soon. */
export const PROBED: readonly CheckedGroup[] = Array.from({ length: 6 }, (_, index) => ({
  name: `swift${index}`,
  probed: true,
  limits: [{ kind: 'spacing', every: SECOND / 10 }],
}));

/** The shards of the probed groups, by name. */
export const PROBED_SHARDS: ReadonlyMap<string, number> = new Map(PROBED.map(({ name }) => [name, shardOf(name)]));

/** One group of every kind of limit, and a tree; short, so that an error shows within seconds. */
export const GROUPS: readonly CheckedGroup[] = [
  { name: 'rate', limits: [{ kind: 'rate', burst: 5, every: SECOND / 40 }] },
  { name: 'window', limits: [{ kind: 'window', permits: 100, per: 10 * SECOND }] },
  { name: 'short', limits: [{ kind: 'window', permits: 20, per: SECOND }] },
  { name: 'spaced', limits: [{ kind: 'spacing', every: SECOND / 5 }] },
  { name: 'fixed', limits: [{ kind: 'fixed', permits: 40, per: 4 * SECOND }] },
  { name: 'slots', limits: [{ kind: 'concurrency', max: 4 }] },
  { name: 'top', limits: [{ kind: 'rate', burst: 2, every: SECOND / 10 }] },
  { name: 'left', parent: 'top', limits: [] },
  { name: 'right', parent: 'top', limits: [{ kind: 'spacing', every: SECOND / 4 }] },
  ...PROBED,
];

/** The same for the servers. */
export const GROUPS_YAML = `
  rate: { limits: [ { name: a, rate: 40/1s, burst: 5 } ] }
  window: { limits: [ { name: a, window: 100/10s } ] }
  short: { limits: [ { name: a, window: 20/1s } ] }
  spaced: { limits: [ { name: a, spacing: 200ms } ] }
  fixed: { limits: [ { name: a, window: 40/4s, kind: fixed } ] }
  slots: { limits: [ { name: a, concurrency: 4 } ] }
  top: { limits: [ { name: a, rate: 10/1s, burst: 2 } ] }
  left: { parent: { group: top } }
  right: { parent: { group: top }, limits: [ { name: a, spacing: 250ms } ] }
${PROBED.map(({ name }) => `  ${name}: { limits: [ { name: a, spacing: 100ms } ] }`).join('\n')}
`;
