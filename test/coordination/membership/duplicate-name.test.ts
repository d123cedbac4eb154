import { expect, test } from 'vitest';
import { DuplicateNameDetector } from '../../../src/coordination/membership/duplicate-name.ts';
import { SECOND } from '../../../src/core/time.ts';
import { Replicas } from '../replicas.ts';

const own = { replica: 'a', instance: 'a-1' };
const other = { replica: 'a', instance: 'a-2', acceptsShards: true };

/** When something is told, in seconds, of a heartbeat each 0.2 s of each of these. */
function told(
  beats: readonly { readonly replica: string; readonly instance: string; readonly acceptsShards: boolean }[],
  times: readonly number[],
): readonly number[] {
  const duplicates = new DuplicateNameDetector();
  return times.filter((at) => beats.map((beat) => duplicates.onHeartbeat(beat, own, at * SECOND)).some((words) => words !== undefined));
}

const each = (from: number, to: number) => Array.from({ length: Math.round((to - from) * 5) }, (_, index) => from + index / 5);

test('another process of the same name is told of once it was heard for more than two seconds', () => {
  expect(told([other], each(10, 13))).toEqual(each(10, 13).filter((at) => at > 12));
});

test('itself, another name, one that leaves or begins, and one that is followed by the next life are no duplicates', () => {
  const others = [
    { ...own, acceptsShards: true },
    { ...other, replica: 'b' },
    { ...other, acceptsShards: false },
  ];
  expect(told(others, each(0, 9))).toEqual([]);
  const duplicates = new DuplicateNameDetector();
  const lives = each(0, 9).map((at) => duplicates.onHeartbeat({ ...other, instance: `life ${Math.floor(at / 1.5)}` }, own, at * SECOND));
  expect(new Set(lives)).toEqual(new Set([undefined]));
});

test('one that was silent for more than a second is new', () => {
  expect(told([other], [...each(0, 2), ...each(3.5, 5.4)])).toEqual([]);
});

test('Two replicas under one name both say so, with what to do; a third does not', async () => {
  const world = new Replicas(4);
  const [first, second, third] = [world.add('a'), world.add('a'), world.add('b')];
  await world.run(6_000);
  for (const [rig, instance] of [
    [first, 'a-2'],
    [second, 'a-1'],
  ] as const)
    expect(rig.troubles()).toContain(
      `Another process (instance ${instance}) runs under this replica's name too: set another cluster.name for one of the two, and restart it.`,
    );
  expect(third.troubles().filter((words) => words.includes('name too'))).toEqual([]);
});
