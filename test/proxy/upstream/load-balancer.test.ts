import { describe, expect, test } from 'vitest';
import { type Instant, SECOND } from '../../../src/core/time.ts';
import { type Health, LoadBalancer, type TargetEvent, type UrlReservation } from '../../../src/proxy/upstream/load-balancer.ts';

interface Taken {
  url: number | undefined;
  none: boolean;
  turn: UrlReservation | undefined;
  end: (health?: Health) => void;
}

/** Backends with a clock by hand. */
class Bench {
  now = 1_000_000 as Instant;
  readonly events: TargetEvent[] = [];
  readonly backends: LoadBalancer;

  constructor(urls: number, concurrency?: number) {
    const spec = { urls: Array.from({ length: urls }, (_, i) => `http://b${i}`), concurrency, eject: { failures: 3, for: 10 * SECOND } };
    this.backends = new LoadBalancer(spec, (event) => this.events.push(event));
  }

  take(...avoid: number[]): Taken {
    return this.takeBut([], avoid);
  }

  /** As a request that could not connect to `refused`. */
  takeBut(refused: readonly number[], avoid: readonly number[] = refused): Taken {
    const taken: Taken = {
      url: undefined,
      none: false,
      turn: undefined,
      end: (health: Health = 'well') => taken.turn?.end(this.now, health),
    };
    const taker = {
      onUrl: (url: number) => {
        taken.url = url;
      },
      onNoUrl: () => {
        taken.none = true;
      },
    };
    taken.turn = this.backends.take(this.now, new Set(avoid), taker, new Set(refused));
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

  test('an arrival does not pass those in line', () => {
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

describe('a URL that refused this request', () => {
  test('is not given to it again, also where it is the only one that is not ejected', () => {
    const bench = new Bench(2);
    bench.fail(3, 1);
    expect(bench.backends.ejected).toEqual([0]);
    // The ejected one early, since all others refused.
    const early = bench.takeBut([1]);
    expect(early.url).toBe(0);
    early.end('failed');
    expect(bench.takeBut([0, 1]).turn).toBeUndefined();
  });

  test('an ejected URL is given early to one request at a time, and restored by its answer', () => {
    const bench = new Bench(2);
    bench.fail(3, 1);
    const early = bench.takeBut([1]);
    expect([early.url, bench.takeBut([1]).turn]).toEqual([0, undefined]);
    early.end('well');
    expect(bench.backends.ejected).toEqual([]);
    expect(bench.takeBut([1]).url).toBe(0);
  });

  test('one in line is told when its last URL is ejected', () => {
    const bench = new Bench(2, 1);
    bench.fail(2, 0);
    const other = bench.take(0);
    const waiting = bench.takeBut([0]);
    expect([waiting.url, waiting.none]).toEqual([undefined, false]);
    other.end('failed');
    // URL 1 is ejected now, and given early.
    expect([bench.backends.ejected, waiting.url]).toEqual([[1], 1]);
    const late = bench.takeBut([0]);
    expect(late.turn).toBeUndefined();
  });

  test('one in line that can use nothing is told so, and does not hold up those behind it', () => {
    const bench = new Bench(2, 1);
    bench.fail(2, 0);
    const [first, second] = [bench.take(0), bench.take(1)];
    const waiting = [bench.takeBut([0]), bench.takeBut([0]), bench.take()];
    first.end('failed');
    // The first probes the ejected URL, the second has none left, the third waits for URL 0.
    expect(waiting.map(({ url, none }) => [url, none])).toEqual([
      [1, false],
      [undefined, true],
      [undefined, false],
    ]);
    second.end();
    expect(waiting[2]?.url).toBe(0);
    expect(bench.backends.waiting).toBe(0);
  });

  test('a line of those who cannot use a free URL does not keep it from others', () => {
    const bench = new Bench(2, 1);
    const busy = bench.take(0);
    const waiting = bench.takeBut([0]);
    expect([busy.url, waiting.url, bench.take().url]).toEqual([1, undefined, 0]);
  });

  test('requests that end as they are sent do not go deeper with each in line', () => {
    const bench = new Bench(1, 1);
    const busy = bench.take();
    let ended = 0;
    for (let i = 0; i < 20_000; i++) {
      const turn: UrlReservation | undefined = bench.backends.take(bench.now, new Set(), {
        onUrl: () => {
          ended++;
          turn?.end(bench.now, 'failed');
        },
        onNoUrl: () => {},
      });
    }
    busy.end();
    expect([ended, bench.backends.waiting, bench.backends.inFlight]).toEqual([20_000, 0, 0]);
  });
});

describe('a probe that lasts', () => {
  test('restores its URL with the head of its answer, and one failure more ejects it again', () => {
    const bench = new Bench(2);
    bench.fail(3, 1);
    bench.pass(10 * SECOND);
    const stream = bench.take();
    stream.turn?.responding();
    expect([stream.url, bench.events.map(({ kind }) => kind)]).toEqual([0, ['ejected', 'restored']]);
    expect([bench.take().url, bench.take().url]).toEqual([1, 0]);
    stream.end('failed');
    expect(bench.backends.ejected).toEqual([0]);
  });

  test('and got no head yet does not keep its URL out for ever: another may probe after as long as an ejection lasts', () => {
    const bench = new Bench(2);
    bench.fail(3, 1);
    bench.pass(10 * SECOND);
    const first = bench.take();
    bench.pass(10 * SECOND - 1);
    expect([first.url, bench.take().url]).toEqual([0, 1]);
    bench.pass(1);
    const second = bench.take();
    expect(second.url).toBe(0);
    second.end('well');
    first.end('failed');
    expect(bench.backends.ejected).toEqual([]);
  });

  test('is not settled by the end of a request that was under way before', () => {
    const bench = new Bench(2);
    const [old] = [bench.take(1)];
    bench.fail(3, 1);
    bench.pass(10 * SECOND);
    expect(bench.take().url).toBe(0);
    old.end('unknown');
    expect(bench.take().url).toBe(1);
  });
});
