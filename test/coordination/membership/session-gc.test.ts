import { describe, expect, test } from 'vitest';
import { collectStaleSessions, SESSION_KEPT_MS, type StaleSession } from '../../../src/coordination/membership/session-gc.ts';
import { encodeOwnership, ownershipRegister } from '../../../src/coordination/ownership/ownership-record.ts';
import { MemoryRegisters } from '../../../src/coordination/registers/memory.ts';
import { DISTANT_PAST } from '../../../src/core/time.ts';

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
