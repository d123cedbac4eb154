import { expect, test } from 'vitest';
import { ONE_REQUEST } from '../../src/core/group.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rate, rolling, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { askOf, rigged, settingsOf } from './rig.ts';

test('a free slot of a horizon group is answered within the call', async () => {
  const rig = await rigged([settingsOf(group('g', [rate(10, SECOND, 10)]))]);
  const caller = rig.ask();
  expect(caller.outcome?.kind).toBe('admitted');
  expect(caller.id).toMatch(/^g~[0-9a-z]+~[\w-]{12}$/);
});

test('three asks of a 5 s spacing group go at 0, 5 and 10 s', async () => {
  const rig = await rigged([settingsOf(group('g', [spacing(5 * SECOND)]))]);
  const callers = [rig.ask(), rig.ask(), rig.ask()];
  await rig.pass(11);
  expect(callers.map((caller) => caller.seconds)).toEqual([0, 5, 10]);
});

test('an unknown group, an unknown class, a class beside a priority', async () => {
  const classes = new Map([['production', 1]]);
  const rig = await rigged([settingsOf(group('g', [rolling(1, SECOND)]), { priority: { classes, default: 5 } })]);
  expect(rig.ask({ group: 'nope' }).refusal?.reason).toBe('unknown_group');
  expect(rig.ask({ priorityClass: 'nope' }).refusal?.reason).toBe('malformed');
  expect(rig.ask({ priorityClass: 'production', priority: 1 }).refusal?.reason).toBe('malformed');
  expect(rig.ask({ priorityClass: 'production' }).outcome?.kind).toBe('admitted');
  const view = rig.admission.group('g');
  expect('reason' in view ? {} : view.counters).toMatchObject({ admitted: 1, refused: { malformed: 2 } });
});

test('wait timeouts and lease lives default and are cut to the maximum', async () => {
  const settings = settingsOf(group('g', [concurrency(1)]), { wait: { default: 2 * SECOND, max: 3 * SECOND }, lease: { default: SECOND, max: MINUTE } });
  const rig = await rigged([settings]);
  const first = await rig.asked({ lease: 3600 * SECOND });
  expect(first.permit.lease?.duration).toBe(MINUTE);
  const [byDefault, cut] = [rig.ask(), rig.ask({ wait: 60 * SECOND })];
  await rig.pass(2.5);
  expect(byDefault.refusal?.reason).toBe('expired');
  expect(cut.outcome).toBeUndefined();
  await rig.pass(1);
  expect(cut.refusal?.reason).toBe('expired');
});

test('X3: 1,000 wait, 900 abort: no slot is spent on them', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(10, SECOND)]))]);
  const callers = Array.from({ length: 1010 }, () => rig.ask());
  await settled();
  expect(callers.filter((caller) => caller.outcome !== undefined)).toHaveLength(10);
  for (const caller of callers.slice(10, 910)) caller.held.cancel();
  await settled();
  expect(rig.waiting()).toBe(100);
  await rig.pass(9.5);
  expect(callers.slice(910).filter((caller) => caller.outcome?.kind === 'admitted')).toHaveLength(90);
  await rig.pass(1);
  expect(callers.slice(910).every((caller) => caller.outcome?.kind === 'admitted')).toBe(true);
  expect(callers.slice(10, 910).every((caller) => caller.outcome === undefined)).toBe(true);
});

test('a grant that was not written to its caller is given back, once', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(1, MINUTE)])), settingsOf(group('w', [rolling(1, SECOND)]))]);
  for (const name of ['g', 'w']) {
    const first = rig.ask({ group: name });
    await settled();
    expect(first.outcome?.kind).toBe('admitted');
    const second = rig.ask({ group: name });
    first.held.cancel();
    first.held.cancel();
    await settled();
    expect(second.outcome?.kind).toBe('admitted');
    second.held.delivered();
    second.held.cancel();
    await settled();
    expect(rig.used(name)).toBe(1);
  }
});

test('a leased grant whose caller left while the disk wrote is given back', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  rig.ledger.stalled = true;
  const [first, second] = [rig.ask(), rig.ask()];
  await settled();
  expect(first.outcome).toBeUndefined();
  first.held.cancel();
  rig.ledger.release();
  await settled();
  expect(first.told).toBe(0);
  expect(second.outcome?.kind).toBe('admitted');
  expect(rig.ledger.trees.get('g')?.noted.map((record) => record.kind)).toEqual(['end']);
});

test('a lease is on disk before its caller is told', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(2)]))]);
  rig.ledger.stalled = true;
  const caller = rig.ask();
  await settled();
  expect(caller.outcome).toBeUndefined();
  rig.ledger.release();
  await settled();
  expect(caller.outcome?.kind).toBe('admitted');
  expect(rig.ledger.trees.get('g')?.records.map((record) => record.kind)).toEqual(['grant']);
});

