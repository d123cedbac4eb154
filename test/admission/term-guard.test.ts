import { expect, test } from 'vitest';
import { TermGuard } from '../../src/admission/term-guard.ts';
import { type Instant, SECOND } from '../../src/core/time.ts';
import { LedgerFenced } from '../../src/ledger/ledger.ts';
import { concurrency, group, rate, rolling, spacing, t } from '../core/specs.ts';
import { FakeClock, settled } from '../support/fakes/clock.ts';
import { Rig, rigged, settingsOf } from './rig.ts';

const FAST = settingsOf(group('g', [rate(10, SECOND, 10)]));
const LEASED = settingsOf(group('l', [concurrency(1)]));

test('nothing is decided before the term begins', async () => {
  const rig = new Rig([FAST]);
  rig.coordinator.from = t(0.5);
  await rig.admission.start();
  const caller = rig.ask();
  await rig.pass(0.4);
  expect(caller.outcome).toBeUndefined();
  await rig.pass(0.2);
  expect(caller.seconds).toBeGreaterThanOrEqual(0.5);
});

test('the right begins with the term, also where the gate would go before (a clean stop)', async () => {
  const clock = new FakeClock(t(0));
  const leaderLease = { term: 2n, from: t(1), until: () => t(9), extend: () => undefined };
  const right = new TermGuard({ clock, leaderLease, lost: () => {} });
  expect(right.ready(clock.now())).toBeDefined();
  await clock.advanceAsync(0.9 * SECOND);
  expect(right.ready(clock.now())).toBeDefined();
  await clock.advanceAsync(0.1 * SECOND);
  expect(right.ready(clock.now())).toBeUndefined();
  await clock.advanceAsync(8 * SECOND);
  expect(right.ready(clock.now())).toBeDefined();
});

test('asks are held in order while the term is extended, also those without a wait timeout', async () => {
  const rig = await rigged([settingsOf(group('g', [rolling(2, SECOND)]))]);
  let go = (): void => {};
  rig.coordinator.extending = new Promise((resolve) => {
    go = resolve;
  });
  const callers = [rig.ask(), rig.ask({ wait: 0 }), rig.ask()];
  await settled();
  expect(callers.map((caller) => caller.outcome)).toEqual([undefined, undefined, undefined]);
  rig.coordinator.extending = undefined;
  go();
  await rig.pass(2);
  expect(callers.map((caller) => caller.outcome?.kind)).toEqual(['admitted', 'admitted', 'admitted']);
  expect(callers.map((caller) => caller.seconds)).toEqual([0, 0, 1]);
});

test('while nobody may decide, asks wait to the end of their wait timeout, and beyond the bound not at all', async () => {
  const rig = await rigged([FAST], { bounds: { before: 2 } });
  rig.coordinator.extending = new Promise(() => {});
  const callers = [rig.ask({ wait: 0 }), rig.ask({ wait: 3 * SECOND }), rig.ask()];
  expect(callers[2]?.refusal?.reason).toBe('undecided');
  await rig.pass(1.1);
  expect(callers[0]?.refusal?.reason).toBe('undecided');
  expect(callers[1]?.outcome).toBeUndefined();
  await rig.pass(2);
  expect(callers[1]?.refusal?.reason).toBe('undecided');
  expect(callers[1]?.refusal?.retryAt).toBeGreaterThan(rig.clock.now());
});

test('a term that is over is not used, whatever it says of extending', async () => {
  const rig = await rigged([FAST]);
  rig.coordinator.end = t(1);
  await rig.pass(2);
  const caller = rig.ask();
  await rig.pass(0.5);
  expect(caller.outcome).toBeUndefined();
});

test('the term is extended ahead of a grant that is due', async () => {
  const rig = await rigged([settingsOf(group('g', [spacing(5 * SECOND)]))]);
  await rig.asked();
  rig.ask();
  await rig.pass(4.5);
  const before = rig.coordinator.extensions;
  await rig.pass(0.45);
  expect(rig.coordinator.extensions).toBeGreaterThan(before);
});

test('a lost term: everybody is refused as undecided, arrivals too, and the process is told once', async () => {
  const rig = await rigged([FAST, LEASED]);
  await rig.asked({ group: 'l' });
  const waiting = rig.ask({ group: 'l' });
  rig.coordinator.lose(new Error('another process'));
  rig.coordinator.lose(new Error('another process'));
  await settled();
  expect(waiting.refusal?.reason).toBe('undecided');
  expect(rig.ask().refusal).toMatchObject({ reason: 'undecided' });
  expect((rig.ask().refusal?.retryAt ?? 0) > rig.clock.now()).toBe(true);
  expect(rig.notices.filter((notice) => notice.kind === 'lost')).toHaveLength(1);
  expect(await rig.admission.reconfigure([FAST])).toHaveLength(1);
});

test('a ledger that a newer term writes: the grant under way is refused, and so is everybody', async () => {
  const rig = await rigged([LEASED]);
  rig.ledger.failure = new LedgerFenced('newer term');
  const [first, second] = [rig.ask({ group: 'l' }), rig.ask({ group: 'l' })];
  await settled();
  expect([first, second].map((caller) => caller.refusal?.reason)).toEqual(['undecided', 'undecided']);
  expect(rig.notices.map((notice) => notice.kind)).toEqual(['lost']);
  expect(await rig.admission.renew('', 'l~1~00000000000000', undefined)).toMatchObject({ refusal: { reason: 'undecided' } });
});

test('a caller who leaves while nobody may decide spends nothing', async () => {
  const rig = await rigged([settingsOf(group('g', [concurrency(1)])), FAST].slice(0, 1));
  const first = await rig.asked();
  const [second, third] = [rig.ask(), rig.ask()];
  let go = (): void => {};
  rig.coordinator.extending = new Promise((resolve) => {
    go = resolve;
  });
  const released = rig.admission.release({ caller: '', permit: first.id, disposition: 'used' });
  second.held.cancel();
  rig.coordinator.extending = undefined;
  go();
  expect(await released).toEqual({ kind: 'released', ended: true });
  await settled();
  expect(second.told).toBe(0);
  expect(third.outcome?.kind).toBe('admitted');
  expect((rig.clock.now() as Instant) > 0).toBe(true);
});
