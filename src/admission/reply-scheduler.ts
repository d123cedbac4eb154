import { Fifo } from '../core/collections/fifo.ts';
import type { Micros } from '../core/time.ts';
import type { Clock } from './clock.ts';
import type { PendingAcquire } from './pending-acquire.ts';

/** Answers in one turn of the event loop at most, and the time they may take. */
const SLICE_ANSWERS = 128;
const SLICE_TIME: Micros = 4_000;
/** Replies sent within the call that decided them. */
const AT_ONCE = 32;

/**
 * Sends callers what was decided, in order within each queue, and in slices: a window that opens for 19,000 callers must
 * not keep the event loop from cancels and heartbeats. Queues with more to send take turns.
 */
export class ReplyScheduler {
  readonly #clock: Clock;
  readonly #defer: (run: () => void) => void;
  readonly #fault: (cause: unknown) => void;
  readonly #busy: ReplyQueue[] = [];
  #scheduled = false;

  /** `defer` runs something in the next turn of the event loop; `fault` is called when a front end threw at its reply. */
  constructor(deps: { clock: Clock; defer: (run: () => void) => void; fault: (cause: unknown) => void }) {
    this.#clock = deps.clock;
    this.#defer = deps.defer;
    this.#fault = deps.fault;
  }

  /** A line of answers with an order of its own. */
  queue(): ReplyQueue {
    return new ReplyQueue((queue) => this.#more(queue), this.#fault);
  }

  #more(queue: ReplyQueue): void {
    this.#busy.push(queue);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#defer(() => this.#slice());
  }

  #slice(): void {
    this.#scheduled = false;
    const end = this.#clock.now() + SLICE_TIME;
    let left = SLICE_ANSWERS;
    while (left > 0 && this.#busy.length > 0 && this.#clock.now() <= end) {
      const queue = this.#busy.shift() as ReplyQueue;
      left -= queue.send(Math.min(left, 16));
      if (queue.empty) queue.markIdle();
      else this.#busy.push(queue);
    }
    if (this.#busy.length === 0) return;
    this.#scheduled = true;
    this.#defer(() => this.#slice());
  }
}

/** One line of answers. */
export class ReplyQueue {
  readonly #more: (queue: ReplyQueue) => void;
  readonly #fault: (cause: unknown) => void;
  readonly #line = new Fifo<PendingAcquire>();
  /** Answering now, or later: new ones go behind. */
  #busy = false;

  constructor(more: (queue: ReplyQueue) => void, fault: (cause: unknown) => void) {
    this.#more = more;
    this.#fault = fault;
  }

  get empty(): boolean {
    return this.#line.length === 0;
  }

  push(hold: PendingAcquire): void {
    this.#line.push(hold);
  }

  /** Sends the first ones now and leaves the rest to later turns. Calls from within an answer do nothing: the order is kept. */
  flush(): void {
    if (this.#busy || this.empty) return;
    this.#busy = true;
    this.send(AT_ONCE);
    if (this.empty) this.markIdle();
    else this.#more(this);
  }

  /** Sends up to `count`; returns how many. */
  send(count: number): number {
    let sent = 0;
    while (sent < count) {
      const hold = this.#line.shift();
      if (hold === undefined) break;
      sent++;
      try {
        hold.answer();
      } catch (cause) {
        this.#fault(cause);
      }
    }
    return sent;
  }

  /** Nothing left to send. */
  markIdle(): void {
    this.#busy = false;
  }
}
