import { describe, expect, it } from 'vitest';
import { DiskUnavailable, withTimeout, writeDurably } from '../../src/storage/lmdb.ts';

const never = new Promise<never>(() => {});

/** A promise and its ends. */
function ends<T>() {
  let resolve!: (value: T) => void;
  let reject!: (cause: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

describe('a durable write', () => {
  it('is told only when it is committed and flushed', async () => {
    const committed = ends<boolean>();
    const flushed = ends<void>();
    let told = false;
    const done = writeDurably({ flushed: flushed.promise }, 1_000, () => committed.promise).then((applied) => {
      told = true;
      return applied;
    });
    committed.resolve(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toBe(false);
    flushed.resolve();
    expect(await done).toBe(true);
  });

  it('is unknown when it or the flush takes too long', async () => {
    await expect(writeDurably({ flushed: Promise.resolve() }, 5, () => never)).rejects.toThrow(DiskUnavailable);
    await expect(writeDurably({ flushed: never }, 5, () => Promise.resolve(true))).rejects.toThrow(DiskUnavailable);
  });

  it('that was not applied waits for no flush', async () => {
    expect(await writeDurably({ flushed: never }, 1_000, () => Promise.resolve(false))).toBe(false);
  });

  it('that failed does not wait for a flush that never comes, and tells the reason that lmdb put aside', async () => {
    const why = new Error('No space left on device');
    const failed = Object.assign(new Error('Commit failed'), { commitError: Promise.reject(why) });
    const cause = await writeDurably({ flushed: never }, 1_000, () => Promise.reject(failed)).catch((error: unknown) => error);
    expect(cause).toBeInstanceOf(DiskUnavailable);
    expect((cause as Error).cause).toBe(why);
    // vitest fails the run on an unhandled rejection: here is where it would come.
    await new Promise((resolve) => setImmediate(resolve));
  });

  it('swallows what comes after the deadline', async () => {
    const late = ends<boolean>();
    await expect(withTimeout(5, late.promise)).rejects.toThrow('within 5 ms');
    late.reject(new Error('late'));
    await new Promise((resolve) => setImmediate(resolve));
  });
});
