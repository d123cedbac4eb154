import { describe, expect, it } from 'vitest';
import { ClockBounds, DRIFT_MAX } from '../../src/coordination/clocks/clock-bounds.ts';
import { decodeSession, encodeSession, type SessionRecord } from '../../src/coordination/membership/session-record.ts';
import { decodeOwnership, encodeOwnership, nextTermStart, type OwnershipRecord } from '../../src/coordination/ownership/ownership-record.ts';
import { rendezvous } from '../../src/coordination/ownership/rendezvous.ts';
import { type Instant, SECOND } from '../../src/core/time.ts';

const at = (seconds: number) => (1_800_000_000_000_000 + seconds * SECOND) as Instant;
const record: OwnershipRecord = { term: 4n, owner: 's1', from: at(10), clock: at(9.5) };
const own = (term: bigint, from: number, until: number) => ({ own: [{ shard: 7, term, at: at(from), until: at(until) }] });

describe('the next term', () => {
  it('begins where the slots of the dead owner end, with the clock it last showed', () => {
    expect(nextTermStart({ shard: 7, record, ended: own(4n, 20, 21), bound: undefined })).toEqual({ from: at(21), clock: at(20) });
  });

  it('begins where the last one did when that decided nothing', () => {
    expect(nextTermStart({ shard: 7, record, ended: { own: [] }, bound: undefined })).toEqual({ from: at(10), clock: at(9.5) });
    expect(nextTermStart({ shard: 7, record, ended: own(3n, 20, 21), bound: undefined })).toEqual({ from: at(10), clock: at(9.5) });
    expect(nextTermStart({ shard: 8, record, ended: own(4n, 20, 21), bound: undefined })).toEqual({ from: at(10), clock: at(9.5) });
  });

  it('never begins before the last one began: slots that ended before were never used', () => {
    expect(nextTermStart({ shard: 7, record, ended: own(4n, 8, 9), bound: undefined }).from).toBe(at(10));
  });

  it('takes the best of what is known of the clock', () => {
    expect(nextTermStart({ shard: 7, record, ended: own(4n, 20, 21), bound: at(20.7) }).clock).toBe(at(20.7));
    expect(nextTermStart({ shard: 7, record, ended: own(4n, 20, 21), bound: at(19) }).clock).toBe(at(20));
  });
});

describe('evidence of a clock', () => {
  it('is the best of what was heard, and weaker with age', () => {
    const evidence = new ClockBounds();
    evidence.observe(1, 1n, at(100), 0);
    // Heard late: says less than what is known.
    evidence.observe(1, 1n, at(101), 1.5 * SECOND);
    expect(evidence.bound(1, 1n, 2 * SECOND)).toBe(at(102) - 2 * SECOND * DRIFT_MAX);
    evidence.observe(1, 1n, at(102), 2 * SECOND);
    expect(evidence.bound(1, 1n, 2 * SECOND)).toBe(at(102));
  });

  it('belongs to one term', () => {
    const evidence = new ClockBounds();
    evidence.observe(1, 2n, at(100), 0);
    expect(evidence.bound(1, 1n, 0)).toBeUndefined();
    expect(evidence.bound(1, 3n, 0)).toBeUndefined();
    expect(evidence.bound(2, 2n, 0)).toBeUndefined();
    // A heartbeat of an older term that comes late changes nothing; one of a newer term replaces all.
    evidence.observe(1, 1n, at(500), 0);
    expect(evidence.bound(1, 2n, 0)).toBe(at(100));
    evidence.observe(1, 3n, at(99), 0);
    expect(evidence.bound(1, 2n, 0)).toBeUndefined();
    expect(evidence.bound(1, 3n, 0)).toBe(at(99));
  });
});

describe('records of sessions and shards', () => {
  const session: SessionRecord = { replica: 'a', instance: 'a-1', n: 12, state: 'live', own: own(2n ** 50n, 20, 21).own };

  it('are read as they were written', () => {
    expect(decodeSession(encodeSession(session))).toEqual(session);
    expect(decodeOwnership(encodeOwnership(record))).toEqual(record);
  });

  it('are refused when they are something else', () => {
    const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    for (const wrong of [{}, { ...session, state: 'dead' }, { ...session, n: 1.5 }, { ...session, own: [[1, '2', 0.5, 3]] }, { ...session, own: 'x' }]) {
      expect(() => decodeSession(text(wrong))).toThrow(TypeError);
    }
    for (const wrong of [{}, { ...record, term: '4', from: null }, { ...record, term: '4', owner: 1 }])
      expect(() => decodeOwnership(text(wrong))).toThrow(TypeError);
  });
});

describe('rendezvous', () => {
  it('is one order, in which a name that goes moves nobody else', () => {
    for (let shard = 0; shard < 64; shard++) {
      const all = rendezvous(`${shard}`, ['a', 'b', 'c', 'd']);
      expect(rendezvous(`${shard}`, ['d', 'c', 'b', 'a'])).toEqual(all);
      expect(rendezvous(`${shard}`, ['a', 'b', 'd'])).toEqual(all.filter((name) => name !== 'c'));
    }
  });

  it('spreads shards', () => {
    const first = Array.from({ length: 640 }, (_, shard) => rendezvous(`${shard}`, ['a', 'b', 'c'])[0]);
    for (const name of ['a', 'b', 'c']) expect(first.filter((one) => one === name).length).toBeGreaterThan(150);
  });
});
