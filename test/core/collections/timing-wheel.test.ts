import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TimingWheel } from '../../../src/core/collections/timing-wheel.ts';
import { DAY, HOUR, type Instant, NEVER } from '../../../src/core/time.ts';

const BASE = 1_760_000_000_000_000;

/** What the wheel promises, by an array and a sort. */
class Sorted {
  #entries: { id: number; at: number; order: number }[] = [];
  #order = 0;

  schedule(id: number, at: number): void {
    this.cancel(id);
    this.#order += 1;
    if (at !== NEVER) this.#entries.push({ id, at, order: this.#order });
    this.#entries.sort((a, b) => a.at - b.at || a.order - b.order);
  }

  cancel(id: number): boolean {
    const before = this.#entries.length;
    this.#entries = this.#entries.filter((entry) => entry.id !== id);
    return this.#entries.length < before;
  }

  get size(): number {
    return this.#entries.length;
  }

  nextAt(): number {
    return this.#entries[0]?.at ?? NEVER;
  }

  pop(now: number): number {
    if (this.nextAt() > now || this.size === 0) return -1;
    return this.#entries.shift()?.id ?? -1;
  }
}

/** Distances of every size: the same bucket, the same level, years. */
const distance = fc.oneof(
  fc.integer({ min: 0, max: 3000 }),
  fc.integer({ min: 0, max: 600_000 }),
  fc.integer({ min: 0, max: 100_000_000 }),
  fc.maxSafeInteger().map((n) => Math.abs(n) % (100 * 365 * DAY)),
);
const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('schedule' as const), id: fc.nat(120), by: distance, past: fc.integer({ min: 0, max: 9 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), id: fc.nat(120) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('move' as const), by: distance }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('next' as const) }) },
);

describe('a wheel', () => {
  it('brings up what is due, in order of time and then of scheduling', () => {
    fc.assert(
      fc.property(fc.constantFrom(0, BASE), fc.array(command, { minLength: 1, maxLength: 250 }), (start, commands) => {
        const wheel = new TimingWheel();
        const sorted = new Sorted();
        let now: number = start;
        for (const step of commands) {
          if (step.kind === 'schedule') {
            const at = step.past === 0 ? Math.max(0, now - step.by) : now + step.by;
            wheel.schedule(step.id, at as Instant);
            sorted.schedule(step.id, at);
          } else if (step.kind === 'cancel') expect(wheel.cancel(step.id)).toBe(sorted.cancel(step.id));
          else if (step.kind === 'next') now = Math.min(sorted.nextAt() === NEVER ? now : Math.max(now, sorted.nextAt()), Number.MAX_SAFE_INTEGER / 2);
          else now = Math.min(now + step.by, Number.MAX_SAFE_INTEGER / 2);
          expect(wheel.nextAt()).toBeLessThanOrEqual(sorted.nextAt());
          if (step.kind === 'move' || step.kind === 'next') {
            for (;;) {
              const id = wheel.pop(now as Instant);
              expect(id).toBe(sorted.pop(now));
              if (id === -1) break;
            }
            // Whoever sleeps until `nextAt` never wakes for nothing twice at one moment.
            expect(wheel.nextAt()).toBeGreaterThan(now);
          }
          expect(wheel.size).toBe(sorted.size);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('reaches a timer in at most seven wake-ups, however far it is', () => {
    for (const far of [1, 1500, 300_000, HOUR, 40 * DAY, 80 * 365 * DAY]) {
      const wheel = new TimingWheel();
      for (let id = 0; id < 40; id++) wheel.schedule(id, (BASE + 90 * 365 * DAY) as Instant);
      wheel.pop(BASE as Instant);
      wheel.schedule(99, (BASE + far) as Instant);
      let wakes = 0;
      let now = BASE as Instant;
      for (;;) {
        const id = wheel.pop(now);
        if (id === 99) break;
        expect(wheel.nextAt()).toBeGreaterThan(now);
        now = wheel.nextAt();
        wakes += 1;
      }
      expect(now).toBe(BASE + far);
      expect(wakes).toBeLessThanOrEqual(7);
    }
  });

  it('answers NEVER when nothing is scheduled, and forgets what is put off for ever', () => {
    const wheel = new TimingWheel();
    expect(wheel.nextAt()).toBe(NEVER);
    expect(wheel.pop(NEVER)).toBe(-1);
    wheel.schedule(3, 5 as Instant);
    wheel.schedule(3, NEVER);
    expect(wheel.size).toBe(0);
    expect(wheel.nextAt()).toBe(NEVER);
  });

  it('brings up many of one moment in the order of scheduling', () => {
    const wheel = new TimingWheel();
    for (let id = 0; id < 500; id++) wheel.schedule((id * 7) % 500, (BASE + HOUR) as Instant);
    const order: number[] = [];
    for (let id = wheel.pop((BASE + HOUR) as Instant); id !== -1; id = wheel.pop((BASE + HOUR) as Instant)) order.push(id);
    expect(order).toEqual(Array.from({ length: 500 }, (_, id) => (id * 7) % 500));
  });
});
