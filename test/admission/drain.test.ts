import { expect, test } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { concurrency, group, rate, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { rigged, settingsOf } from './rig.ts';

test('X11: arrivals are refused, those held go until the grace ends, then the rest; the state is sealed', async () => {
  const rig = await rigged([settingsOf(group('g', [spacing(5 * SECOND)])), settingsOf(group('free', [rate(1, SECOND)]))]);
  const callers = [rig.ask(), rig.ask(), rig.ask(), rig.ask()];
  let drained = false;
  const end = rig.admission.drain(12 * SECOND).then(() => {
    drained = true;
  });
  await settled();
  const arrival = rig.ask({ group: 'free' });
  expect(arrival.refusal).toMatchObject({ reason: 'draining' });
  expect(arrival.refusal?.retryAt).toBeDefined();
  await rig.pass(11.9);
  expect(callers.map((caller) => caller.seconds)).toEqual([0, 5, 10, undefined]);
  expect(drained).toBe(false);
  await rig.pass(0.2);
  await end;
  expect(callers[3]?.refusal?.reason).toBe('draining');
  expect(rig.ledger.trees.get('g')?.sealed?.limits).toHaveLength(1);
  expect(rig.coordinator.left).toBe(true);
  expect(rig.ledger.closed).toBe(true);
  expect(rig.ask().refusal?.reason).toBe('draining');
});

test('a drain ends as soon as nobody is held', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  const lease = await rig.asked();
  const last = rig.ask();
  const end = rig.admission.drain(3600 * SECOND);
  await settled();
  expect(await rig.admission.release({ caller: '', permit: lease.id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
  await end;
  expect(last.outcome?.kind).toBe('admitted');
  expect(rig.ledger.trees.get('g')?.snapshots.at(-1)?.leases).toHaveLength(1);
});

test('a disk that fails or hangs does not hold up the end', async () => {
  const failing = await rigged([settingsOf(group('g', [rate(1, SECOND)]))]);
  failing.ledger.failure = new Error('EIO');
  await failing.admission.drain(SECOND);
  expect(failing.notices.map((notice) => notice.kind)).toEqual(['seal_failed']);
  const hanging = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  hanging.ledger.stalled = true;
  const caller = hanging.ask();
  const end = hanging.admission.drain(SECOND);
  await hanging.pass(30);
  await end;
  expect(caller.refusal?.reason).toBe('draining');
  expect(hanging.ledger.closed).toBe(true);
});
