import { expect, test } from 'vitest';
import { type GroupSettings, MOVED } from '../../src/admission/admission.ts';
import type { Clock } from '../../src/admission/clock.ts';
import type { AdmissionEvent, ShardContext } from '../../src/admission/deps.ts';
import { LocalAdmission } from '../../src/admission/local-admission.ts';
import type { LeaderLease } from '../../src/coordination/coordinator.ts';
import type { GateEvent } from '../../src/core/events.ts';
import { Gate } from '../../src/core/gate/gate.ts';
import { DISTANT_PAST, type Instant, MINUTE, type Micros, NEVER, plus, SECOND } from '../../src/core/time.ts';
import { createLedger } from '../../src/ledger/log-ledger.ts';
import { MemoryStore } from '../../src/ledger/stores/memory.ts';
import { concurrency, group, START, spacing } from '../core/specs.ts';
import { DEFAULT_ADMISSION_LIMITS } from '../support/default-bounds.ts';
import { FakeClock, settled } from '../support/fakes/clock.ts';
import { FakeCoordinator } from '../support/fakes/coordinator.ts';
import { askOf, Caller, settingsOf } from './rig.ts';

const SHARD = 7;
const GROUP = 'g';

/** The shard of the tree `other`; every other tree is in {@link SHARD}. */
const OTHER_SHARD = 8;

/** A shard's clock, `behind` the process's. */
function behind(clock: FakeClock, by: Micros): Clock {
  return { now: () => plus(clock.now(), -by), epoch: (at) => clock.epoch(plus(at, by)), at: (when, wake) => clock.at(plus(when, by), wake) };
}

/** One replica's local admission, and what happens to it. */
class Replica {
  readonly admission: LocalAdmission;
  readonly notices: AdmissionEvent[] = [];
  readonly events: GateEvent[] = [];
  readonly #clock: FakeClock;
  readonly #store: MemoryStore;

  constructor(clock: FakeClock, store: MemoryStore, settings: readonly GroupSettings[]) {
    this.#clock = clock;
    this.#store = store;
    let bytes = 0;
    this.admission = new LocalAdmission({
      clock,
      coordinator: new FakeCoordinator(),
      ledger: createLedger({ store, clock, term: 0n }),
      settings,
      onGateEvent: (event) => this.events.push(event),
      onEvent: (notice) => this.notices.push(notice),
      random: (count) => Uint8Array.from({ length: count }, () => (bytes = (bytes * 5 + 17) % 251)),
      bounds: DEFAULT_ADMISSION_LIMITS,
      gate: (parts) => new Gate(parts),
      recording: true,
      defer: (run) => void setImmediate(run),
      shardOf: (root) => (root === 'other' ? OTHER_SHARD : SHARD),
    });
  }

  async gain(term: bigint, from: Instant, lag: Micros, barrier: Promise<void> = Promise.resolve()): Promise<void> {
    void this.gainOf(SHARD, lag, { term, from, until: () => NEVER, extend: () => undefined }, barrier);
    await settled();
  }

