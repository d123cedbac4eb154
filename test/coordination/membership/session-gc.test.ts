import { describe, expect, test } from 'vitest';
import { collectStaleSessions, SESSION_KEPT_MS, scheduleHourly } from '../../../src/coordination/membership/session-gc.ts';
import { encodeOwnership, ownershipRegister } from '../../../src/coordination/ownership/ownership-record.ts';
import { MemoryRegisters } from '../../../src/coordination/registers/memory.ts';
import type { StaleSession } from '../../../src/coordination/registers/registers.ts';
import { DISTANT_PAST, HOUR, type Instant, plus } from '../../../src/core/time.ts';
import { FakeClock } from '../../support/fakes/clock.ts';

const NOW = 1_800_000_000_000;

/** Sessions by when they were written, and shards by their owners. */
async function collected(sessions: Readonly<Record<string, number>>, owners: readonly string[] = []) {
  const registers = new MemoryRegisters();
  for (const [shard, owner] of owners.entries())
    await registers.change(ownershipRegister(shard), encodeOwnership({ term: 1n, owner, from: DISTANT_PAST, clock: DISTANT_PAST }), 0);
  const forgotten: string[] = [];
  const kept = {
    read: registers.read.bind(registers),
    change: registers.change.bind(registers),
    async *sessions(): AsyncIterable<StaleSession> {
      for (const [name, writtenAt] of Object.entries(sessions)) yield { register: `session.${name}`, revision: 7, writtenAt };
    },
    forget: async (register: string, revision: number) => void forgotten.push(`${register}@${revision}`),
  };
  return { registers: kept, forgotten };
}

describe('sessions are forgotten', () => {
  test('a day after the newest was written, not before', async () => {
    const { registers, forgotten } = await collected({ live: NOW, young: NOW - SESSION_KEPT_MS, old: NOW - SESSION_KEPT_MS - 1 });
    expect(await collectStaleSessions({ registers, shards: 4 })).toBe(1);
    expect(forgotten).toEqual(['session.old@7']);
  });

  test('never while a shard names them, however old they are', async () => {
    const { registers, forgotten } = await collected({ live: NOW, owner: NOW - 9 * SESSION_KEPT_MS, old: NOW - 9 * SESSION_KEPT_MS }, ['live', 'owner']);
    await collectStaleSessions({ registers, shards: 4 });
    expect(forgotten).toEqual(['session.old@7']);
  });

  test('never when all are old: that is a fleet that stood still', async () => {
    const { registers, forgotten } = await collected({ a: NOW - SESSION_KEPT_MS, b: NOW - SESSION_KEPT_MS + 5 });
    expect(await collectStaleSessions({ registers, shards: 4 })).toBe(0);
    expect(forgotten).toEqual([]);
  });

  test('never while a shard cannot be read', async () => {
    const { registers, forgotten } = await collected({ live: NOW, old: 0 });
    const failing = { ...registers, read: (name: string) => (name === ownershipRegister(3) ? Promise.reject(new Error('no answer')) : registers.read(name)) };
    await expect(collectStaleSessions({ registers: failing, shards: 4 })).rejects.toThrow('no answer');
    expect(forgotten).toEqual([]);
  });
});

function rig(random: () => number) {
  const clock = new FakeClock();
  const done: number[] = [];
  const failures: unknown[] = [];
  const from = clock.now();
  const state = { failing: false };
  const stop = scheduleHourly({
    timers: { after: (delay, act) => clock.at(plus(clock.now(), delay), act) },
    random,
    act: async () => {
      done.push((clock.now() - from) / HOUR);
      if (state.failing) throw new Error('away');
    },
    failed: (cause) => failures.push(cause),
  });
  return { clock, done, failures, stop, state, until: (hours: number) => clock.advanceAsync(hours * HOUR - ((clock.now() as Instant) - from)) };
}

test('what is done hourly is done within the first hour, then each hour a tenth earlier or later, and never after it was stopped', async () => {
  const draws = [0.25, 0, 0.999, 0.5];
  const { clock, done, stop, until } = rig(() => draws.shift() ?? 0.5);
  await until(0.24);
  expect(done).toEqual([]);
  await until(3.5);
  expect(done.map((hours) => Math.round(hours * 100) / 100)).toEqual([0.25, 1.15, 2.25, 3.25]);
  stop();
  await until(9);
  expect([done.length, clock.pending]).toEqual([4, 0]);
});

test('what fails is told of, and done again an hour later', async () => {
  const { done, failures, state, until, stop } = rig(() => 0.5);
  state.failing = true;
  await until(0.6);
  expect([done.length, failures]).toEqual([1, [new Error('away')]]);
  state.failing = false;
  await until(1.6);
  expect([done.length, failures.length]).toEqual([2, 1]);
  stop();
});
