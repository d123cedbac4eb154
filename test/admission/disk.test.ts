import { expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rate, rolling } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { rigged, settingsOf } from './rig.ts';

const ALL = [
  settingsOf(group('fast', [rate(10, SECOND, 10)])),
  settingsOf(group('lease', [concurrency(5)])),
  settingsOf(group('day', [rolling(100, 3600 * SECOND)])),
];

test('a disk that fails closes the groups that need it, and they open when it works again', async () => {
  const rig = await rigged(ALL);
  rig.ledger.failure = new Error('ENOSPC');
  const patient = rig.ask({ group: 'lease', wait: MINUTE });
  const hasty = rig.ask({ group: 'lease', wait: SECOND });
  const day = rig.ask({ group: 'day', wait: MINUTE });
  await settled();
  expect(rig.notices.map((notice) => notice.kind)).toEqual(['unstored', 'unstored']);
  expect([patient, hasty, day].map((caller) => caller.outcome)).toEqual([undefined, undefined, undefined]);
  const arrival = rig.ask({ group: 'lease' });
  expect(arrival.refusal?.reason).toBe('unstored');
  expect(arrival.refusal?.retryAt).toBeGreaterThan(rig.clock.now());
  expect(rig.ask({ group: 'fast' }).outcome?.kind).toBe('admitted');
  await rig.pass(1.3);
  expect(hasty.refusal?.reason).toBe('unstored');
  rig.ledger.failure = undefined;
  await rig.pass(0.3);
  expect(patient.outcome?.kind).toBe('admitted');
  expect(day.outcome?.kind).toBe('admitted');
  expect(rig.notices.map((notice) => notice.kind)).toEqual(['unstored', 'unstored', 'stored', 'stored']);
  const leases = rig.admission.leases('lease', { size: 10, token: '' });
  expect('items' in leases && leases.items).toHaveLength(1);
  expect((await rig.asked({ group: 'lease' })).outcome?.kind).toBe('admitted');
});

test('a caller who leaves while its grant cannot be written holds nothing', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  rig.ledger.failure = new Error('EIO');
  const caller = rig.ask();
  await settled();
  caller.held.cancel();
  await rig.pass(0.3);
  rig.ledger.failure = undefined;
  await rig.pass(0.3);
  expect((await rig.asked()).outcome?.kind).toBe('admitted');
  expect(caller.told).toBe(0);
});

test('a renewal that cannot be written is refused', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  const caller = await rig.asked({ lease: 2 * SECOND });
  rig.ledger.failure = new Error('EIO');
  expect(await rig.admission.renew('', caller.id, MINUTE)).toMatchObject({ refusal: { reason: 'unstored' } });
  rig.ledger.failure = undefined;
  await rig.pass(0.5);
  expect(await rig.admission.renew('', caller.id, 2 * MINUTE)).toMatchObject({ kind: 'renewed' });
});

test('a snapshot is written when the ledger wants one, and knows the lease just granted', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(3)]))]);
  await rig.asked();
  const tree = rig.ledger.trees.get('g');
  if (tree === undefined) throw new Error('no ledger');
  tree.wantsSnapshot = true;
  await rig.asked();
  await settled();
  expect(tree.snapshots.map((snapshot) => snapshot.leases.length)).toEqual([2]);
});

test('without a ledger nothing is written and leases are answered at once', async () => {
  const rig = await rigged(ALL, { recording: false });
  expect(rig.ask({ group: 'lease' }).outcome?.kind).toBe('admitted');
  expect(rig.ask({ group: 'day' }).outcome?.kind).toBe('admitted');
  expect(rig.ledger.trees.get('lease')?.records).toEqual([]);
});

test('who waits for a bound that cannot be written is refused unstored at the end of its wait timeout, not expired', async () => {
  const rig = await rigged([settingsOf(group('day', [rolling(100, 3600 * SECOND)]))]);
  rig.ledger.failure = new Error('ENOSPC');
  const caller = rig.ask({ group: 'day', wait: SECOND });
  await rig.pass(2);
  expect(caller.refusal).toMatchObject({ reason: 'unstored', retryAt: expect.any(Number) as number });
  expect(rig.events.find(({ kind }) => kind === 'refused')).toMatchObject({ refusal: { reason: 'unstored' } });
});