  /** The shard is decided here from now on, in a shard time that is `lag` behind the process's. Resolves once its trees are open. */
  gainOf(shard: number, lag: Micros, leaderLease: LeaderLease, barrier: Promise<void> = Promise.resolve()): Promise<void> {
    const clock = behind(this.#clock, lag);
    const store = this.#store;
    const shared = { append: store.append.bind(store), read: store.read.bind(store), trim: store.trim.bind(store), close: async () => {} };
    const ground: ShardContext = { clock, ledger: createLedger({ store: shared, clock, term: leaderLease.term }), leaderLease };
    return this.admission.openShard(shard, ground, barrier);
  }

  ask(more: Parameters<typeof askOf>[0] = {}): Caller {
    const caller = new Caller();
    caller.held = this.admission.acquire(askOf({ group: GROUP, ...more }), (outcome) => {
      caller.told++;
      caller.outcome = outcome;
      caller.at = this.#clock.now();
    });
    return caller;
  }

  async asked(more: Parameters<typeof askOf>[0] = {}): Promise<Caller> {
    const caller = this.ask(more);
    await settled();
    if (caller.outcome?.kind === 'admitted') caller.held.delivered();
    return caller;
  }
}

function two(settings: readonly GroupSettings[]) {
  const clock = new FakeClock(START);
  const store = new MemoryStore({ bytes: 1 << 24 });
  return { clock, a: new Replica(clock, store, settings), b: new Replica(clock, store, settings) };
}

const spaced = [settingsOf(group(GROUP, [spacing(10 * SECOND)]))];
const slots = [settingsOf(group(GROUP, [concurrency(1)]))];

test('A group whose shard is elsewhere is not unknown: its asks are told that it moved', async () => {
  const { a } = two(spaced);
  await a.admission.start();
  expect((await a.asked()).refusal).toBe(MOVED);
  expect((await a.asked({ group: 'none' })).refusal?.reason).toBe('unknown_group');
  expect(await a.admission.release({ caller: '', permit: 'g.1.0000000000000000', disposition: 'used' })).toMatchObject({ kind: 'refused' });
});

test('A shard that is handed over goes on exactly where it stopped, with everybody in line, and nobody is told a refusal', async () => {
  const { clock, a, b } = two(spaced);
  await Promise.all([a.admission.start(), b.admission.start()]);
  await a.gain(1n, DISTANT_PAST, 0);
  expect((await a.asked()).outcome?.kind).toBe('admitted');
  const first = await a.asked({ holder: 'first' });
  const second = await a.asked({ holder: 'second' });
  const places = [first, second].map((caller) => caller.held.arrival());
  await clock.advanceAsync(4 * SECOND);
  let halted = 0;
  await a.admission.seal(SHARD, () => halted++);
  expect(halted).toBe(1);
  expect([first.refusal, second.refusal]).toEqual([MOVED, MOVED]);
  expect(a.events.filter((event) => event.kind === 'refused')).toEqual([]);
  await b.gain(2n, clock.now(), 0);
  // Somebody new comes before them, and they come back in the wrong order.
  const late = await b.asked();
  const secondAgain = await b.asked({ since: places[1] });
  const firstAgain = await b.asked({ since: places[0] });
  await clock.advanceAsync(6 * SECOND);
  expect([firstAgain.seconds, secondAgain.seconds, late.seconds]).toEqual([10, undefined, undefined]);
  await clock.advanceAsync(20 * SECOND);
  expect([secondAgain.seconds, late.seconds]).toEqual([20, 30]);
});

test('A shard whose owner was lost begins no better than it can have ended', async () => {
  const { clock, a, b } = two(spaced);
  await Promise.all([a.admission.start(), b.admission.start()]);
  await a.gain(1n, DISTANT_PAST, 0);
  expect((await a.asked()).outcome?.kind).toBe('admitted');
  const waiting = await a.asked();
  a.admission.loseShard(SHARD, 1n);
  await settled();
  expect(waiting.refusal).toBe(MOVED);
  await b.gain(2n, plus(clock.now(), SECOND), 0);
  const again = await b.asked();
  await clock.advanceAsync(30 * SECOND);
  // The permit of the old term is on disk: its period is kept, and not much more.
  expect(again.seconds).toBeGreaterThanOrEqual(10);
  expect(again.seconds).toBeLessThan(11);
});

test('Instants are told in the time of the process, though the shard is half a minute behind', async () => {
  const { clock, a } = two(slots);
  await a.admission.start();
  await a.gain(1n, DISTANT_PAST, 30 * SECOND);
  const holder = await a.asked({ lease: MINUTE });
  expect(holder.permit.lease?.expiresAt).toBe(clock.now() + MINUTE);
  expect(holder.permit.grantedAt).toBe(clock.now());
  const waiting = await a.asked({ wait: 5 * SECOND });
  expect(waiting.held.position()?.expectedAt).toBe(NEVER);
  expect(waiting.held.arrival()?.arrivedAt).toBe(clock.now());
  expect(a.admission.group(GROUP)).toMatchObject({ oldestWaiterSince: clock.now(), leases: 1 });
  expect(a.admission.leases(GROUP, { size: 10, token: '' })).toMatchObject({ items: [{ expiresAt: clock.now() + MINUTE }] });
  await clock.advanceAsync(5 * SECOND);
  expect(waiting.refusal?.reason).toBe('expired');
  const renewed = await a.admission.renew('', holder.id, MINUTE);
  expect(renewed).toMatchObject({ kind: 'renewed', permit: { expiresAt: clock.now() + MINUTE } });
});

test('Nobody is admitted before the barrier has settled, and then by their old places', async () => {
  const { clock, a } = two(spaced);
  await a.admission.start();
  const barrier = Promise.withResolvers<void>();
  await a.gain(5n, START, 0, barrier.promise);
  const arrival = await a.asked();
  const old = await a.asked({ since: { arrivedAt: plus(START, -SECOND), order: 5 } });
  expect([arrival.outcome, old.outcome]).toEqual([undefined, undefined]);
  barrier.resolve();
  await clock.advanceAsync(60 * SECOND);
  expect(old.seconds).toBeLessThan(arrival.seconds as number);
});

test('A lease survives its owner, and the next one releases it', async () => {
  const { clock, a, b } = two(slots);
  await Promise.all([a.admission.start(), b.admission.start()]);
  await a.gain(1n, DISTANT_PAST, 0);
  const holder = await a.asked({ lease: MINUTE });
  a.admission.loseShard(SHARD, 1n);
  await b.gain(2n, plus(clock.now(), SECOND), 0);
  await clock.advanceAsync(2 * SECOND);
  const next = await b.asked();
  expect(next.outcome).toBeUndefined();
  expect(await b.admission.release({ caller: '', permit: holder.id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
  await settled();
  expect(next.outcome?.kind).toBe('admitted');
  expect(next.permit.lease?.fence).toBeGreaterThan(holder.permit.lease?.fence as bigint);
});

test('A tree whose chain a newer term writes is given up, and its waiters are told that it moved', async () => {
  const { a, b } = two(slots);
  await Promise.all([a.admission.start(), b.admission.start()]);
  await a.gain(1n, DISTANT_PAST, 0);
  const holder = await a.asked({ lease: MINUTE });
  const waiting = await a.asked();
  await b.gain(2n, DISTANT_PAST, 0);
  // The old owner does not know yet; its next record meets the newer one's.
  await a.admission.release({ caller: '', permit: holder.id, disposition: 'used' });
  await settled();
  expect(waiting.refusal).toBe(MOVED);
  expect((await a.asked()).refusal).toBe(MOVED);
});

/** A store whose reads wait until they are let through. */
class HeldStore extends MemoryStore {
  readonly reads: string[] = [];
  reading = 0;
  most = 0;
  held = true;
  #waiting: (() => void)[] = [];

  override async *read(subject: string, from: number): ReturnType<MemoryStore['read']> {
    this.reads.push(subject.replace(/^ledger\.\d+\./, ''));
    this.most = Math.max(this.most, ++this.reading);
    if (this.held) await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    yield* super.read(subject, from);
    this.reading--;
  }

  async release(): Promise<void> {
    for (const free of this.#waiting.splice(0)) free();
    await settled();
    await settled();
  }
}

test('Of many trees of a shard sixteen are opened at a time, those with callers first; the rest is not opened once the shard is lost, and is for the next term', async () => {
  const clock = new FakeClock(START);
  const store = new HeldStore({ bytes: 1 << 24 });
  const settings = Array.from({ length: 200 }, (_, at) => settingsOf(group(`g${at}`, [spacing(SECOND)])));
  const a = new Replica(clock, store, settings);
  await a.admission.start();
  await a.gain(1n, DISTANT_PAST, 0);
  expect(store.reads).toEqual(settings.slice(0, 16).map(({ spec }) => spec.name));
  const opening = a.admission.opening('g150');
  let opened = false;
  void opening?.then(() => {
    opened = true;
  });
  await store.release();
  expect(store.reads[16]).toBe('g150');
  await store.release();
  expect(opened).toBe(true);
  expect((await a.asked({ group: 'g150' })).outcome?.kind).toBe('admitted');
  expect([store.most, store.reads.length]).toEqual([16, 48]);
  const waited = a.admission.opening('g199');
  a.admission.loseShard(SHARD, 1n);
  await store.release();
  await waited;
  expect((await a.asked({ group: 'g199' })).refusal).toBe(MOVED);
  expect((await a.asked({ group: 'g150' })).refusal).toBe(MOVED);
  expect([store.reads.length, store.reading, clock.pending]).toEqual([48, 0, 0]);
  store.held = false;
  void a.gain(2n, plus(clock.now(), SECOND), 0);
  for (let turn = 0; turn < 40; turn++) await settled();
  expect(new Set(store.reads.slice(48)).size).toBe(200);
  const again = await a.asked({ group: 'g199' });
  await clock.advanceAsync(3 * SECOND);
  expect(again.outcome?.kind).toBe('admitted');
  expect(a.notices.filter(({ kind }) => kind !== 'recovered')).toEqual([]);
});

/** A term that began a second ago, with slots of shard time up to one second ahead, as a session renews them; asking for more waits for the next renewal. */
function renewing(clock: FakeClock, lag: Micros, term = 1n): LeaderLease {
  const until = () => plus(clock.now(), SECOND - lag);
  const extend = (now: Instant) => (now < until() ? undefined : new Promise<void>((resolve) => void clock.at(plus(clock.now(), SECOND / 4), resolve)));
  return { term, from: plus(clock.now(), -SECOND - lag), until, extend };
}

test.each([
  ['behind', 10 * MINUTE],
  ['ahead of', -10 * MINUTE],
])('A reload is applied at once, and changes no limit by itself, while shard time is ten minutes %s the process time', async (_where, lag) => {
  const { clock, a } = two(spaced);
  await a.admission.start();
  await a.gainOf(SHARD, lag, renewing(clock, lag));
  expect((await a.asked()).outcome?.kind).toBe('admitted');
  const next = await a.asked();
  await clock.advanceAsync(4 * SECOND);
  let refused: readonly string[] | undefined;
  void a.admission.reconfigure([settingsOf(group(GROUP, [spacing(20 * SECOND)]))]).then((answer) => {
    refused = answer;
  });
  await clock.advanceAsync(2 * SECOND);
  expect(refused).toEqual([]);
  await clock.advanceAsync(60 * SECOND);
  expect(next.seconds).toBe(20);
});

test('A shard that is gained while a reload waits for another shard is decided at once, by the settings of the reload once it is applied', async () => {
  const settings = (period: Micros) => [settingsOf(group(GROUP, [spacing(period)])), settingsOf(group('other', [spacing(period)]))];
  const { clock, a } = two(settings(SECOND));
  await a.admission.start();
  const begins = plus(clock.now(), MINUTE);
  await a.gainOf(SHARD, 0, { term: 1n, from: begins, until: () => NEVER, extend: () => undefined });
  let refused: readonly string[] | undefined;
  void a.admission.reconfigure(settings(20 * SECOND)).then((answer) => {
    refused = answer;
  });
  await settled();
  await a.gainOf(OTHER_SHARD, 0, { term: 1n, from: DISTANT_PAST, until: () => NEVER, extend: () => undefined });
  const first = await a.asked({ group: 'other' });
  expect(first.outcome?.kind).toBe('admitted');
  expect(refused).toBeUndefined();
  await clock.advanceAsync(MINUTE);
  expect(refused).toEqual([]);
  const [second, third] = [await a.asked({ group: 'other' }), await a.asked({ group: 'other' })];
  await clock.advanceAsync(30 * SECOND);
  expect([second.seconds, third.seconds]).toEqual([60, 80]);
});

test('A group does not move to a tree whose shard is in another time, since its limits would open early there', async () => {
  const alone = [settingsOf(group(GROUP, [spacing(MINUTE)])), settingsOf(group('other', []))];
  const moved = [settingsOf(group(GROUP, [spacing(MINUTE)], { parent: { group: 'other', share: undefined } })), settingsOf(group('other', []))];
  const { clock, a } = two(alone);
  await a.admission.start();
  await a.gainOf(SHARD, 10 * MINUTE, renewing(clock, 10 * MINUTE));
  await a.gainOf(OTHER_SHARD, 0, renewing(clock, 0));
  expect((await a.asked()).outcome?.kind).toBe('admitted');
  const [refused] = await a.admission.reconfigure(moved);
  expect(refused).toMatch(/times are 600 s apart: take it out in one revision/);
  const next = await a.asked();
  await clock.advanceAsync(2 * MINUTE);
  expect(next.seconds).toBe(60);
});

test.each([0, 2, 4, 6, 8, 10, 12, 14])('Shards that are lost and gained %i turns into a reload of thousands of groups go by the new settings', async (turn) => {
  const settings = (period: Micros) => [
    ...Array.from({ length: 3_000 }, (_, at) => settingsOf(group(`g${at}`, [spacing(period)]))),
    settingsOf(group('other', [spacing(period)])),
  ];
  const { clock, a, b } = two(settings(60 * SECOND));
  await Promise.all([a.admission.start(), b.admission.start()]);
  const leaderLease = (term: bigint, from: Instant = DISTANT_PAST): LeaderLease => ({ term, from, until: () => NEVER, extend: () => undefined });
  await a.gainOf(SHARD, 0, leaderLease(1n));
  const held = [a.ask({ group: 'g2999' }), a.ask({ group: 'g2999' })];
  let done = false;
  const change = a.admission.reconfigure(settings(5 * SECOND)).finally(() => {
    done = true;
  });
  const first = [a.ask({ group: 'g0' }), a.ask({ group: 'g0' })];
  for (let turns = 0; turns < 1_000 && !done; turns++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (turns === turn) {
      a.admission.loseShard(SHARD, 1n);
      void a.gainOf(SHARD, 0, leaderLease(2n));
      void a.gainOf(OTHER_SHARD, 0, leaderLease(2n));
    }
  }
  expect(await change).toEqual([]);
  await settled();
  for (const caller of [...held, ...first]) expect(caller.told).toBeLessThan(2);
  for (const name of ['g0', 'g1500', 'g2999', 'other']) {
    const callers = [a.ask({ group: name }), a.ask({ group: name })];
    await clock.advanceAsync(10 * SECOND);
    expect(callers.map(({ told }) => told)).toEqual([1, 1]);
  }
});
