import { expect, test } from 'vitest';
import { OpeningQueue } from '../../src/admission/opening-queue.ts';
import { SECOND } from '../../src/core/time.ts';
import { FakeClock, settled } from '../support/fakes/clock.ts';

/** A queue, what it began, in order, and the ends of those that run until they are told. */
class Rig {
  readonly clock = new FakeClock();
  readonly queue: OpeningQueue;
  readonly begun: string[] = [];
  /** `dropped`: without having begun. */
  readonly ended: string[] = [];
  turns = 0;
  most = 0;
  readonly #ends = new Map<string, () => void>();

  constructor() {
    const defer = (run: () => void) =>
      void setImmediate(() => {
        this.turns++;
        run();
      });
    this.queue = new OpeningQueue({ clock: this.clock, defer });
  }

  add(shard: number, root: string): void {
    const opening = this.queue.run(shard, root, () => {
      this.begun.push(root);
      this.most = Math.max(this.most, this.queue.underWay);
      return new Promise<string>((resolve) => void this.#ends.set(root, () => resolve(root)));
    });
    void opening.then((root) => this.ended.push(root ?? 'dropped'));
  }

  /** Ends those that are under way, and lets others begin. */
  async end(roots: readonly string[] = [...this.#ends.keys()]): Promise<void> {
    for (const root of roots) {
      this.#ends.get(root)?.();
      this.#ends.delete(root);
    }
    await settled();
    await settled();
  }
}

test('Of ten thousand trees of 64 shards at most 16 are being opened at once, no more than 16 begin in one turn of the event loop, and all are opened', async () => {
  const rig = new Rig();
  for (let at = 0; at < 10_000; at++) rig.add(at % 64, `t${at}`);
  expect(rig.begun).toEqual([]);
  await settled();
  expect(rig.begun).toHaveLength(16);
  while (rig.ended.length < 10_000) await rig.end();
  expect(rig.most).toBe(16);
  expect(rig.turns).toBeGreaterThanOrEqual(625);
  expect([rig.queue.underWay, rig.clock.pending]).toEqual([0, 0]);
});

test('A tree that callers wait for is opened before all others that have not begun, and shards take turns', async () => {
  const rig = new Rig();
  for (let at = 0; at < 40; at++) rig.add(1, `a${at}`);
  for (let at = 0; at < 40; at++) rig.add(2, `b${at}`);
  rig.queue.hurry(2, 'b39');
  rig.queue.hurry(1, 'none');
  await settled();
  expect(rig.begun.slice(0, 5)).toEqual(['b39', 'a0', 'b0', 'a1', 'b1']);
  rig.queue.hurry(1, 'a30');
  rig.queue.hurry(1, 'a0');
  await rig.end(['a0']);
  expect(rig.begun.at(-1)).toBe('a30');
});

test('Trees of a shard that is dropped are not opened any more, and what has begun ends as it does', async () => {
  const rig = new Rig();
  for (let at = 0; at < 100; at++) rig.add(1, `a${at}`);
  await settled();
  for (let at = 0; at < 3; at++) rig.add(2, `b${at}`);
  rig.queue.drop(1);
  await settled();
  expect([rig.begun.length, rig.ended.length]).toEqual([16, 84]);
  expect(new Set(rig.ended)).toEqual(new Set(['dropped']));
  await rig.end();
  expect(rig.begun.slice(16)).toEqual(['b0', 'b1', 'b2']);
  await rig.end();
  expect([rig.ended.length, rig.queue.underWay, rig.clock.pending]).toEqual([103, 0, 0]);
});

test('A shard whose store does not answer keeps others back for a quarter of a second, and has never more than 16 under way', async () => {
  const rig = new Rig();
  for (let at = 0; at < 100; at++) rig.add(1, `deaf${at}`);
  await settled();
  for (let at = 0; at < 100; at++) rig.add(2, `b${at}`);
  const ofOther = () => rig.begun.filter((root) => root.startsWith('b'));
  await rig.clock.advanceAsync(SECOND / 4 - 1);
  expect(ofOther()).toEqual([]);
  await rig.clock.advanceAsync(1);
  await settled();
  expect(ofOther()).toHaveLength(16);
  while (ofOther().length < 100) await rig.end(ofOther());
  await rig.end(ofOther());
  expect(rig.begun).toHaveLength(116);
  expect(rig.queue.underWay).toBe(16);
  // Its openings end at last, in an error or not: it goes on.
  await rig.end();
  expect(rig.begun).toHaveLength(132);
  while (rig.ended.length < 200) await rig.end();
  expect([rig.queue.underWay, rig.clock.pending]).toEqual([0, 0]);
});

test('Where no store answers 64 openings are under way, however long that lasts', async () => {
  const rig = new Rig();
  for (let at = 0; at < 1_000; at++) rig.add(at % 64, `t${at}`);
  for (let seconds = 0; seconds < 20; seconds++) {
    await rig.clock.advanceAsync(SECOND);
    await settled();
  }
  expect(rig.queue.underWay).toBe(64);
  while (rig.ended.length < 1_000) await rig.end();
  expect([rig.queue.underWay, rig.clock.pending]).toEqual([0, 0]);
});
