import { describe, expect, it } from 'vitest';
import { type Instant, MILLISECOND, type Micros, SECOND } from '../../src/core/time.ts';
import { createSystemClock, type SystemClock } from '../../src/platform/system-clock.ts';
import { openWakeThread, type Waker, type WakeThreadOptions } from '../../src/platform/wake-thread.ts';

type Called = Pick<WakeThreadOptions, 'wake' | 'lost'>;

/** A waker that notes what it is asked for, on a time that the test moves. */
class NotedWaker implements Waker {
  readonly lead = 60;
  readonly asked: Micros[] = [];
  stopped = false;

  wakeAfter(time: Micros): boolean {
    this.asked.push(time);
    return true;
  }

  stop(): void {
    this.stopped = true;
  }
}

/** A clock whose time stands until it is moved. */
function still(): { readonly clock: SystemClock; readonly waker: NotedWaker; readonly called: () => Called; readonly move: (time: Micros) => void } {
  let mono = 1_000_000n;
  let called: Called | undefined;
  const waker = new NotedWaker();
  const clock = createSystemClock({
    sources: { monotonic: () => mono * 1_000n, wall: () => 1_700_000_000_000 + Number(mono) / 1_000, boot: '' },
    record: undefined,
    unref: true,
    openWaker(by) {
      called = by;
      return waker;
    },
  });
  return {
    ...{ clock, waker },
    called: () => {
      if (called === undefined) throw new Error('the waker was not opened');
      return called;
    },
    move: (time) => {
      mono += BigInt(time);
    },
  };
}

describe('a clock with a waker', () => {
  it('asks it for the moment less its lead, and calls nothing that is not due when it is woken too soon', () => {
    const { clock, waker, called, move } = still();
    const rung: string[] = [];
    clock.at((clock.now() + 5 * MILLISECOND) as Instant, () => rung.push('due'));
    expect(waker.asked).toEqual([5 * MILLISECOND - 60]);
    move(4_000);
    called().wake();
    expect(rung).toEqual([]);
    expect(waker.asked.at(-1)).toBe(1_000 - 60);
    move(1_000);
    called().wake();
    expect(rung).toEqual(['due']);
    clock.stop();
    expect(waker.stopped).toBe(true);
  });

  it('leaves it alone while the moment is far away', () => {
    const { clock, waker } = still();
    clock.at((clock.now() + SECOND) as Instant, () => {});
    expect(waker.asked).toEqual([]);
    clock.stop();
  });

  it('asks for 4,000 calls a second at most where 10,000 timers are due in it, and calls each timer once, not early', () => {
    const { clock, waker, called, move } = still();
    const start = clock.now();
    let rung = 0;
    let early = 0;
    for (let timer = 1; timer <= 10_000; timer++) {
      const when = (start + timer * 100) as Instant;
      clock.at(when, () => {
        rung++;
        if (clock.now() < when) early++;
      });
    }
    let calls = 0;
    while (rung < 10_000 && calls < 20_000) {
      // The thread ends its sleep when it was asked to, and its message takes the lead.
      move((waker.asked.at(-1) ?? 0) + waker.lead);
      calls++;
      called().wake();
    }
    expect({ rung, early }).toEqual({ rung: 10_000, early: 0 });
    // The last few timers are called one by one.
    expect(calls).toBeLessThan(4_200);
    clock.stop();
  });

  it('gives the event loop a turn after 2 ms of calls', () => {
    const { clock, called, move } = still();
    let rung = 0;
    const when = (clock.now() + MILLISECOND) as Instant;
    for (let timer = 0; timer < 10; timer++) {
      clock.at(when, () => {
        rung++;
        move(500);
      });
    }
    move(1_000);
    called().wake();
    expect(rung).toBe(4);
    clock.stop();
  });
});

describe('a clock with the thread', () => {
  const SILENT = 'setInterval(() => {}, 60_000)';

  /** Arms 300 timers over 30 ms, waits for all and answers how late each was. */
  async function lateness(clock: SystemClock): Promise<readonly number[]> {
    const start = clock.now();
    const late: number[] = [];
    await new Promise<void>((resolve) => {
      for (let index = 0; index < 300; index++) {
        const when = (start + ((index * 7_919) % 30_000)) as Instant;
        clock.at(when, () => {
          late.push(clock.now() - when);
          if (late.length === 300) resolve();
        });
      }
    });
    return late;
  }

  function system(openWaker: (called: Called) => Waker): SystemClock {
    return createSystemClock({ sources: { monotonic: process.hrtime.bigint, wall: Date.now, boot: '' }, record: undefined, openWaker });
  }

  it('never wakes early, while the thread starts and when it runs', async () => {
    let messages = 0;
    const clock = system(({ wake, lost }) =>
      openWakeThread({
        monotonic: process.hrtime.bigint,
        wake() {
          messages++;
          wake();
        },
        lost,
      }),
    );
    for (let round = 0; messages === 0 && round < 1_000; round++) expect(Math.min(...(await lateness(clock)))).toBeGreaterThanOrEqual(0);
    expect(messages).toBeGreaterThan(0);
    expect(Math.min(...(await lateness(clock)))).toBeGreaterThanOrEqual(0);
    clock.stop();
  });

  it('calls every timer, not early, while a thread that runs never wakes the loop', async () => {
    const clock = system(({ wake, lost }) => openWakeThread({ monotonic: process.hrtime.bigint, wake, lost, code: SILENT }));
    for (let round = 0; round < 10; round++) expect(Math.min(...(await lateness(clock)))).toBeGreaterThanOrEqual(0);
    clock.stop();
  });

  it.each([
    ['is no code', '%'],
    ['fails', 'throw new Error("no luck")'],
    ['ends', 'process.exit(3)'],
  ])('still calls every timer, not early, when the thread %s', async (_, code) => {
    const losses: Error[] = [];
    let told: () => void;
    const ended = new Promise<void>((resolve) => {
      told = resolve;
    });
    const clock = system(({ wake, lost }) =>
      openWakeThread({
        ...{ monotonic: process.hrtime.bigint, wake, code },
        lost(cause) {
          losses.push(cause);
          lost(cause);
          told();
        },
      }),
    );
    expect(Math.min(...(await lateness(clock)))).toBeGreaterThanOrEqual(0);
    await ended;
    expect(Math.min(...(await lateness(clock)))).toBeGreaterThanOrEqual(0);
    expect(losses).toHaveLength(1);
    clock.stop();
  });
});
