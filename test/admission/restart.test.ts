import { expect, test } from 'vitest';
import { HOUR, MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rate, rolling, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { Machine } from './machine.ts';
import { type Caller, Rig, settingsOf } from './rig.ts';

async function admittedAt(rig: Rig, seconds: number, name = 'g'): Promise<Caller> {
  const caller = rig.ask({ group: name });
  await rig.pass(seconds);
  if (caller.outcome?.kind === 'admitted') caller.held.delivered();
  return caller;
}

test('GQ-15: a grant at 0, killed at 1, up at 2, asked at 2: granted at 5 s or later', async () => {
  const machine = new Machine([settingsOf(group('g', [spacing(5 * SECOND)]))]);
  const before = await machine.start();
  expect((await admittedAt(before, 1)).seconds).toBeLessThan(0.1);
  const after = await machine.restartAfter(1);
  const caller = await admittedAt(after, 20);
  expect(caller.seconds).toBeGreaterThanOrEqual(5);
  expect(caller.seconds).toBeLessThan(8);
});

test('a horizon group starts drained after a crash: never a burst', async () => {
  const machine = new Machine([settingsOf(group('g', [rate(10, SECOND, 10)]))]);
  const before = await machine.start();
  for (let i = 0; i < 10; i++) expect((await before.asked()).outcome?.kind).toBe('admitted');
  const after = await machine.restartAfter(0.05);
  const callers = Array.from({ length: 30 }, () => after.ask());
  await after.pass(6);
  const times = callers.map((caller) => caller.seconds ?? Number.NaN);
  expect(Math.min(...times)).toBeGreaterThan(0.1);
  expect(times.filter((at) => at < 1)).toHaveLength(0);
  expect(times.every((at) => at < 6)).toBe(true);
});

test('leases survive a crash: they hold their slots, can be renewed and released, and fences grow', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(2)]))]);
  const before = await machine.start();
  const [one, two] = [await before.asked({ lease: MINUTE, holder: 'one' }), await before.asked({ lease: MINUTE, holder: 'two' })];
  const after = await machine.restartAfter(2);
  const third = after.ask();
  await after.pass(3);
  expect(third.outcome).toBeUndefined();
  expect(await after.admission.renew('', one.id, MINUTE)).toMatchObject({ kind: 'renewed', permit: { fence: one.permit.lease?.fence } });
  expect(await after.admission.release({ caller: '', permit: two.id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
  await settled();
  expect(third.permit.lease?.fence).toBeGreaterThan(two.permit.lease?.fence ?? 0n);
  const leases = after.admission.leases('g', { size: 10, token: '' });
  expect('items' in leases && leases.items.map((lease) => lease.id)).toEqual([one.id, third.id]);
});

test('forwarded, then killed: their slots are held back for one lease length from the start, by a name that says why', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(3)]))]);
  const before = await machine.start();
  const callers = [];
  for (let i = 0; i < 3; i++) callers.push(await before.asked({ reported: true, lease: 10 * SECOND }));
  await before.pass(4);
  for (const { id } of callers) await before.admission.renew('', id, 10 * SECOND);
  const after = await machine.restartAfter(1);
  const waiting = after.ask();
  const begun = machine.clock.now();
  await after.pass(1);
  const leases = after.admission.leases('g', { size: 10, token: '' });
  expect('items' in leases && leases.items.map(({ holder, costs }) => ({ holder, costs }))).toEqual([
    { holder: 'forwarded before the restart', costs: { requests: 3 } },
  ]);
  await after.pass(20);
  expect((waiting.at ?? 0) - begun).toBeGreaterThanOrEqual(9 * SECOND);
  expect((waiting.at ?? Number.POSITIVE_INFINITY) - begun).toBeLessThan(11.5 * SECOND);
});

/** Seconds from the start of the first process after a crash until a caller is admitted; the second is killed after 7 s, too. */
async function heldBackOverTwoCrashes(machine: Machine): Promise<number> {
  const first = await machine.restartAfter(1);
  const begun = machine.clock.now();
  const lost = first.ask();
  await first.pass(7);
  expect(lost.outcome).toBeUndefined();
  const second = await machine.restartAfter(0.5);
  const waiting = second.ask();
  await second.pass(30);
  return ((waiting.at ?? Number.POSITIVE_INFINITY) - begun) / SECOND;
}

test('forwarded, then killed twice within one lease length: held back for one length from the first start, not from each', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(3)]))]);
  const before = await machine.start();
  for (let i = 0; i < 3; i++) await before.asked({ reported: true, lease: 10 * SECOND });
  const held = await heldBackOverTwoCrashes(machine);
  expect(held).toBeGreaterThanOrEqual(9);
  expect(held).toBeLessThan(11.5);
});

