import { expect, test } from 'vitest';
import type { GroupSettings } from '../../src/admission/admission.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { OpeningQueue } from '../../src/relay/opening-queue.ts';
import { settingsOf } from '../admission/rig.ts';
import { concurrency, group, rolling, START, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { type Fleet, launched } from './fleet.ts';

/** One each ten seconds. */
const spaced: readonly GroupSettings[] = [settingsOf(group('g', [spacing(10 * SECOND)]))];
const slots: readonly GroupSettings[] = [settingsOf(group('g', [concurrency(1)]))];
/** Its shard, in a fleet. */
const shard = 'g'.charCodeAt(0) % 4;

/** Those that were answered, in the order in which they were. */
async function admittedAfter(
  fleet: Fleet,
  callers: readonly { readonly told: number; readonly outcome: unknown }[],
  seconds: number,
): Promise<readonly number[]> {
  const order: number[] = [];
  for (let passed = 0; passed < seconds * 10; passed++) {
    await fleet.pass(0.1);
    callers.forEach(({ told }, index) => {
      if (told > 0 && !order.includes(index)) order.push(index);
    });
  }
  return order;
}

test('A caller is admitted by the one order of its group, whichever replica it reached', async () => {
  const fleet = await launched(spaced);
  const [a, b, c] = fleet.nodes;
  const callers = [];
  for (const node of [b, c, a, c, b]) {
    callers.push(node!.ask());
    await fleet.pass(0.01);
  }
  expect(await admittedAfter(fleet, callers, 60)).toEqual([0, 1, 2, 3, 4]);
  expect(callers.map(({ outcome }) => outcome?.kind)).toEqual(Array(5).fill('admitted'));
  const grants = callers.map(({ at }) => at as number);
  for (let next = 1; next < grants.length; next++) expect(grants[next]! - grants[next - 1]!).toBeGreaterThanOrEqual(10 * SECOND - 2_000);
});

test('Who is more urgent goes first over all replicas', async () => {
  const fleet = await launched(spaced);
  const [a, b, c] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  const callers = [b!.ask({ priority: 5 }), c!.ask({ priority: 1 }), a!.ask({ priority: 3 })];
  expect(await admittedAfter(fleet, callers, 40)).toEqual([1, 2, 0]);
});

test('Instants of another replica are told in the time of this one', async () => {
  const fleet = await launched(slots);
  const [, b] = fleet.nodes;
  const first = b!.ask({ lease: 30 * SECOND });
  await fleet.pass(0.01);
  const now = b!.clock.now();
  expect(first.permit.lease!.expiresAt - now).toBeGreaterThan(29.9 * SECOND);
  expect(first.permit.lease!.expiresAt - now).toBeLessThanOrEqual(30.01 * SECOND);
  expect(Math.abs(now - first.permit.grantedAt)).toBeLessThan(0.02 * SECOND);
  expect(typeof first.permit.lease!.fence).toBe('bigint');
  expect(b!.relay.admission.limitsFor('g', '')).toMatchObject([{ name: 'concurrency', used: 1, capacity: 1 }]);
});

test('A caller who leaves frees its place at the owner at once', async () => {
  const fleet = await launched(spaced);
  const [a, b, c] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  const [left, stays] = [b!.ask(), c!.ask()];
  await fleet.pass(0.01);
  left.held.cancel();
  await fleet.pass(10.1);
  expect([left.told, stays.outcome?.kind]).toEqual([0, 'admitted']);
});

test('A permit that was delivered is used; one whose caller left before it was written is given back', async () => {
  const fleet = await launched(slots);
  const [a, b, c] = fleet.nodes;
  b!.delivers = false;
  const lost = b!.ask();
  await fleet.pass(0.01);
  expect(lost.outcome?.kind).toBe('admitted');
  const next = c!.ask();
  await fleet.pass(1);
  expect(next.told).toBe(0);
  lost.held.cancel();
  await fleet.pass(0.01);
  expect(next.outcome?.kind).toBe('admitted');
  // Delivered: leaving it does nothing.
  next.held.cancel();
  const third = a!.ask();
  await fleet.pass(1);
  expect(third.told).toBe(0);
});

test('A grant that crosses a cancel is given back', async () => {
  const fleet = await launched(slots);
  const [a, b, c] = fleet.nodes;
  const holder = a!.ask();
  const [first, second] = [b!.ask(), c!.ask()];
  await fleet.pass(0.01);
  // Released and left in the same instant: the grant is on its way when the cancel leaves.
  await a!.relay.admission.release({ caller: '', permit: holder.id, disposition: 'used' });
  first.held.cancel();
  await fleet.pass(0.01);
  expect([first.told, second.outcome?.kind]).toEqual([0, 'admitted']);
});

test('A grant that comes too late is given back, and its caller asked for again: also where it has a request id', async () => {
  for (const requestId of [undefined, 'r']) {
    const fleet = await launched(spaced);
    const [a, b] = fleet.nodes;
    a!.ask();
    await fleet.pass(0.01);
    const caller = b!.ask({ ...(requestId !== undefined && { requestId }), wait: 60 * SECOND });
    await fleet.pass(9.9);
    fleet.bus.cut = (from) => from === 'a';
    await fleet.pass(3);
    fleet.bus.cut = () => false;
    await fleet.pass(1);
    expect([caller.told, caller.outcome?.kind]).toEqual([1, 'admitted']);
    // Decided anew, not long ago.
    expect(b!.clock.now() - caller.permit.grantedAt).toBeLessThan(1.1 * SECOND);
  }
});

test('A permit that nobody got is fetched by its request id through another replica, however old by then', async () => {
  const fleet = await launched(spaced);
  const [, b, c] = fleet.nodes;
  b!.delivers = false;
  const lost = b!.ask({ requestId: 'r' });
  await fleet.pass(0.01);
  lost.held.cancel();
  await fleet.pass(5);
  const fetched = c!.ask({ requestId: 'r' });
  await fleet.pass(0.1);
  expect([fetched.told, fetched.id]).toEqual([1, lost.id]);
});

test('A permit is renewed and released through any replica, and ends once', async () => {
  const fleet = await launched(slots);
  const [a, b, c] = fleet.nodes;
  const first = b!.ask();
  await fleet.pass(0.01);
  const renewing = c!.relay.admission.renew('', first.id, MINUTE);
  await fleet.pass(0.01);
  expect(await renewing).toMatchObject({ kind: 'renewed', permit: { id: first.id, duration: MINUTE } });
  const next = a!.ask();
  const releasing = [
    c!.relay.admission.release({ caller: '', permit: first.id, disposition: 'used' }),
    b!.relay.admission.release({ caller: '', permit: first.id, disposition: 'used' }),
  ];
  await fleet.pass(0.05);
  const ends = (await Promise.all(releasing)).map((outcome) => outcome.kind === 'released' && outcome.ended);
  expect(ends.sort()).toEqual([false, true]);
  expect(next.outcome?.kind).toBe('admitted');
});

test('Waiters go over to the next owner in their order, and nobody is told twice', async () => {
  for (const sealed of [true, false]) {
    const fleet = await launched(spaced);
    const [a, b, c] = fleet.nodes;
    const first = a!.ask();
    await fleet.pass(0.01);
    const callers = [];
    for (const node of [b, a, c, a, b, c]) {
      callers.push(node!.ask());
      await fleet.pass(0.01);
    }
    const handing = fleet.give(shard, b!, { sealed });
    await fleet.pass(0.5);
    await handing;
    expect(first.told).toBe(1);
    const late = c!.ask();
    expect(await admittedAfter(fleet, [...callers, late], 90)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(callers.map(({ told }) => told)).toEqual(Array(6).fill(1));
  }
});

test('Waiters of a dead owner wait on at the next, and those of a dead edge leave', async () => {
  const fleet = await launched(spaced);
  const [a, b, c] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  const [gone, second] = [a!.ask(), b!.ask()];
  await fleet.pass(0.01);
  const third = c!.ask();
  await fleet.pass(0.01);
  fleet.kill(a!);
  await fleet.pass(1);
  await fleet.give(shard, c!);
  const order = await admittedAfter(fleet, [gone, second, third], 45);
  expect(order.filter((index) => index !== 0)).toEqual([1, 2]);
});

test('An ask with a request id stands at the same place when it comes again through another replica after its first died', async () => {
  const fleet = await launched(spaced);
  const [a, b, c] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  b!.ask({ requestId: 'r' });
  await fleet.pass(0.01);
  const behind = a!.ask();
  fleet.kill(b!);
  await fleet.pass(4);
  const again = c!.ask({ requestId: 'r' });
  expect(await admittedAfter(fleet, [again, behind], 25)).toEqual([0, 1]);
});

test('Permits are told to a replica that is gone for little more than a second', async () => {
  const fleet = await launched([settingsOf(group('g', [spacing(0.4 * SECOND)]))]);
  const [, b, c] = fleet.nodes;
  for (let caller = 0; caller < 10; caller++) b!.ask();
  await fleet.pass(0.01);
  const behind = c!.ask();
  await fleet.pass(0.01);
  fleet.hears = (x, y) => x !== b && y !== b;
  fleet.bus.cut = (from, to) => from === 'b' || to.startsWith('to.b');
  await fleet.pass(1.7);
  expect(behind.told).toBe(1);
});

test('A replica that is not heard of for a second is passed over, and its waiters keep their places', async () => {
  const fleet = await launched(spaced);
  const [a, b, c] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  const first = b!.ask();
  await fleet.pass(0.01);
  const second = c!.ask();
  await fleet.pass(0.01);
  const third = c!.ask();
  await fleet.pass(0.01);
  const cut = () => {
    fleet.hears = (x, y) => x !== b && y !== b;
    fleet.bus.cut = (from, to) => from === 'b' || to.startsWith('to.b');
  };
  cut();
  await fleet.pass(10.2);
  expect([first.told, second.told]).toEqual([0, 1]);
  fleet.hears = () => true;
  fleet.bus.cut = () => false;
  await fleet.pass(10.2);
  expect([first.outcome?.kind, third.told]).toEqual(['admitted', 0]);
});

test('A replica that was given up begins anew under another address, with its callers at their places', async () => {
  const fleet = await launched(spaced);
  const [a, b, c] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  const [first, second] = [b!.ask(), c!.ask()];
  await fleet.pass(0.01);
  // A second caller of c's goes at 10 s: b's place is kept but passed over, and then given up.
  const third = c!.ask();
  fleet.hears = (x, y) => x !== b && y !== b;
  fleet.bus.cut = (from, to) => from === 'b' || to.startsWith('to.b');
  await fleet.pass(17);
  expect([first.told, second.told, third.told]).toEqual([0, 1, 0]);
  fleet.hears = () => true;
  fleet.bus.cut = () => false;
  await fleet.pass(1.5);
  expect(b!.instance).not.toBe('b-0');
  expect(fleet.nodes.flatMap((node) => node.events.filter(({ kind }) => kind === 'trouble'))).toEqual([]);
  expect(await admittedAfter(fleet, [first, third], 25)).toEqual([0, 1]);
});

test('Who watches is told its place at another replica', async () => {
  const fleet = await launched(spaced);
  const [a, b] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  const callers = [b!.ask(), b!.ask(), b!.ask()];
  expect(callers.map(({ held }) => held.position())).toEqual([undefined, undefined, undefined]);
  await fleet.pass(0.3);
  expect(callers.map(({ held }) => held.position()?.place)).toEqual([1, 2, 3]);
  const expected = callers[0]!.held.position()!.expectedAt - b!.clock.now();
  expect(Math.abs(expected - 9.7 * SECOND)).toBeLessThan(0.1 * SECOND);
  callers[0]!.held.cancel();
  await fleet.pass(0.5);
  expect(callers.map(({ held }) => held.position()?.place)).toEqual([undefined, 1, 2]);
});

test('The end of a session cancels its places and releases its leases at every owner', async () => {
  const fleet = await launched([settingsOf(group('g', [concurrency(1)])), settingsOf(group('h', [concurrency(1)]))]);
  const [, b, c] = fleet.nodes;
  await fleet.give('h'.charCodeAt(0) % 4, c!);
  await fleet.pass(0.3);
  const resuming = b!.relay.admission.resumeSession('', 's');
  await fleet.pass(0.05);
  expect(await resuming).toEqual([]);
  const held = [b!.ask({ session: 's' }), b!.ask({ group: 'h', session: 's' })];
  await fleet.pass(0.05);
  expect(held.map(({ outcome }) => outcome?.kind)).toEqual(['admitted', 'admitted']);
  const again = c!.relay.admission.resumeSession('', 's');
  await fleet.pass(0.05);
  expect((await again).map(({ id }) => id).sort()).toEqual(held.map(({ id }) => id).sort());
  const next = [c!.ask(), c!.ask({ group: 'h' })];
  await fleet.pass(0.05);
  b!.relay.admission.endSession('', 's', 0);
  c!.relay.admission.endSession('', 's', 0);
  await fleet.pass(0.05);
  expect(next.map(({ outcome }) => outcome?.kind)).toEqual(['admitted', 'admitted']);
});

test('While nobody decides an ask is held until its wait timeout ends, at least a second, and no more of them than the bound', async () => {
  const fleet = await launched(spaced, { bounds: { held: 2 } });
  const [, b] = fleet.nodes;
  fleet.place(shard, undefined);
  const [patient, hasty, tooMany] = [b!.ask({ wait: 5 * SECOND }), b!.ask({ wait: 0 }), b!.ask()];
  expect(tooMany.refusal).toMatchObject({ reason: 'undecided', retryAt: b!.clock.now() + SECOND });
  await fleet.pass(0.99);
  expect([patient.told, hasty.told]).toEqual([0, 0]);
  await fleet.pass(0.02);
  expect([patient.told, hasty.refusal?.reason]).toEqual([0, 'undecided']);
  await fleet.pass(4);
  expect(patient.refusal?.reason).toBe('undecided');
});

test.each([
  ['while nobody decides for it', false],
  ['while its place is at another replica', true],
])('An ask that is held for a group that vanishes from the file, %s, gets a refusal that can be retried, once', async (_when, decided) => {
  const fleet = await launched(slots);
  const [a, b] = fleet.nodes;
  a!.ask();
  if (!decided) fleet.place(shard, undefined);
  const held = b!.ask();
  await fleet.pass(0.1);
  expect(held.told).toBe(0);
  expect(await b!.relay.admission.reconfigure([settingsOf(group('h', []))])).toEqual([]);
  await fleet.pass(0.1);
  expect(held).toMatchObject({ told: 1, refusal: { reason: 'undecided', detail: expect.stringContaining('taken out of the configuration') } });
  expect(held.refusal?.retryAt).toBeGreaterThan(b!.clock.now());
  expect(b!.ask().refusal?.reason).toBe('unknown_group');
  expect(b!.relay.figures.remoteWaiters).toBe(0);
});

test('An owner that says nothing costs its caller 300 ms beyond its wait timeout', async () => {
  const fleet = await launched(spaced);
  const [, b] = fleet.nodes;
  fleet.bus.cut = () => true;
  const caller = b!.ask({ wait: 3 * SECOND });
  await fleet.pass(3.29);
  expect(caller.told).toBe(0);
  await fleet.pass(0.02);
  expect(caller.refusal?.reason).toBe('undecided');
});

test('Operators and people are answered through any replica, in its own time', async () => {
  const fleet = await launched([settingsOf(group('g', [spacing(10 * SECOND)])), settingsOf(group('h', [rolling(1, SECOND)]))]);
  const [, b, c] = fleet.nodes;
  const admission = b!.relay.admission;
  b!.ask();
  await fleet.pass(0.01);
  b!.ask({ holder: 'someone' });
  await fleet.pass(0.01);
  const settle = async <T>(pending: Promise<T>): Promise<T> => {
    await fleet.pass(0.05);
    return pending;
  };
  const page = { size: 10, token: '' };
  const waiters = await settle(admission.waiters('g', page));
  expect(waiters).toMatchObject({ items: [{ holder: 'someone', place: 1 }] });
  if ('reason' in waiters) throw new Error('refused');
  expect(Math.abs(waiters.items[0]!.since - b!.clock.now())).toBeLessThan(0.2 * SECOND);
  expect(await settle(admission.pause('g', undefined, undefined))).toBeUndefined();
  expect(await settle(c!.relay.admission.group('g'))).toMatchObject({ waiting: 1, pausedUntil: Number.POSITIVE_INFINITY });
  expect(await settle(admission.resume('g', undefined))).toBeUndefined();
  const request = { limits: new Map([['spacing', { kind: 'spacing' as const, spacing: SECOND, slack: 0 }]]), enforce: undefined, for: MINUTE };
  expect(await settle(admission.override('g', request))).toBeUndefined();
  expect(await settle(admission.explain({ group: 'g', key: '', costs: { requests: 1 } } as never))).toMatchObject({ group: 'g', admitted: false });
  const evicting = () => settle(admission.evictWaiter('g', waiters.items[0]!.id));
  expect([await evicting(), await evicting()]).toMatchObject([undefined, { reason: 'unknown_request' }]);
  expect(await settle(admission.group('none'))).toMatchObject({ reason: 'unknown_group' });
  await fleet.give('h'.charCodeAt(0) % 4, c!);
  await fleet.pass(0.3);
  expect((await settle(admission.groups())).map(({ name }) => name)).toEqual(['g', 'h']);
  fleet.place(shard, undefined);
  const undecided = admission.group('g');
  await fleet.pass(3.1);
  expect(await undecided).toMatchObject({ reason: 'undecided' });
});

test('Every replica names the same owner and term for a group, and those that live; where nobody decides it names nobody', async () => {
  const fleet = await launched([settingsOf(group('g', [spacing(SECOND)])), settingsOf(group('h', [spacing(SECOND)]))]);
  const [a, b, c] = fleet.nodes;
  const seen = async () =>
    Promise.all(
      fleet.nodes.map(async ({ relay }) => {
        const [one, all] = [relay.admission.group('g'), relay.admission.groups()];
        await fleet.pass(0.05);
        const view = await one;
        const listed = (await all).find(({ name }) => name === 'g')?.placement;
        expect('reason' in view ? view : view.placement).toEqual(listed);
        return listed;
      }),
    );
  const before = await seen();
  expect(before).toEqual(Array(3).fill({ shard, replica: 'a', term: fleet.owners.get(shard)!.term }));
  await fleet.give(shard, c!);
  await fleet.pass(0.3);
  const later = await seen();
  expect(later).toEqual(Array(3).fill({ shard, replica: 'c', term: fleet.owners.get(shard)!.term }));
  expect(later[0]!.term).toBeGreaterThan(before[0]!.term);
  const others = { revision: 1, hash: '', shards: 0, self: false };
  expect(b!.relay.admission.replicas()).toEqual([
    { ...others, name: 'a' },
    { ...others, name: 'b', self: true },
    { ...others, name: 'c' },
  ]);
  expect(a!.relay.admission.replicas()[0]).toEqual({ ...others, name: 'a', shards: 3, self: true });
  fleet.kill(c!);
  const groups = b!.relay.admission.groups();
  await fleet.pass(1.1);
  expect((await groups)[0]?.placement).toEqual({ shard, replica: '', term: 0n });
  expect(b!.relay.admission.replicas().map(({ name }) => name)).toEqual(['a', 'b']);
});

test('A frame that cannot be read is dropped and told of once, and an unknown operation is left out', async () => {
  const fleet = await launched(spaced);
  const [a, b] = fleet.nodes;
  const say = (text: string) => fleet.bus.publish('x', 'to.a-0', new TextEncoder().encode(text));
  const head = (seq: number, ops: readonly string[]) => [JSON.stringify({ from: 'x-0', to: 'a-0', seq, ack: 0, gap: false, now: 1 }), ...ops].join('\n');
  for (const text of ['', 'null', '{', '[]', '{"from":1}', '{"from":"x","to":"a-0","seq":-1,"ack":0,"now":0}', '\u0000']) say(text);
  await fleet.pass(0.01);
  expect(a!.events.filter(({ kind }) => kind === 'trouble')).toHaveLength(1);
  say(head(1, ['{"op":"fly"}', '{"op":"ask","wid":"x"}', 'nonsense', '{"op":"call","id":1,"method":"format","args":{}}']));
  await fleet.pass(0.01);
  expect(a!.events.filter(({ kind }) => kind === 'trouble')).toHaveLength(2);
  const caller = b!.ask();
  await fleet.pass(0.01);
  expect(caller.outcome?.kind).toBe('admitted');
});

test('A replica that is told to stop hands its shards over, and its callers are admitted where they went', async () => {
  const fleet = await launched(spaced);
  const [a] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  const [first, second] = [a!.ask(), a!.ask({ wait: MINUTE })];
  const draining = a!.relay.admission.drain(15 * SECOND);
  expect(a!.ask().refusal?.reason).toBe('draining');
  await fleet.pass(14);
  expect([first.outcome?.kind, second.told]).toEqual(['admitted', 0]);
  await fleet.pass(1.1);
  expect(second.refusal?.reason).toBe('draining');
  await draining;
});

test('Whose replica stops leaves no place behind at the owner', async () => {
  const fleet = await launched(spaced);
  const [a, b, c] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  const leaving = [b!.ask(), b!.ask(), b!.ask()];
  await fleet.pass(0.01);
  const stays = c!.ask();
  const draining = b!.relay.admission.drain(SECOND).then(() => b!.relay.close());
  await fleet.pass(1.1);
  await draining;
  expect(leaving.map(({ refusal }) => refusal?.reason)).toEqual(Array(3).fill('draining'));
  await fleet.pass(9);
  expect(stays.outcome?.kind).toBe('admitted');
});

test('Who came while nobody decided is asked in the order of coming once somebody does', async () => {
  const fleet = await launched(spaced);
  const [, b, c] = fleet.nodes;
  fleet.place(shard, undefined);
  const callers = Array.from({ length: 4 }, () => b!.ask());
  await fleet.give(shard, c!);
  expect(await admittedAfter(fleet, callers, 50)).toEqual([0, 1, 2, 3]);
});

test('What a dead edge was granted counts as used: its caller may have been told', async () => {
  const fleet = await launched(slots);
  const [, b, c] = fleet.nodes;
  b!.delivers = false;
  const holder = b!.ask({ lease: 30 * SECOND });
  await fleet.pass(0.01);
  expect(holder.outcome?.kind).toBe('admitted');
  const next = c!.ask();
  fleet.kill(b!);
  await fleet.pass(25);
  expect(next.told).toBe(0);
  await fleet.pass(6);
  expect(next.outcome?.kind).toBe('admitted');
});

test('A lease that nobody was told of is given back where its group went meanwhile', async () => {
  const fleet = await launched(slots);
  const [a, b, c] = fleet.nodes;
  for (const node of [a, b]) {
    node!.delivers = false;
    const lost = node!.ask({ lease: MINUTE });
    await fleet.pass(0.05);
    expect(lost.outcome?.kind).toBe('admitted');
    const heir = fleet.owners.get(shard)?.node === c ? a! : c!;
    const handing = fleet.give(shard, heir, { sealed: true });
    await fleet.pass(0.3);
    await handing;
    lost.held.cancel();
    await fleet.pass(0.05);
    const next = c!.ask();
    await fleet.pass(0.05);
    expect(next.outcome?.kind).toBe('admitted');
    void c!.relay.admission.release({ caller: '', permit: next.id, disposition: 'used' });
    await fleet.pass(0.05);
  }
});

test('A grant that is two seconds old when it comes is not told: its caller is asked for again', async () => {
  const fleet = await launched(spaced);
  const [a, b] = fleet.nodes;
  a!.ask();
  await fleet.pass(0.01);
  const caller = b!.ask();
  await fleet.pass(9.5);
  fleet.bus.cut = (from) => from === 'a';
  await fleet.pass(3.5);
  fleet.bus.cut = () => false;
  await fleet.pass(15);
  expect(caller.told).toBe(1);
  const toldAt = (caller.at as number) + 1_000 * SECOND;
  expect(toldAt - caller.permit.grantedAt).toBeLessThan(0.1 * SECOND);
});

test('Who stands before a tree that is being opened enters in the order that it had', async () => {
  const openingQueue = new OpeningQueue();
  const entered: string[] = [];
  const opened = Promise.withResolvers<void>();
  const wait = (name: string, order: number | undefined) => {
    const since = () => (order === undefined ? undefined : { arrivedAt: START, order });
    openingQueue.wait('g', opened.promise, { since, enter: () => entered.push(name) });
  };
  wait('new', undefined);
  wait('second', 2);
  wait('newer', undefined);
  wait('first', 1);
  opened.resolve();
  await settled();
  expect(entered).toEqual(['first', 'second', 'new', 'newer']);
});

test('A place that expired at its owner while its caller was away answers its refusal at any replica', async () => {
  const fleet = await launched(slots);
  const [a, b, c] = fleet.nodes;
  const holder = a!.ask({ lease: 60 * SECOND });
  await fleet.pass(0.01);
  const away = b!.ask({ requestId: 'r', wait: 2 * SECOND });
  await fleet.pass(0.5);
  away.held.cancel();
  await fleet.pass(5);
  await a!.admission.release({ caller: '', permit: holder.id, disposition: 'used' });
  const again = c!.ask({ requestId: 'r', wait: 2 * SECOND });
  await fleet.pass(0.1);
  expect(again.refusal?.reason).toBe('expired');
});

test('An ask that goes on through a replica whose clock is ahead waits to the end that its place has', async () => {
  const fleet = await launched(slots);
  const [a, b, c] = fleet.nodes;
  a!.ask({ lease: 60 * SECOND });
  await fleet.pass(0.01);
  const away = b!.ask({ requestId: 'r', wait: 20 * SECOND });
  await fleet.pass(0.5);
  away.held.cancel();
  await fleet.pass(1);
  const resumed = c!.ask({ requestId: 'r', wait: 0, resumes: 20 * SECOND });
  await fleet.pass(18);
  expect(resumed.outcome).toBeUndefined();
  await fleet.pass(1);
  expect(resumed.refusal?.reason).toBe('expired');
});

/** Holds back what a node says until it is let go. */
function heldBack(fleet: Fleet, node: string): () => void {
  const publish = fleet.bus.publish.bind(fleet.bus);
  const late: (() => void)[] = [];
  fleet.bus.publish = (from, subject, bytes) => (from === node ? void late.push(() => publish(from, subject, bytes)) : publish(from, subject, bytes));
  return () => {
    fleet.bus.publish = publish;
    for (const send of late) send();
  };
}

test('A lease that its caller got by its request id where its group went is not given back when the first answer comes at last', async () => {
  const fleet = await launched(slots);
  const [a, b] = fleet.nodes;
  const letGo = heldBack(fleet, 'a');
  const caller = b!.ask({ requestId: 'r', wait: MINUTE, lease: MINUTE });
  await fleet.pass(0.1);
  expect(a!.admission.group('g')).toMatchObject({ leases: 1 });
  await fleet.give(shard, b!);
  await fleet.pass(0.4);
  expect(caller.permit.lease!.fence >> 40n).toBeLessThan(fleet.owners.get(shard)!.term);
  letGo();
  await fleet.pass(0.5);
  const next = b!.ask({ wait: MINUTE });
  await fleet.pass(5);
  expect([caller.told, next.outcome]).toEqual([1, undefined]);
});

test('A lease that was fetched by its request id through a third replica is not given back when the first answer comes at last', async () => {
  const fleet = await launched(slots);
  const [a, b, c] = fleet.nodes;
  const letGo = heldBack(fleet, 'a');
  const first = b!.ask({ requestId: 'r', wait: MINUTE, lease: MINUTE });
  await fleet.pass(0.1);
  expect(a!.admission.group('g')).toMatchObject({ leases: 1 });
  await fleet.give(shard, c!);
  // Its connection breaks, and it comes back elsewhere.
  first.held.cancel();
  const again = c!.ask({ requestId: 'r', wait: MINUTE, lease: MINUTE });
  await fleet.pass(0.4);
  expect(again.permit.lease!.fence >> 40n).toBeLessThan(fleet.owners.get(shard)!.term);
  letGo();
  await fleet.pass(0.5);
  const next = a!.ask({ wait: MINUTE });
  await fleet.pass(5);
  expect([again.told, next.outcome]).toEqual([1, undefined]);
});

test('A lease that the owner before told by its request id through a third replica is not given back by the first, whose answer comes after that owner', async () => {
  const fleet = await launched(slots);
  const [, b, c] = fleet.nodes;
  const { cut } = fleet.bus;
  // What a says arrives at c alone; b's attempt is given up, unheard.
  const late: (() => void)[] = [];
  const publish = fleet.bus.publish.bind(fleet.bus);
  fleet.bus.publish = (from, subject, bytes) =>
    from === 'a' && subject === 'to.b-0' ? void late.push(() => publish(from, subject, bytes)) : publish(from, subject, bytes);
  const first = b!.ask({ requestId: 'r', wait: MINUTE, lease: MINUTE });
  await fleet.pass(0.1);
  fleet.bus.cut = (from) => from === 'b';
  first.held.cancel();
  const again = c!.ask({ requestId: 'r', wait: MINUTE, lease: MINUTE });
  await fleet.pass(0.1);
  expect(again.outcome?.kind).toBe('admitted');
  fleet.bus.cut = cut;
  await fleet.give(shard, c!);
  await fleet.pass(0.4);
  fleet.bus.publish = publish;
  for (const send of late) send();
  await fleet.pass(0.5);
  const next = c!.ask({ wait: MINUTE });
  await fleet.pass(5);
  expect(next.outcome).toBeUndefined();
});

test('A lease with a request id whose caller left before it was written is not given back where its group went: its caller may have it', async () => {
  const fleet = await launched(slots);
  const [, b, c] = fleet.nodes;
  b!.delivers = false;
  const lost = b!.ask({ requestId: 'r', wait: MINUTE, lease: 20 * SECOND });
  await fleet.pass(0.05);
  expect(lost.outcome?.kind).toBe('admitted');
  await fleet.give(shard, c!);
  await fleet.pass(0.4);
  const again = c!.ask({ requestId: 'r', wait: MINUTE, lease: 20 * SECOND });
  expect(again.id).toBe(lost.id);
  lost.held.cancel();
  const next = c!.ask({ wait: MINUTE });
  await fleet.pass(5);
  expect(next.outcome).toBeUndefined();
  // It is bounded by its lease.
  await fleet.pass(16);
  expect(next.outcome?.kind).toBe('admitted');
});

test('A grant without a request id that comes after its group went is given back, also of a caller with a name', async () => {
  for (const caller of ['', 'team-a']) {
    const fleet = await launched(slots);
    const [a, b, c] = fleet.nodes;
    const letGo = heldBack(fleet, 'a');
    const first = b!.ask({ caller, wait: MINUTE, lease: MINUTE });
    await fleet.pass(0.1);
    expect(a!.admission.group('g')).toMatchObject({ leases: 1 });
    first.held.cancel();
    await fleet.give(shard, c!);
    await fleet.pass(0.4);
    const next = c!.ask({ caller, wait: MINUTE });
    await fleet.pass(1);
    expect(next.outcome).toBeUndefined();
    letGo();
    await fleet.pass(0.5);
    expect(next.outcome?.kind).toBe('admitted');
  }
});
