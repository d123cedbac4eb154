import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HashSlots } from '../../src/deferred/hash-slots.ts';
import { ENDED, NONE, RequestIndex } from '../../src/deferred/request-index.ts';
import { row } from '../conformance/deferred-requests.ts';

const sequencesOf = (index: RequestIndex, groups?: readonly string[]): readonly number[] => {
  const walk = index.walk(groups);
  const found: number[] = [];
  for (let slot = walk.next(); slot !== NONE; slot = walk.next()) found.push(index.sequenceOf(slot));
  return found;
};

describe('the index of stored requests', () => {
  test('answers every field of a row as it was added, in a slot that another had before', () => {
    const index = new RequestIndex();
    index.remove(index.add(row(1, { idHash: 'f'.repeat(16), requestHash: 'e'.repeat(16), dueAt: 5, deadlineAt: 6, spared: 1, callbackOf: 3 })));
    const full = row(7, {
      ...{ group: 'Bücher', route: 'r', caller: 'shop', key: 'shop/1', priority: 3, costs: { requests: 1, tokens: 2_000 }, ordered: true },
      ...{
        dueAt: 9,
        deadlineAt: 10,
        firstAttemptAt: 11,
        attempts: 4,
        spared: 2,
        idHash: '00ff00ff00ff00ff',
        requestHash: '0'.repeat(15).concat('1'),
        callbackOf: 2 ** 40,
      },
    });
    expect(index.row(index.add(full))).toEqual(full);
    expect(index.row(index.add(row(8)))).toEqual(row(8));
    expect(index.slotOf(1)).toBe(NONE);
  });

  test('walks groups in the order of acceptance, a redriven request after all before it, and lists by sequence from a cursor', () => {
    const index = new RequestIndex();
    for (const [sequence, group] of [
      [1, 'a'],
      [2, 'b'],
      [3, 'a'],
      [9_000, 'b'],
    ] as const)
      index.add(row(sequence, { group, acceptedAt: sequence * 10 }));
    index.remove(index.slotOf(1));
    index.add(row(1, { group: 'a', acceptedAt: 100_000 }));
    expect(sequencesOf(index)).toEqual([2, 3, 9_000, 1]);
    expect(sequencesOf(index, ['a', 'none'])).toEqual([3, 1]);
    expect([...index.from(2)].map((slot) => index.sequenceOf(slot))).toEqual([2, 3, 9_000]);
    expect([...index.from(4)].map((slot) => index.sequenceOf(slot))).toEqual([9_000]);
    expect(index.sequenceOf(index.oldestOf('a'))).toBe(3);
  });

  test('a walk goes on whatever leaves and enters meanwhile', () => {
    const index = new RequestIndex();
    for (let sequence = 1; sequence <= 5; sequence++) index.add(row(sequence, { acceptedAt: sequence }));
    const walk = index.walk();
    expect(index.sequenceOf(walk.next())).toBe(1);
    for (const sequence of [1, 2, 3]) index.remove(index.slotOf(sequence));
    index.add(row(6, { acceptedAt: 6 }));
    const ended = index.slotOf(5);
    index.setState(ended, ENDED);
    index.leaveList(ended);
    const rest: number[] = [];
    for (let slot = walk.next(); slot !== NONE; slot = walk.next()) rest.push(index.sequenceOf(slot));
    expect(rest).toEqual([4, 6]);
    expect(walk.next()).toBe(NONE);
    expect([...index.groups.values()].map(({ length }) => length)).toEqual([2]);
  });

  test('the newest request of a key stands for it, and an older one that goes does not take it along', () => {
    const index = new RequestIndex();
    const keyed = (sequence: number) => row(sequence, { idHash: 'a'.repeat(16) });
    const [first, second] = [index.add(keyed(1)), index.add(keyed(2))];
    expect(index.slotOfHash('a'.repeat(16))).toBe(second);
    index.remove(first);
    expect(index.slotOfHash('a'.repeat(16))).toBe(second);
    index.forgetHash(second);
    expect(index.slotOfHash('a'.repeat(16))).toBe(NONE);
  });

  test('counts what is in line of a group', () => {
    const index = new RequestIndex();
    const slots = [1, 2, 3].map((sequence) => index.add(row(sequence)));
    for (const slot of slots) index.setEntry(slot, slot + 10);
    index.setEntry(slots[0] as number, NONE);
    index.remove(slots[1] as number);
    expect([...index.groups.values()]).toMatchObject([{ length: 2, inLine: 1 }]);
  });
});

test('slots are found by their hashes as a map finds them, however hashes collide in their low bits', () => {
  void fc.assert(
    fc.property(fc.array(fc.record({ slot: fc.nat(40), low: fc.nat(3), high: fc.nat(3), remove: fc.boolean() }), { maxLength: 300 }), (steps) => {
      const hashes = new Uint32Array(128);
      const slots = new HashSlots();
      const model = new Map<string, number>();
      const known = new Set<number>();
      for (const { slot, low, high, remove } of steps) {
        const name = `${hashes[slot * 2]} ${hashes[slot * 2 + 1]}`;
        if (known.has(slot)) {
          slots.delete(hashes, slot);
          if (model.get(name) === slot) model.delete(name);
          known.delete(slot);
        }
        if (remove) continue;
        hashes[slot * 2] = high;
        hashes[slot * 2 + 1] = low * 64;
        slots.set(hashes, slot);
        model.set(`${high} ${low * 64}`, slot);
        known.add(slot);
      }
      for (let high = 0; high < 4; high++) {
        for (let low = 0; low < 4; low++) expect(slots.find(hashes, high, low * 64)).toBe(model.get(`${high} ${low * 64}`) ?? -1);
      }
    }),
    { numRuns: 300 },
  );
});