test('a lease that was renewed is held for one length from the first start after a crash, however many follow', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(1)]))]);
  const before = await machine.start();
  const { id } = await before.asked({ lease: 10 * SECOND });
  await before.pass(4);
  await before.admission.renew('', id, 10 * SECOND);
  const held = await heldBackOverTwoCrashes(machine);
  expect(held).toBeGreaterThanOrEqual(9);
  expect(held).toBeLessThan(11.5);
});

test('a lease that its holder renews after the first of two crashes lives on after the second', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(1)]))]);
  const before = await machine.start();
  const { id } = await before.asked({ lease: 10 * SECOND });
  const first = await machine.restartAfter(1);
  await first.pass(7);
  expect((await first.admission.renew('', id, 10 * SECOND)).kind).toBe('renewed');
  const second = await machine.restartAfter(1);
  const waiting = second.ask();
  await second.pass(8.5);
  expect(waiting.outcome).toBeUndefined();
  expect((await second.admission.renew('', id, 10 * SECOND)).kind).toBe('renewed');
});

test('forwarded, then stopped in order: the next start holds nothing back', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(3)]))]);
  const before = await machine.start();
  for (let i = 0; i < 3; i++) {
    const caller = await before.asked({ reported: true, lease: 10 * SECOND });
    await before.admission.release({ caller: '', permit: caller.id, disposition: 'used' });
  }
  await before.admission.drain(SECOND);
  const after = await machine.restartAfter(0.5);
  const again = [after.ask(), after.ask(), after.ask()];
  await after.pass(0.5);
  expect(again.map((caller) => caller.outcome?.kind)).toEqual(['admitted', 'admitted', 'admitted']);
});

test('TQ-10: leases nobody renews after a restart lapse, and all slots are free again', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(3)]))]);
  const before = await machine.start();
  for (let i = 0; i < 3; i++) await before.asked({ lease: 10 * SECOND });
  const after = await machine.restartAfter(1);
  await after.pass(25);
  const again = [after.ask(), after.ask(), after.ask()];
  await settled();
  expect(again.map((caller) => caller.outcome?.kind)).toEqual(['admitted', 'admitted', 'admitted']);
});

test('a clean stop loses nothing: what was left is there at once, and what was spent is spent', async () => {
  const machine = new Machine([settingsOf(group('g', [rolling(10, HOUR)])), settingsOf(group('fast', [rate(10, SECOND, 10)]))]);
  const before = await machine.start();
  for (let i = 0; i < 6; i++) await before.asked();
  await before.admission.drain(SECOND);
  const after = await machine.restartAfter(0.5);
  const callers = Array.from({ length: 5 }, () => after.ask());
  const fast = Array.from({ length: 10 }, () => after.ask({ group: 'fast' }));
  await after.pass(1);
  expect(callers.filter((caller) => caller.outcome?.kind === 'admitted')).toHaveLength(4);
  expect(fast.every((caller) => caller.outcome?.kind === 'admitted')).toBe(true);
});

test('what was spent before a clean stop still counts after a snapshot and a crash', async () => {
  const machine = new Machine([settingsOf(group('g', [rolling(100, HOUR)]))]);
  const first = await machine.start();
  for (let i = 0; i < 60; i++) await first.asked();
  await first.admission.drain(SECOND);
  const second = await machine.restartAfter(1);
  for (let i = 0; i < 10; i++) await second.asked();
  await second.pass(70);
  for (let i = 0; i < 10; i++) {
    await second.asked();
    await second.pass(1);
  }
  const third = await machine.restartAfter(5);
  const callers = Array.from({ length: 100 }, () => third.ask({ wait: 10 * SECOND }));
  await third.pass(30);
  const more = callers.filter((caller) => caller.outcome?.kind === 'admitted').length;
  expect(more).toBeLessThanOrEqual(20);
  expect(more).toBeGreaterThanOrEqual(1);
});

test('pauses and overrides survive a crash', async () => {
  const machine = new Machine([settingsOf(group('g', [rolling(5, HOUR)])), settingsOf(group('p', [rolling(5, HOUR)]))]);
  const before = await machine.start();
  const limits = new Map([['window', { kind: 'window', permits: 1, per: HOUR } as const]]);
  expect(await before.admission.override('g', { limits, enforce: undefined, for: HOUR })).toBeUndefined();
  expect(await before.admission.pause('p', undefined, undefined)).toBeUndefined();
  const after = await machine.restartAfter(2);
  const callers = [after.ask(), after.ask(), after.ask({ group: 'p' })];
  await after.pass(60);
  expect(callers.map((caller) => caller.outcome?.kind)).toEqual(['admitted', undefined, undefined]);
});

