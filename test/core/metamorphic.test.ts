import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GroupSpec } from '../../src/core/group.ts';
import type { Instant } from '../../src/core/time.ts';
import { DAY } from '../../src/core/time.ts';
import { type Plan, planOf } from './model/plans.ts';
import { Play, type PlayOptions } from './model/play.ts';
import { concurrency, group, rolling, START } from './specs.ts';

/** What became of every ask of a plan, without names: which, what, and when since the start. */
function history(plan: Plan, options: Partial<PlayOptions> = {}): readonly string[] {
  const play = new Play(plan.groups, { model: false, ...options });
  play.run(plan);
  const start = options.start ?? START;
  return play.driver.log.map(({ what, at, handle }) => `${play.driver.handles.indexOf(handle)} ${what} ${at - start} ${handle.refusal?.reason ?? ''}`);
}

/** Returns the plan with other names for groups and keys. The empty key stays empty: it stands for callers without a key, which `backlog.perKey` does not count. */
function renamed({ groups, steps }: Plan): Plan {
  const key = (name: string): string => (name === '' ? '' : `tenant ${name.repeat(3)} é`);
  const other = (spec: GroupSpec): GroupSpec => ({
    ...spec,
    name: `renamed ${spec.name}`,
    parent: spec.parent && { ...spec.parent, group: `renamed ${spec.parent.group}` },
    fairness: { ...spec.fairness, weights: new Map([...spec.fairness.weights].map(([name, weight]) => [key(name), weight])) },
  });
  return { groups: groups.map(other), steps: steps.map((step) => ('key' in step && step.key !== undefined ? { ...step, key: key(step.key) } : step)) };
}

/** Changes that must change nothing. */
describe('what has no bearing on a decision', () => {
  const same = (change: (plan: Plan) => readonly string[]): void =>
    fc.assert(
      fc.property(planOf('key'), (plan) => void expect(change(plan)).toEqual(history(plan))),
      { numRuns: 200 },
    );

  it('doing it again', () => same((plan) => history(plan)));

  it('other names for groups and keys', () => same((plan) => history(renamed(plan))));

  it('another day, where no window is aligned with the epoch', () => {
    const first = (spec: GroupSpec): GroupSpec => ({
      ...spec,
      limits: spec.limits.map((limit) => (limit.quota.kind === 'fixed' ? { ...limit, quota: { ...limit.quota, align: 'first' } } : limit)),
    });
    fc.assert(
      fc.property(fc.oneof(planOf('key'), planOf('key', { adapting: true })), fc.integer({ min: 1, max: 10_000 * DAY }), ({ groups, steps }, shift) => {
        const plan = { groups: groups.map(first), steps };
        expect(history(plan, { start: (START + shift) as Instant })).toEqual(history(plan));
      }),
      { numRuns: 300 },
    );
  });

  it('groups of the tree that nobody asks', () => {
    const below = { parent: { group: 'g0', share: undefined } };
    const silent = [group('silent', [rolling(1, DAY)], below), group('idle', [concurrency(1, { scope: 'key' })], below)];
    same((plan) => history(plan, { silent }));
  });
});
