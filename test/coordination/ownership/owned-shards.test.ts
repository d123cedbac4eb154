import { expect, it } from 'vitest';
import { OwnedShards } from '../../../src/coordination/ownership/owned-shards.ts';
import { DISTANT_PAST, type Instant, SECOND } from '../../../src/core/time.ts';

const at = (seconds: number) => (1_800_000_000_000_000 + seconds * SECOND) as Instant;
const reading = { mono: 0, wall: at(0), boot: '' };

/*
 * What the simulation cannot find: it takes a shard that comes back to the same session while a renewal is under way, and a death before the
 * next one. A taker concludes from a record without this term that nothing was decided in it.
 */
it('A renewal that names an earlier term makes no slots of the present term ours', () => {
  const ownedShards = new OwnedShards({ horizon: SECOND });
  ownedShards.gain(7, { term: 4n, owner: 's', from: at(-1), clock: at(0) }, 1, reading, reading);
  const underWay = ownedShards.entries(reading);
  ownedShards.drop(7);
  ownedShards.gain(7, { term: 5n, owner: 's', from: at(-1), clock: at(0) }, 2, reading, reading);
  ownedShards.renewed(underWay);
  expect(ownedShards.until(7, 5n)).toBe(DISTANT_PAST);
  expect(ownedShards.decisionWindow(7, 0)).toBeUndefined();
  ownedShards.renewed(ownedShards.entries(reading));
  expect(ownedShards.until(7, 5n)).toBe(at(1));
  expect(ownedShards.decisionWindow(7, 0)).toEqual({ term: 5n, at: at(0), until: at(1) });
});