test('a process that lost its term decides nothing more, and says so', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(1)])), settingsOf(group('fast', [rate(10, SECOND, 10)]))]);
  const before = await machine.start();
  await before.asked({ group: 'fast' });
  const after = await machine.restartAfter(0.1);
  const old = before.ask({ group: 'fast' });
  await before.pass(3);
  const lease = before.ask();
  await before.pass(3);
  expect(lease.refusal?.reason).toBe('undecided');
  expect(old.outcome).toBeDefined();
  expect(before.notices.map((notice) => notice.kind)).toEqual(['lost']);
  expect((await admittedAt(after, 1)).outcome?.kind).toBe('admitted');
});

test('a group that moved under another keeps what it spent through a crash', async () => {
  const a = group('a', [rolling(2, HOUR)]);
  const b = group('b', [rolling(100, HOUR)]);
  const machine = new Machine([settingsOf(a), settingsOf(b)]);
  const before = await machine.start();
  for (let i = 0; i < 2; i++) await before.asked({ group: 'a' });
  const moved = [settingsOf({ ...a, parent: { group: 'b', share: undefined } }), settingsOf(b)];
  expect(await before.admission.reconfigure(moved)).toEqual([]);
  const second = new Machine(moved);
  Object.assign(second, { clock: machine.clock, registers: machine.registers, disk: machine.disk });
  await machine.clock.advanceAsync(2 * SECOND);
  const after = await second.start();
  const [caller, other] = [after.ask({ group: 'a', wait: MINUTE }), after.ask({ group: 'b' })];
  await after.pass(30);
  expect(caller.outcome?.kind).not.toBe('admitted');
  expect(other.outcome?.kind).toBe('admitted');
});

test('a group that is taken out and put back has spent what it spent', async () => {
  const spec = settingsOf(group('g', [rolling(5, HOUR)]));
  const fast = settingsOf(group('fast', [rate(10, SECOND, 10)]));
  const other = settingsOf(group('other', [rolling(5, HOUR)]));
  const machine = new Machine([spec, fast, other]);
  const rig = await machine.start();
  for (let i = 0; i < 3; i++) await rig.asked();
  for (let i = 0; i < 10; i++) await rig.asked({ group: 'fast' });
  expect(await rig.admission.reconfigure([other])).toEqual([]);
  expect(rig.ask().refusal?.reason).toBe('unknown_group');
  const wrong = [spec, fast, settingsOf({ ...other.spec, parent: { group: 'nope', share: undefined } })];
  expect(await rig.admission.reconfigure(wrong)).toHaveLength(1);
  expect(await rig.admission.reconfigure([spec, fast, other])).toEqual([]);
  const callers = Array.from({ length: 5 }, () => rig.ask({ wait: MINUTE }));
  const burst = Array.from({ length: 10 }, () => rig.ask({ group: 'fast', wait: 0 }));
  await rig.pass(0.05);
  expect(burst.filter((caller) => caller.outcome?.kind === 'admitted')).toHaveLength(0);
  await rig.pass(1);
  expect(callers.filter((caller) => caller.outcome?.kind === 'admitted')).toHaveLength(2);
});

test('what a crash costs is noticed at the next start, and nothing of it after a clean stop', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(3)])), settingsOf(group('idle', [concurrency(1)]))]);
  const first = await machine.start();
  expect(first.notices).toEqual([]);
  await admittedAt(first, 1);
  await admittedAt(first, 1);
  const crashed = await machine.restartAfter(1);
  expect(crashed.notices).toEqual([{ kind: 'recovered', trees: 2, crashed: 2, leases: 2, bounds: 0, heldFor: expect.any(Number) as number, shard: undefined }]);
  const draining = crashed.admission.drain(0);
  await machine.clock.advanceAsync(2 * SECOND);
  await draining;
  const stopped = await machine.start();
  expect(stopped.notices).toMatchObject([{ kind: 'recovered', trees: 2, crashed: 0, leases: 2 }]);
});

test('a lease that was not renewed ends after a crash when its holder was told it would', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(1)]))]);
  const before = await machine.start();
  const { permit } = await before.asked({ lease: 20 * SECOND });
  const after = await machine.restartAfter(2.3);
  const waiting = after.ask();
  await after.pass(40);
  expect((waiting.at ?? 0) - (permit.lease?.expiresAt ?? 0)).toBeGreaterThanOrEqual(0);
  expect((waiting.at ?? Number.POSITIVE_INFINITY) - (permit.lease?.expiresAt ?? 0)).toBeLessThan(0.1 * SECOND);
});

test('a lease that was renewed ends one length after the new start at the latest, and never before its holder was told', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(1)]))]);
  const before = await machine.start();
  const { id } = await before.asked({ lease: 20 * SECOND });
  await before.pass(5);
  const renewed = await before.admission.renew('', id, undefined);
  const told = renewed.kind === 'renewed' ? renewed.permit.expiresAt : 0;
  const after = await machine.restartAfter(2);
  const begun = machine.clock.now();
  const waiting = after.ask();
  await after.pass(60);
  expect((waiting.at ?? 0) - told).toBeGreaterThanOrEqual(0);
  expect((waiting.at ?? Number.POSITIVE_INFINITY) - begun).toBeLessThan(21.5 * SECOND);
});

