import { describe, expect, test } from 'vitest';
import { type Instant, SECOND } from '../../src/core/time.ts';
import { Backends, type Health, type TargetEvent, type Turn } from '../../src/forward/backends.ts';

/** Backends with a clock by hand. */
class Bench {
  now = 1_000_000 as Instant;
  readonly events: TargetEvent[] = [];
  readonly backends: Backends;

  constructor(urls: number, concurrency?: number) {
    const spec = { urls: Array.from({ length: urls }, (_, i) => `http://b${i}`), concurrency, eject: { failures: 3, for: 10 * SECOND } };
    this.backends = new Backends(spec, (event) => this.events.push(event));
  }

  take(...avoid: number[]): { url: number | undefined; turn: Turn; end: (health?: Health) => void } {
    const taken = {
      url: undefined as number | undefined,
      turn: undefined as unknown as Turn,
      end: (health: Health = 'well') => taken.turn.end(this.now, health),
    };
    taken.turn = this.backends.take(this.now, new Set(avoid), {
      onUrl: (url) => {
        taken.url = url;
      },
    });
    return taken;
  }

  pass(time: number): void {
    this.now = (this.now + time) as Instant;
  }

  fail(times: number, ...avoid: number[]): void {
    for (let i = 0; i < times; i++) this.take(...avoid).end('failed');
  }
}

describe('which URL', () => {
  test('the one with the fewest in flight; equals take turns', () => {
    const bench = new Bench(3);
    const first = [bench.take(), bench.take(), bench.take()];
    expect(first.map(({ url }) => url)).toEqual([0, 1, 2]);
    first[1]?.end();
    expect(bench.take().url).toBe(1);
    expect(bench.backends.inFlight).toBe(3);
  });

  test('one that was tried is taken only where there is no other', () => {
    const bench = new Bench(2);
    expect(bench.take(0).url).toBe(1);
    expect(bench.take(0).url).toBe(1);
    expect(bench.take(0, 1).url).toBe(0);
  });

  test('beyond the concurrency of every URL they wait, first in, first out; one who leaves is passed over', () => {
    const bench = new Bench(2, 1);
    const [a, b] = [bench.take(), bench.take()];
    const waiting = [bench.take(), bench.take(), bench.take()];
    expect(waiting.map(({ url }) => url)).toEqual([undefined, undefined, undefined]);
    expect(bench.backends.waiting).toBe(3);
    waiting[0]?.end('unknown');
    a.end();
    expect(waiting.map(({ url }) => url)).toEqual([undefined, 0, undefined]);
    b.end();
    expect(waiting[2]?.url).toBe(1);
    waiting[1]?.end();
    waiting[1]?.end();
    expect(bench.backends.inFlight).toBe(1);
    expect(bench.backends.waiting).toBe(0);
  });

  test('a newcomer does not pass those in line', () => {
    const bench = new Bench(1, 1);
    const first = bench.take();
    const second = bench.take();
    first.end();
    const third = bench.take();
    expect([second.url, third.url]).toEqual([0, undefined]);
  });
});

describe('ejection', () => {
  test('after so many failures in a row, not before, and not by others in between', () => {
    const bench = new Bench(2);
    bench.fail(2, 1);
    bench.take(1).end('well');
    bench.fail(2, 1);
    expect(bench.events).toEqual([]);
    bench.fail(1, 1);
    expect(bench.events).toEqual([{ kind: 'ejected', url: 0 }]);
    expect([bench.take().url, bench.take().url, bench.take().url]).toEqual([1, 1, 1]);
  });

  test('when its time is over one request probes it, the others keep away until it is well', () => {
    const bench = new Bench(2);
    bench.fail(3, 1);
    bench.pass(10 * SECOND - 1);
    expect(bench.take().url).toBe(1);
    bench.pass(1);
    const probe = bench.take();
    expect(probe.url).toBe(0);
    expect(bench.take().url).toBe(1);
    probe.end('failed');
    expect(bench.take().url).toBe(1);
    bench.pass(10 * SECOND);
    const again = bench.take();
    expect(again.url).toBe(0);
    again.end('well');
    expect(bench.events.map(({ kind }) => kind)).toEqual(['ejected', 'restored']);
    expect(bench.take().url).toBe(0);
  });

  test('a probe that was given up says nothing: the next one probes', () => {
    const bench = new Bench(2);
    bench.fail(3, 1);
    bench.pass(10 * SECOND);
    bench.take().end('unknown');
    expect(bench.take().url).toBe(0);
  });

  test('the last one stays, whatever it does', () => {
    const one = new Bench(1);
    one.fail(50);
    expect(one.take().url).toBe(0);
    const two = new Bench(2);
    two.fail(3, 1);
    two.fail(50, 0);
    expect(two.events).toEqual([{ kind: 'ejected', url: 0 }]);
    expect(two.take().url).toBe(1);
  });
});
