import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Coordinator, type LeaderLease, LeadershipLost } from '../../src/coordination/coordinator.ts';
import { MemoryRegisters, type RegisterDisk } from '../../src/coordination/registers/memory.ts';
import {
  decodeTermRecord,
  encodeTermRecord,
  extendTerm,
  HORIZON,
  nextTerm,
  openSingleNodeCoordinator,
  readLastClock,
  sealTerm,
} from '../../src/coordination/single-node.ts';
import { DISTANT_PAST, type Instant, MILLISECOND, SECOND } from '../../src/core/time.ts';
import { FakeClock } from '../support/fakes/clock.ts';
import { FaultyRegisters } from '../support/fakes/registers.ts';

let sessions = 0;

class Process {
  readonly registers: FaultyRegisters;
  readonly clock: FakeClock;
  coordinator!: Coordinator;
  leaderLease!: LeaderLease;
  why: Error | undefined;

  constructor(disk: RegisterDisk, clock: FakeClock) {
    this.registers = new FaultyRegisters(new MemoryRegisters(disk));
    this.clock = clock;
  }

  async open(): Promise<this> {
    this.coordinator = await openSingleNodeCoordinator({ registers: this.registers, clock: this.clock, session: `s${++sessions}` });
    const placement = this.coordinator.place('root');
    if (placement.at !== 'here') throw new Error('Not here.');
    this.leaderLease = placement.leaderLease;
    this.coordinator.onLost((why) => {
      this.why = why;
    });
    return this;
  }

  /** As admission does it; answers the stamp of a decision, or undefined where none is allowed. */
  async decide(): Promise<Instant | undefined> {
    try {
      await this.leaderLease.extend(this.clock.now());
    } catch {
      return undefined;
    }
    const now = this.clock.now();
    return now >= this.leaderLease.from && now < this.leaderLease.until() ? now : undefined;
  }
}

describe('the coordinator of one node', () => {
  it('takes a first term that may decide at once, and writes nothing while nobody asks', async () => {
    const clock = new FakeClock();
    const one = await new Process(new Map(), clock).open();
    expect([one.leaderLease.term, one.leaderLease.from]).toEqual([1n, DISTANT_PAST]);
    clock.advance(60 * SECOND);
    expect(one.registers.changes).toBe(1);
    expect(await one.decide()).toBe(clock.now());
    expect(one.registers.changes).toBe(2);
    expect(one.leaderLease.until()).toBe(clock.now() + HORIZON);
  });

  it('renews ahead each 200 ms of decisions, without making them wait', async () => {
    const clock = new FakeClock();
    const one = await new Process(new Map(), clock).open();
    await one.decide();
    for (let ms = 0; ms < 10_000; ms += 10) {
      await clock.advanceAsync(10 * MILLISECOND);
      expect(one.leaderLease.extend(clock.now())).toBeUndefined();
    }
    await clock.advanceAsync(1);
    expect(one.registers.changes).toBeGreaterThan(40);
    expect(one.registers.changes).toBeLessThan(60);
  });

  it('after a crash waits out the slots that the old process may have used', async () => {
    const disk: RegisterDisk = new Map();
    const clock = new FakeClock();
    const old = await new Process(disk, clock).open();
    await old.decide();
    clock.advance(100 * MILLISECOND);
    const next = await new Process(disk, clock).open();
    expect([next.leaderLease.term, next.leaderLease.from]).toEqual([2n, old.leaderLease.until()]);
    expect(await next.decide()).toBeUndefined();
    clock.advanceTo(next.leaderLease.from);
    expect(await next.decide()).toBe(next.leaderLease.from);
    expect(await old.decide()).toBeUndefined();
    expect(old.why).toBeInstanceOf(LeadershipLost);
    expect(old.coordinator.place('root')).toEqual({ at: 'nowhere' });
  });

  it('after a clean leave nobody waits', async () => {
    const disk: RegisterDisk = new Map();
    const clock = new FakeClock();
    const old = await new Process(disk, clock).open();
    const last = (await old.decide()) as Instant;
    await old.coordinator.leave();
    expect(await old.decide()).toBeUndefined();
    clock.advance(1);
    const next = await new Process(disk, clock).open();
    expect(next.leaderLease.from).toBe(last + 1);
    expect(await next.decide()).toBe(clock.now());
  });

  it('goes on when its own write was not heard, and stops deciding while it cannot write', async () => {
    const clock = new FakeClock();
    const one = await new Process(new Map(), clock).open();
    one.registers.fates = ['unheard'];
    expect(await one.decide()).toBeUndefined();
    expect(await one.decide()).toBe(clock.now());
    one.registers.fates = Array(8).fill('lost');
    for (let step = 0; step < 5; step++) {
      clock.advance(150 * MILLISECOND);
      expect(await one.decide()).toBe(clock.now());
    }
    const { changes } = one.registers;
    for (let call = 0; call < 100; call++) await one.leaderLease.extend(clock.now());
    expect(one.registers.changes - changes).toBeLessThanOrEqual(1);
    clock.advance(250 * MILLISECOND);
    expect(await one.decide()).toBeUndefined();
    one.registers.fates = [];
    expect(await one.decide()).toBe(clock.now());
    expect(one.why).toBeUndefined();
  });

  it('leaves a clock record from which shard time goes on over a reboot', async () => {
    const disk: RegisterDisk = new Map();
    const clock = new FakeClock();
    expect(await readLastClock(new MemoryRegisters(disk))).toBeUndefined();
    const one = await new Process(disk, clock).open();
    clock.advance(SECOND);
    await one.decide();
    expect(await readLastClock(new MemoryRegisters(disk))).toEqual(clock.record());
  });

  it('refuses a register that holds something else', async () => {
    for (const bytes of ['{}', '{"term":"1"}', '{"term":"x","session":"s","until":1,"sealed":true,"clock":{"at":1,"mono":1,"wall":1}}']) {
      expect(() => decodeTermRecord(new TextEncoder().encode(bytes))).toThrow();
    }
  });
});