test('a renewal for longer than before outlasts a crash, though the end on disk was late enough', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(1)]))]);
  const before = await machine.start();
  const { id } = await before.asked({ lease: 30 * SECOND });
  await before.pass(1);
  await before.admission.renew('', id, 5 * SECOND);
  await before.pass(1);
  const renewed = await before.admission.renew('', id, 25 * SECOND);
  const told = renewed.kind === 'renewed' ? renewed.permit.expiresAt : 0;
  const after = await machine.restartAfter(0.5);
  const waiting = after.ask();
  await after.pass(60);
  expect(waiting.at).toBeGreaterThanOrEqual(told);
});

test('of two renewals at once none is told before the disk has it', async () => {
  const rig = new Rig([settingsOf(group('g', [concurrency(1)]))]);
  await rig.admission.start();
  const { id } = await rig.asked({ lease: 10 * SECOND });
  await rig.pass(5);
  rig.ledger.stalled = true;
  const told: string[] = [];
  const renewals = [1, 2].map(() => rig.admission.renew('', id, undefined).then(({ kind }) => told.push(kind)));
  await settled();
  expect(told).toEqual([]);
  rig.ledger.release();
  await Promise.all(renewals);
  expect(told).toEqual(['renewed', 'renewed']);
});

test('after a renewal that could not be written the next one is not told without the disk either', async () => {
  const rig = new Rig([settingsOf(group('g', [concurrency(1)]))]);
  await rig.admission.start();
  const { id } = await rig.asked({ lease: 10 * SECOND });
  await rig.pass(5);
  const renew = async () => {
    const renewal = rig.admission.renew('', id, undefined);
    await rig.pass(0.5);
    return renewal;
  };
  rig.ledger.failure = new Error('no room');
  expect(await renew()).toMatchObject({ kind: 'refused', refusal: { reason: 'unstored' } });
  expect(await renew()).toMatchObject({ kind: 'refused', refusal: { reason: 'unstored' } });
  rig.ledger.failure = undefined;
  expect(await renew()).toMatchObject({ kind: 'renewed' });
});

test.each(['a crash', 'a clean stop'])('after %s the request id of a live lease gets the same permit, with what is left of it', async (how) => {
  const machine = new Machine([settingsOf(group('g', [concurrency(1)]))]);
  const before = await machine.start();
  const asked = { requestId: 'job', caller: 'mine', lease: 20 * SECOND, key: 'k', costs: { requests: 1 } };
  const first = await before.asked(asked);
  if (how === 'a clean stop') await before.admission.drain(SECOND);
  const after = await machine.restartAfter(2);
  await after.pass(2);
  const again = await after.asked(asked);
  expect(again.id).toBe(first.id);
  expect(again.permit.lease).toMatchObject({ fence: first.permit.lease?.fence, expiresAt: first.permit.lease?.expiresAt });
  expect(again.permit.lease?.duration).toBe((first.permit.lease?.expiresAt ?? 0) - machine.clock.now());
  expect(after.ask({ ...asked, costs: { requests: 0 } }).refusal?.reason).toBe('malformed');
  expect((await after.asked({ ...asked, caller: 'other', wait: 0 })).outcome?.kind).not.toBe('admitted');
  expect(await after.admission.releaseRequest('other', 'g', 'job')).toEqual({ kind: 'released', ended: false });
  expect(await after.admission.releaseRequest('mine', 'g', 'job')).toEqual({ kind: 'released', ended: true });
  expect((await after.asked({ wait: 0 })).outcome?.kind).toBe('admitted');
});

test('a request id that came through a restart is forgotten with its lease, and may then be asked anew', async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(1)]))]);
  const before = await machine.start();
  const first = await before.asked({ requestId: 'job', lease: 20 * SECOND });
  const after = await machine.restartAfter(2);
  await after.pass(30);
  const anew = await after.asked({ requestId: 'job', lease: 20 * SECOND });
  expect(anew.permit.serial).not.toBe(first.permit.serial);
});

test("a lease of a session that comes back by its request id after a restart is the session's again", async () => {
  const machine = new Machine([settingsOf(group('g', [concurrency(1)]))]);
  const before = await machine.start();
  const asked = { requestId: 'job', session: 's', lease: MINUTE };
  const first = await before.asked(asked);
  const after = await machine.restartAfter(2);
  await after.pass(2);
  after.admission.resumeSession('', 's');
  expect((await after.asked(asked)).id).toBe(first.id);
  after.admission.endSession('', 's', 0);
  await settled();
  expect((await after.asked({ wait: 0 })).outcome?.kind).toBe('admitted');
});
