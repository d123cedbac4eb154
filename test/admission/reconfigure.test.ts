import { expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rate, rolling, spacing } from '../core/specs.ts';
import { settled } from '../fakes/clock.ts';
import { rigged, settingsOf } from './rig.ts';

const under = (parent: string) => ({ parent: { group: parent, share: undefined } });

test('waiters stay in line under the new limits, and counters go on', async () => {
  const rig = await rigged([settingsOf(group('g', [spacing(60 * SECOND)]))]);
  const callers = [rig.ask(), rig.ask(), rig.ask()];
  expect(await rig.keeper.reconfigure([settingsOf(group('g', [spacing(5 * SECOND)]), { lease: { default: SECOND, max: SECOND } })])).toEqual([]);
  await rig.pass(11);
  expect(callers.map((caller) => caller.seconds)).toEqual([0, 5, 10]);
  const view = rig.keeper.group('g');
  expect('reason' in view ? 0 : view.counters.admitted).toBe(3);
});

test('groups come, also into a tree with callers in line, and go: their waiters are told so', async () => {
  const rig = await rigged([
    settingsOf(group('root', [concurrency(1)])),
    settingsOf(group('a', [rate(1, SECOND)], under('root'))),
    settingsOf(group('old', [concurrency(1)])),
  ]);
  const lease = await rig.asked({ group: 'a' });
  await rig.asked({ group: 'old' });
  const [inLine, gone, child] = [rig.ask({ group: 'root' }), rig.ask({ group: 'old' }), rig.ask({ group: 'a' })];
  const next = [settingsOf(group('root', [concurrency(1)])), settingsOf(group('b', [], under('root'))), settingsOf(group('new', [rate(1, SECOND)]))];
  expect(await rig.keeper.reconfigure(next)).toEqual([]);
  await settled();
  for (const caller of [gone, child]) {
    expect(caller.refusal).toMatchObject({ reason: 'undecided', detail: expect.stringContaining('taken out of the configuration') });
    expect(caller.refusal?.retryAt).toBeGreaterThan(rig.clock.now());
  }
  expect(rig.notices).toEqual([
    { kind: 'withdrawn', group: 'a', waiting: 1, leases: 1 },
    { kind: 'withdrawn', group: 'old', waiting: 1, leases: 1 },
  ]);
  expect(rig.ask({ group: 'old' }).refusal?.reason).toBe('unknown_group');
  expect(rig.ledger.trees.get('old')?.sealed).toBeDefined();
  expect(rig.ask({ group: 'new' }).outcome?.kind).toBe('admitted');
  expect(inLine.outcome).toBeUndefined();
  expect(await rig.keeper.release('', lease.id, 'used', undefined, undefined)).toEqual({ kind: 'released', ended: true });
  await settled();
  expect(inLine.outcome?.kind).toBe('admitted');
  expect(
    rig.keeper
      .groups()
      .map((view) => view.name)
      .sort(),
  ).toEqual(['b', 'new', 'root']);
});

test('what cannot be done changes nothing at all', async () => {
  const rig = await rigged([settingsOf(group('a', [rolling(1, SECOND)])), settingsOf(group('b', [rolling(1, SECOND)]))]);
  const wrong = [settingsOf(group('a', [rolling(50, SECOND)])), settingsOf(group('b', [rolling(50, SECOND)], under('nope')))];
  expect(await rig.keeper.reconfigure(wrong)).toHaveLength(1);
  rig.ask({ group: 'a' });
  expect(rig.ask({ group: 'a' }).outcome).toBeUndefined();
});

test('a group moves to another tree only while nobody waits or holds, and takes with it what it spent', async () => {
  const before = [settingsOf(group('a', [rolling(2, MINUTE), concurrency(1)])), settingsOf(group('b', [rolling(10, MINUTE)]))];
  const after = [settingsOf(group('a', [rolling(2, MINUTE), concurrency(1)], under('b'))), settingsOf(group('b', [rolling(10, MINUTE)]))];
  const rig = await rigged(before);
  const lease = await rig.asked({ group: 'a' });
  await rig.asked({ group: 'b' });
  const answer = await rig.keeper.reconfigure(after);
  expect(answer).toHaveLength(1);
  expect(answer[0]).toMatch(/tree of a/);
  await rig.keeper.release('', lease.id, 'used', undefined, undefined);
  expect(await rig.keeper.reconfigure(after)).toEqual([]);
  expect([rig.used('a'), rig.used('b')]).toEqual([1, 1]);
  const second = await rig.asked({ group: 'a' });
  expect(second.outcome?.kind).toBe('admitted');
  expect([rig.used('a'), rig.used('b')]).toEqual([2, 2]);
  await rig.keeper.release('', second.id, 'used', undefined, undefined);
  expect(rig.ask({ group: 'a', wait: 0 }).refusal?.reason).toBe('infeasible');
  expect(rig.ledger.trees.get('b')?.snapshots[0]?.reservations.map((one) => one.group)).toContain('a');
});

test('a change of configuration under way is waited for by the next', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(1, SECOND)]))]);
  const both = [
    rig.keeper.reconfigure([settingsOf(group('x', []))]),
    rig.keeper.reconfigure([settingsOf(group('g', [rolling(5, SECOND)])), settingsOf(group('x', []))]),
  ];
  expect(await Promise.all(both)).toEqual([[], []]);
  expect(
    rig.keeper
      .groups()
      .map((view) => view.name)
      .sort(),
  ).toEqual(['g', 'x']);
});
