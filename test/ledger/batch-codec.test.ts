import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shardOf } from '../../src/core/sharding.ts';
import type { Instant } from '../../src/core/time.ts';
import { type Batch, decodeBatch, EMPTY_BATCH, encodeBatch, UnreadableBatch } from '../../src/ledger/batch-codec.ts';
import { Pieces } from '../../src/ledger/batching.ts';
import { subjectOf } from '../../src/ledger/subjects.ts';
import { record, reservation, sealedLimit } from './arbitrary.ts';

const batch: fc.Arbitrary<Batch> = fc.record({
  term: fc.bigInt({ min: 1n, max: 2n ** 63n }),
  opening: fc.boolean(),
  part: fc.option(
    fc.record({
      index: fc.nat(9),
      of: fc.nat(9),
      sealedAt: fc.option(
        fc.nat().map((at) => at as Instant),
        { nil: undefined },
      ),
    }),
    { nil: undefined },
  ),
  reservations: fc.array(reservation),
  records: fc.array(record),
  limits: fc.array(sealedLimit),
});

describe('a batch', () => {
  it('says after its decoding what it said before', () => {
    fc.assert(
      fc.property(batch, (one) => {
        expect(decodeBatch(encodeBatch(one))).toEqual(one);
      }),
      { numRuns: 500 },
    );
  });

  it('is refused when it is not one, or refers to names it does not have', () => {
    expect(() => decodeBatch(new Uint8Array([255, 255, 255]))).toThrow(UnreadableBatch);
    // records: [ end { group: 7 } ], no strings
    expect(() => decodeBatch(new Uint8Array([0x32, 4, 0x1a, 2, 0x08, 7]))).toThrow('name 7');
    // records: [ {} ]: a kind of record that a later version may write
    expect(() => decodeBatch(new Uint8Array([0x32, 0]))).toThrow(UnreadableBatch);
  });

  it('is estimated not much below its size', () => {
    fc.assert(
      fc.property(fc.array(reservation), fc.array(record), (reservations, records) => {
        const pieces = Pieces.of(reservations, records);
        const estimate = pieces.reduce((sum, { bytes }) => sum + bytes, 0);
        expect(encodeBatch({ ...EMPTY_BATCH, term: 1n, reservations, records }).length).toBeLessThan(estimate + 100);
      }),
    );
  });
});

describe('a chain is named', () => {
  it('by its shard and root, no two roots alike', () => {
    expect(subjectOf('llm')).toMatch(/^ledger\.\d\d\.llm$/);
    expect(new Set(['a.b', 'a_b', 'a_2eb', 'a/b', 'A.b'].map(subjectOf)).size).toBe(5);
    expect(subjectOf('x'.repeat(500)).length).toBeLessThan(100);
    expect(subjectOf('grüße/ 1')).toMatch(/^[\w.-]+$/);
  });

  it('over all shards', () => {
    expect(new Set(Array.from({ length: 2_000 }, (_, index) => shardOf(`group-${index}`))).size).toBe(64);
  });
});
