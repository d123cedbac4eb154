import { expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rolling } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { rigged, settingsOf } from './rig.ts';

const SLOTS = [settingsOf(group('g', [concurrency(2)]))];
const IN = { session: 's', caller: 'c' };

test('TQ-9: a session with two leases ends: both are free, and what it still waited for takes nothing', async () => {
  const rig = await rigged(SLOTS);
  rig.admission.resumeSession('c', 's');
  await rig.asked(IN);
  await rig.asked(IN);
  const pending = rig.ask(IN);
  const others = [rig.ask(), rig.ask()];
  pending.held.cancel();
  rig.admission.endSession('c', 's', 0);
  await settled();
  expect(others.map((caller) => caller.outcome?.kind)).toEqual(['admitted', 'admitted']);
  expect(pending.told).toBe(0);
  expect(rig.waiting()).toBe(0);
});

test('places of an ended session that nobody left are answered as cancelled', async () => {
  const rig = await rigged(SLOTS);
  rig.admission.resumeSession('c', 's');
  await rig.asked();
  await rig.asked();
  const pending = [rig.ask(IN), rig.ask({ ...IN, requestId: 'r' })];
  rig.admission.endSession('c', 's', 0);
  await settled();
  expect(pending.map((caller) => caller.refusal?.reason)).toEqual(['cancelled', 'cancelled']);
});

test('TQ-11: a session that comes back within `resume` keeps its leases; else they are released then', async () => {
  const rig = await rigged(SLOTS);
  rig.admission.resumeSession('c', 's');
  const lease = await rig.asked(IN);
  rig.admission.endSession('c', 's', 0.5 * SECOND);
  await rig.pass(0.4);
  expect(rig.admission.resumeSession('c', 's').map((permit) => permit.id)).toEqual([lease.id]);
  await rig.pass(1);
  expect(await rig.admission.release({ caller: 'c', permit: lease.id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });

  const [one, two] = [await rig.asked(IN), await rig.asked(IN)];
  expect([one, two].map((caller) => caller.outcome?.kind)).toEqual(['admitted', 'admitted']);
  rig.admission.endSession('c', 's', 0.5 * SECOND);
  const next = rig.ask();
  await rig.pass(0.4);
  expect(next.outcome).toBeUndefined();
  await rig.pass(0.2);
  expect(next.outcome?.kind).toBe('admitted');
  expect(rig.admission.resumeSession('c', 's')).toEqual([]);
});

test('while a session is away, its named places are passed over and found again; unnamed ones are gone', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  rig.admission.resumeSession('c', 's');
  const holder = await rig.asked();
  const named = rig.ask({ ...IN, requestId: 'r' });
  rig.ask(IN);
  const behind = rig.ask();
  rig.admission.endSession('c', 's', 30 * SECOND);
  await rig.pass(15);
  expect(named.refusal?.reason).toBe('cancelled');
  expect(rig.waiting()).toBe(2);
  rig.admission.resumeSession('c', 's');
  const back = rig.ask({ ...IN, requestId: 'r' });
  await rig.admission.release({ caller: '', permit: holder.id, disposition: 'used' });
  await settled();
  expect(back.outcome?.kind).toBe('admitted');
  expect(behind.outcome).toBeUndefined();
});

test('the new stream of a session may open before the old one is known to be dead', async () => {
  const rig = await rigged(SLOTS);
  rig.admission.resumeSession('c', 's');
  const lease = await rig.asked(IN);
  expect(rig.admission.resumeSession('c', 's')).toHaveLength(1);
  rig.admission.endSession('c', 's', 0);
  await settled();
  expect(await rig.admission.renew('c', lease.id, MINUTE)).toMatchObject({ kind: 'renewed' });
  expect(rig.admission.resumeSession('c', 's')).toMatchObject([{ id: lease.id, duration: MINUTE }]);
});

test('a permit that was not delivered when its session ends is given back', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(1, MINUTE)]))]);
  rig.admission.resumeSession('c', 's');
  rig.ask(IN);
  await settled();
  expect(rig.used()).toBe(1);
  rig.admission.endSession('c', 's', 0);
  await settled();
  expect(rig.used()).toBe(0);
});

test('sessions are bounded', async () => {
  const rig = await rigged(SLOTS, { bounds: { sessions: 1 } });
  await rig.asked(IN);
  expect(rig.ask({ session: 'other' }).refusal).toMatchObject({ reason: 'shed', limit: 'sessions' });
  rig.admission.endSession('c', 's', 0);
  await settled();
  expect((await rig.asked({ session: 'other' })).outcome?.kind).toBe('admitted');
});