describe('the term of a single node', () => {
  const clock = new FakeClock();
  it('survives its encoding', () => {
    const record = extendTerm(nextTerm(undefined, 's', clock.record()).record, clock.record());
    expect(decodeTermRecord(encodeTermRecord({ ...record, term: 2n ** 40n }))).toEqual({ ...record, term: 2n ** 40n });
  });

  it('sealed before its own first slot gives none of the old term away', () => {
    const old = extendTerm(nextTerm(undefined, 'old', clock.record()).record, clock.record());
    const next = nextTerm(old, 'next', clock.record());
    expect(sealTerm(next.record, next.from, clock.record()).until).toBe(old.until);
  });
});

// Invariant I1 of docs/design/coordination.md 3.1, by random schedules of several processes on one register.
describe('every instant of shard time belongs to one term', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('decide' as const), who: fc.nat(3) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('advance' as const), by: fc.integer({ min: 0, max: 700_000 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('open' as const), who: fc.nat(3) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), who: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('fault' as const), who: fc.nat(3), fate: fc.constantFrom('lost' as const, 'unheard' as const) }) },
  );

  it('whatever crashes, freezes, leaves, or loses an answer', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
        const disk: RegisterDisk = new Map();
        const clock = new FakeClock();
        const running: (Process | undefined)[] = [];
        const used: { term: bigint; at: Instant }[] = [];
        const froms = new Map<bigint, Instant>();
        let newest = 0n;
        for (const one of steps) {
          if (one.do === 'advance') clock.advance(one.by);
          else if (one.do === 'open') {
            const opened = await new Process(disk, clock).open();
            running[one.who] = opened;
            expect(opened.leaderLease.term).toBeGreaterThan(newest);
            newest = opened.leaderLease.term;
            for (const { at } of used) expect(opened.leaderLease.from).toBeGreaterThan(at);
            froms.set(newest, opened.leaderLease.from);
          } else if (one.do === 'fault') running[one.who]?.registers.fates.push(one.fate);
          else if (one.do === 'leave') await running[one.who]?.coordinator.leave().catch(() => {});
          else {
            const at = await running[one.who]?.decide();
            const term = running[one.who]?.leaderLease.term as bigint;
            if (at === undefined) continue;
            for (const [later, from] of froms) if (later > term) expect(at).toBeLessThan(from);
            used.push({ term, at });
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
