import { expect, test } from 'vitest';
import { MINUTE, NEVER, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rolling, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { askOf, rigged, settingsOf } from './rig.ts';

const SLOTS = [settingsOf(group('g', [concurrency(2)]))];

test('waiters and leases are shown in pages, by names that can be evicted and revoked', async () => {
  const rig = await rigged(SLOTS);
  const holders = [await rig.asked({ holder: 'one' }), await rig.asked({ holder: 'two' })];
  const waiting = Array.from({ length: 5 }, () => rig.ask());
  const first = rig.admission.waiters('g', { size: 3, token: '' });
  if ('reason' in first) throw new Error('refused');
  const second = rig.admission.waiters('g', { size: 3, token: first.next });
  if ('reason' in second) throw new Error('refused');
  const names = [...first.items, ...second.items].map((waiter) => waiter.id);
  expect(new Set(names).size).toBe(5);
  expect(second.next).toBe('');
  for (const token of ['-', '-1', '0', '3!', '9e20.', 'A', '__proto__', '9'.repeat(30)])
    expect(rig.admission.waiters('g', { size: 3, token })).toMatchObject({ reason: 'malformed' });
  const name = names[1] as string;
  expect(await rig.admission.evictWaiter('g', name)).toBeUndefined();
  expect(waiting.filter((caller) => caller.refusal?.reason === 'cancelled')).toHaveLength(1);
  expect(await rig.admission.evictWaiter('g', name)).toMatchObject({ reason: 'unknown_request' });
  rig.ask();
  expect(await rig.admission.evictWaiter('g', name)).toMatchObject({ reason: 'unknown_request' });
  const leases = rig.admission.leases('g', { size: 10, token: '' });
  expect('items' in leases && leases.items.map((lease) => [lease.id, lease.holder])).toEqual(
    holders.map((caller, index) => [caller.id, ['one', 'two'][index]]),
  );
  expect(await rig.admission.revokeLease('g', holders[0]?.id ?? '')).toBeUndefined();
  expect(await rig.admission.revokeLease('g', holders[0]?.id ?? '')).toMatchObject({ reason: 'unknown_permit' });
  expect(await rig.admission.release({ caller: '', permit: holders[0]?.id ?? '', disposition: 'used' })).toMatchObject({ refusal: { reason: 'fenced' } });
});

test('pause, resume and override are in force and on disk when they are answered', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(2, SECOND)]))]);
  expect(await rig.admission.pause('g', undefined, undefined)).toBeUndefined();
  const caller = rig.ask();
  await rig.pass(60);
  expect(caller.outcome).toBeUndefined();
  expect(await rig.admission.resume('g', undefined)).toBeUndefined();
  await settled();
  expect(caller.outcome?.kind).toBe('admitted');
  const limits = new Map([['window', { kind: 'window', permits: 1, per: MINUTE } as const]]);
  expect(await rig.admission.override('g', { limits, enforce: undefined, for: MINUTE })).toBeUndefined();
  expect(
    await rig.admission.override('g', { limits: new Map([['nope', { kind: 'window', permits: 1, per: MINUTE }]]), enforce: undefined, for: MINUTE }),
  ).toMatchObject({ reason: 'malformed' });
  expect(await rig.admission.override('g', { limits: new Map(), enforce: undefined, for: 0 })).toBeUndefined();
  expect(await rig.admission.pause('nope', undefined, SECOND)).toMatchObject({ reason: 'unknown_group' });
  const records = rig.ledger.trees.get('g')?.records ?? [];
  expect(records.map((record) => record.kind)).toEqual(['pause', 'resume', 'override', 'restore']);
});

test('an override of fixed windows keeps their alignment', async () => {
  const quota = { kind: 'fixed', permits: 1, per: MINUTE, align: 'first', day: 1, time: 0, timezone: 'UTC', spill: 0 } as const;
  const limit = { name: 'minute', unit: 'requests', scope: 'group', quota, keys: new Map() } as const;
  const rig = await rigged([settingsOf(group('g', [limit]))]);
  const limits = new Map([['minute', { kind: 'window', permits: 2, per: MINUTE } as const]]);
  expect(await rig.admission.override('g', { limits, enforce: undefined, for: MINUTE })).toBeUndefined();
  const callers = [rig.ask(), rig.ask(), rig.ask()];
  await settled();
  expect(callers.map((caller) => caller.outcome?.kind)).toEqual(['admitted', 'admitted', undefined]);
});

test('a pause that cannot be written holds, and says so', async () => {
  const rig = await rigged(SLOTS);
  rig.ledger.failure = new Error('EIO');
  expect(await rig.admission.pause('g', undefined, MINUTE)).toMatchObject({ reason: 'unstored' });
  rig.ledger.failure = undefined;
  await rig.pass(1);
  const caller = await rig.asked();
  expect(caller.outcome).toBeUndefined();
});

test('explain waits for the right to decide, as a request does', async () => {
  const rig = await rigged([settingsOf(group('g', [spacing(MINUTE)]))]);
  await rig.asked();
  await rig.asked();
  rig.coordinator.end = rig.clock.now();
  const told = rig.admission.explain(askOf());
  rig.coordinator.end = NEVER;
  await rig.pass(1);
  expect(await told).toMatchObject({ admitted: false, place: { place: 2 } });
});

test('explain tells the outcome, the place and the limits, and changes nothing', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(1, MINUTE)]))]);
  expect(rig.admission.explain(askOf())).toMatchObject({ group: 'g', admitted: true });
  expect(rig.admission.explain(askOf())).toMatchObject({ admitted: true });
  await rig.asked();
  const told = rig.admission.explain(askOf());
  expect(told).toMatchObject({ admitted: false, place: { place: 1, limit: 'window' } });
  expect(rig.admission.explain(askOf({ wait: 0 }))).toMatchObject({ admitted: false, refusal: { reason: 'infeasible' } });
  expect(rig.admission.explain(askOf({ group: 'nope' }))).toMatchObject({ reason: 'unknown_group' });
  expect(rig.admission.limitsFor('g', '')).toHaveLength(1);
  expect(rig.waiting()).toBe(0);
});
