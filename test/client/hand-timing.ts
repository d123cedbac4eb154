import type { Timing } from '../../src/client/clock.ts';

/** Time that moves by hand, and no chance. */
export class HandTiming implements Timing {
  #now = 1000;
  #due: { at: number; act: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  later(ms: number, act: () => void): () => void {
    const one = { at: this.#now + ms, act };
    this.#due.push(one);
    return () => {
      this.#due = this.#due.filter((each) => each !== one);
    };
  }

  random(): number {
    return 0;
  }

  /** Timers that wait, as milliseconds from now. */
  get waits(): readonly number[] {
    return this.#due.map(({ at }) => at - this.#now).sort((a, b) => a - b);
  }

  /** Moves on, timer by timer; what they began is done before the next. */
  async pass(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      const next = this.#due.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#due = this.#due.filter((each) => each !== next);
      this.#now = next.at;
      next.act();
      for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
    }
    this.#now = until;
  }
}
