import { expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rolling, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { rigged, settingsOf } from './rig.ts';

const SLOW = settingsOf(group('g', [spacing(5 * SECOND)]));

test('the same request id twice gets one permit', async () => {
  const rig = await rigged([SLOW]);
  const first = await rig.asked({ requestId: 'r' });
  const second = await rig.asked({ requestId: 'r' });
  expect(second.id).toBe(first.id);
  expect(second.permit).toBe(first.permit);
  const other = rig.ask({ requestId: 'r', caller: 'someone else' });
  expect(other.outcome).toBeUndefined();
});

test('two at once with one id stand in one place and both get the answer', async () => {
  const rig = await rigged([SLOW]);
  await rig.asked();
  const both = [rig.ask({ requestId: 'r' }), rig.ask({ requestId: 'r' })];
  expect(rig.waiting()).toBe(1);
  both[0]?.held.cancel();
  const third = rig.ask({ requestId: 'r' });
  await rig.pass(5);
  expect(both[0]?.outcome).toBeUndefined();
  expect(both[1]?.seconds).toBe(5);
  expect(third.id).toBe(both[1]?.id);
});

test('a caller who leaves is passed over, and finds its old place when it is back within 10 s', async () => {
  const rig = await rigged([SLOW]);
  await rig.asked();
  const away = rig.ask({ requestId: 'r' });
  const [behind, last] = [rig.ask(), rig.ask()];
  away.held.cancel();
  await rig.pass(6);
  expect(behind.seconds).toBe(5);
  const back = rig.ask({ requestId: 'r' });
  await rig.pass(10);
  expect([back.seconds, last.seconds]).toEqual([10, 15]);
  expect(away.told).toBe(0);
});

test('a caller who stays away for 10 s loses its place', async () => {
  const rig = await rigged([settingsOf(group('g', [spacing(30 * SECOND)]))]);
  await rig.asked();
  const away = rig.ask({ requestId: 'r' });
  const behind = rig.ask();
  away.held.cancel();
  await rig.pass(9.9);
  expect(rig.waiting()).toBe(2);
  await rig.pass(0.2);
  expect(rig.waiting()).toBe(1);
  await rig.pass(25);
  expect(behind.seconds).toBe(30);
});

test('other fields under the same id are malformed; another wait timeout is not', async () => {
  const rig = await rigged([SLOW]);
  await rig.asked();
  const first = rig.ask({ requestId: 'r', key: 'a', wait: MINUTE });
  for (const other of [{ key: 'b' }, { costs: { requests: 2 } }, { priority: 1 }, { lease: SECOND }]) {
    expect(rig.ask({ requestId: 'r', key: 'a', wait: MINUTE, ...other }).refusal?.reason).toBe('malformed');
  }
  const hasty = rig.ask({ requestId: 'r', key: 'a', wait: SECOND });
  await rig.pass(2);
  expect(hasty.refusal?.reason).toBe('expired');
  expect(first.outcome).toBeUndefined();
  await rig.pass(4);
  expect(first.seconds).toBe(5);
});

test('an answer that was not delivered can be fetched for 10 s, then it is given back', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(1, MINUTE)]))]);
  const lost = rig.ask({ requestId: 'r' });
  await settled();
  lost.held.cancel();
  await rig.pass(9);
  const again = rig.ask({ requestId: 'r' });
  expect(again.id).toBe(lost.id);
  again.held.cancel();
  const next = rig.ask();
  await rig.pass(9);
  expect(next.outcome).toBeUndefined();
  await rig.pass(2);
  expect(next.outcome?.kind).toBe('admitted');
});

test('a lease is found by its request id as long as it lives', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  const first = await rig.asked({ requestId: 'r', lease: 40 * SECOND });
  await rig.pass(35);
  expect((await rig.asked({ requestId: 'r', lease: 40 * SECOND })).id).toBe(first.id);
  await rig.pass(30);
  expect((await rig.asked({ requestId: 'r', lease: 40 * SECOND })).id).not.toBe(first.id);
});

test('release by request id cancels at once, waiting or admitted', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  await rig.asked({ requestId: 'holds' });
  const waits = rig.ask({ requestId: 'waits' });
  const last = rig.ask();
  expect(await rig.admission.releaseRequest('', 'g', 'waits')).toEqual({ kind: 'released', ended: true });
  expect(waits.refusal?.reason).toBe('cancelled');
  expect(await rig.admission.releaseRequest('', 'g', 'holds')).toEqual({ kind: 'released', ended: true });
  await settled();
  expect(last.outcome?.kind).toBe('admitted');
  expect(await rig.admission.releaseRequest('', 'g', 'holds')).toEqual({ kind: 'released', ended: false });
  expect(await rig.admission.releaseRequest('', 'nope', 'r')).toMatchObject({ refusal: { reason: 'unknown_group' } });
});

test('a place that expired while its caller was away answers its refusal, once, and does not begin anew', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  const holder = await rig.asked();
  const away = rig.ask({ requestId: 'r', wait: 2 * SECOND });
  away.held.cancel();
  await rig.pass(5);
  await rig.admission.release({ caller: '', permit: holder.id, disposition: 'used' });
  expect((await rig.asked({ requestId: 'r', wait: 2 * SECOND })).refusal?.reason).toBe('expired');
  expect((await rig.asked({ requestId: 'r', wait: 2 * SECOND })).outcome?.kind).toBe('admitted');
});

test('the refusal of a place whose caller stays away is forgotten after 10 s', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  await rig.asked({ lease: 10 * MINUTE });
  const away = rig.ask({ requestId: 'r', wait: SECOND });
  away.held.cancel();
  await rig.pass(12);
  const anew = rig.ask({ requestId: 'r', wait: 30 * SECOND });
  await settled();
  expect(anew.outcome).toBeUndefined();
  expect(rig.waiting()).toBe(1);
});

test('an ask that goes on keeps the end of its place, and is refused where its wait timeout is over and nothing is kept of it', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  const holder = await rig.asked({ lease: 10 * MINUTE });
  const first = rig.ask({ requestId: 'r', wait: 20 * SECOND });
  first.held.cancel();
  await rig.pass(5);
  // By this clock its wait timeout is over; the place knows better.
  const resumed = rig.ask({ requestId: 'r', wait: 0, resumes: 20 * SECOND });
  await rig.pass(14.9);
  expect(resumed.outcome).toBeUndefined();
  await rig.pass(0.2);
  expect(resumed.refusal?.reason).toBe('expired');
  await rig.admission.release({ caller: '', permit: holder.id, disposition: 'used' });
  expect((await rig.asked({ requestId: 'r', wait: 0, resumes: 20 * SECOND })).refusal?.reason).toBe('expired');
  expect((await rig.asked({ requestId: 'other', wait: SECOND, resumes: 20 * SECOND })).outcome?.kind).toBe('admitted');
});

test('a refusal is not kept, and ids are bounded', async () => {
  const rig = await rigged([SLOW], { bounds: { requests: 2 } });
  await rig.asked({ requestId: 'a' });
  expect((await rig.asked({ requestId: 'b', wait: 0 })).refusal?.reason).toBe('infeasible');
  const waiting = [rig.ask({ requestId: 'b' }), rig.ask({ requestId: 'c' })];
  expect(rig.ask({ requestId: 'd' }).refusal).toMatchObject({ reason: 'shed', limit: 'requests' });
  await rig.pass(11);
  expect(waiting.map((caller) => caller.seconds)).toEqual([5, 10]);
});