test('renew and release: by the name of the permit only, once; a lapsed one is fenced', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)]))]);
  const caller = await rig.asked({ lease: 2 * SECOND });
  await rig.pass(1.5);
  const renewed = await rig.admission.renew('', caller.id, 2 * SECOND);
  expect(renewed).toMatchObject({ kind: 'renewed', permit: { id: caller.id, fence: caller.permit.lease?.fence } });
  await rig.pass(1.5);
  const forged = `${caller.id.slice(0, -1)}${caller.id.endsWith('0') ? '1' : '0'}`;
  expect(await rig.admission.release({ caller: '', permit: forged, disposition: 'used' })).toMatchObject({ refusal: { reason: 'unknown_permit' } });
  expect(await rig.admission.release({ caller: '', permit: 'nonsense', disposition: 'used' })).toMatchObject({ refusal: { reason: 'unknown_permit' } });
  expect(await rig.admission.release({ caller: '', permit: caller.id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
  expect(await rig.admission.release({ caller: '', permit: caller.id, disposition: 'used' })).toEqual({ kind: 'released', ended: false });
  const second = await rig.asked({ lease: SECOND });
  await rig.pass(1.1);
  expect(await rig.admission.release({ caller: '', permit: second.id, disposition: 'used' })).toMatchObject({ refusal: { reason: 'fenced' } });
  expect(await rig.admission.renew('', second.id, SECOND)).toMatchObject({ refusal: { reason: 'fenced' } });
});

test('a permit of which nothing is remembered: release ends nothing, renew knows nothing', async () => {
  const rig = await rigged([settingsOf(group('g', [rate(10, SECOND, 10)]))]);
  const caller = await rig.asked();
  expect(await rig.admission.release({ caller: '', permit: caller.id, disposition: 'used' })).toEqual({ kind: 'released', ended: false });
  expect(await rig.admission.renew('', caller.id, SECOND)).toMatchObject({ refusal: { reason: 'unknown_permit' } });
});

test('pushback: a dropped permit pauses its key, or the group, and never for longer than the maximum', async () => {
  const limits = [rate(1000, SECOND, 1000)];
  const rig = await rigged([
    settingsOf(group('g', limits)),
    settingsOf(group('whole', limits), { pushback: { scope: 'group', max: 2 * SECOND } }),
    settingsOf(group('leased', [concurrency(10)])),
  ]);
  const one = await rig.asked({ key: 'a' });
  await rig.admission.release({ caller: '', permit: one.id, disposition: 'dropped', retryAfter: 3600 * SECOND, key: 'a' });
  const [a, b] = [rig.ask({ key: 'a' }), rig.ask({ key: 'b' })];
  expect(b.outcome?.kind).toBe('admitted');
  expect(a.outcome).toBeUndefined();
  const other = await rig.asked({ group: 'whole', key: 'a' });
  await rig.admission.release({ caller: '', permit: other.id, disposition: 'dropped', retryAfter: 3600 * SECOND });
  const held = rig.ask({ group: 'whole', key: 'b' });
  const leased = await rig.asked({ group: 'leased', key: 'a' });
  await rig.admission.release({ caller: '', permit: leased.id, disposition: 'dropped', retryAfter: 5 * SECOND });
  const again = rig.ask({ group: 'leased', key: 'a' });
  await rig.pass(1.9);
  expect(held.outcome).toBeUndefined();
  await rig.pass(0.2);
  expect(held.seconds).toBeCloseTo(2, 3);
  expect(again.outcome).toBeUndefined();
  await rig.pass(3);
  expect(again.seconds).toBeCloseTo(5, 3);
  await rig.pass(60);
  expect(a.seconds).toBeCloseTo(60, 3);
});

test('answers go out in slices and in order; a cancel gets its turn between them', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(20_000, SECOND)]))], { recording: false });
  rig.ask({ costs: { requests: 20_000 } });
  const order: number[] = [];
  const held = Array.from({ length: 5000 }, (_, index) => rig.admission.acquire(askOf({ costs: ONE_REQUEST }), () => order.push(index)));
  expect(order).toHaveLength(0);
  rig.clock.advance(1.1 * SECOND);
  const first = order.length;
  expect(first).toBeGreaterThan(0);
  expect(first).toBeLessThan(200);
  held[4999]?.cancel();
  let turns = 0;
  while (order.length < 4999 && turns++ < 1000) {
    const before = order.length;
    await settled();
    expect(order.length - before).toBeLessThanOrEqual(256);
  }
  expect(order).toEqual(Array.from({ length: 4999 }, (_, index) => index));
  expect(rig.used()).toBe(4999);
});

test('a caller’s own deadline ends its wait, whatever the group’s default says', async () => {
  const rig = await rigged([settingsOf(group('g', [spacing(5 * SECOND)]), { wait: { default: MINUTE, max: MINUTE } })]);
  await rig.asked();
  const hurried = rig.ask({ waitMax: 2 * SECOND });
  expect(hurried.refusal?.reason).toBe('infeasible');
  const patient = rig.ask({ waitMax: 6 * SECOND });
  await rig.pass(7);
  expect(patient.seconds).toBe(5);
  const [early, late] = [rig.ask({ waitMax: 4 * SECOND }), rig.ask()];
  await rig.pass(3);
  expect([early.seconds, late.outcome]).toEqual([10, undefined]);
});
