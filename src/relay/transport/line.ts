import type { Instant } from '../../core/time.ts';
import type { ClockOffset } from './clock-offset.ts';

/** Another replica as the links keep it. */
export interface PeerState {
  readonly clock: ClockOffset;
  readonly line: OutboundQueue;
  heardAt: Instant;
  silent: boolean;
}

/** Operations for one peer that its channel does not take yet, in order. Asks among them are counted: they alone may be refused. */
export class OutboundQueue {
  #ops: { readonly text: string; readonly isAsk: boolean }[] = [];
  #head = 0;
  #asks = 0;

  get empty(): boolean {
    return this.#head === this.#ops.length;
  }

  get asks(): number {
    return this.#asks;
  }

  push(text: string, isAsk: boolean): void {
    this.#ops.push({ text, isAsk });
    if (isAsk) this.#asks++;
  }

  /** Gives one after the other to `take`, while it takes them. */
  flush(take: (text: string) => boolean): void {
    for (let next = this.#ops[this.#head]; next !== undefined && take(next.text); next = this.#ops[this.#head]) {
      this.#head++;
      if (next.isAsk) this.#asks--;
    }
    if (this.#head * 2 > this.#ops.length) {
      this.#ops = this.#ops.slice(this.#head);
      this.#head = 0;
    }
  }
}
