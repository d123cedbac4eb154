import type { Clock } from '../admission/clock.ts';
import { Heap, type HeapItem } from '../core/collections/heap.ts';
import type { Instant } from '../core/time.ts';

/** Calls made in one turn of the event loop at most. */
const SLICE = 1_000;

interface Item extends HeapItem {
  readonly sequence: number;
  at: Instant;
}

/** Moments of requests, by sequence, with one timer for the earliest. */
export class Agenda {
  readonly #clock: Clock;
  readonly #call: (sequence: number) => void;
  readonly #items = new Map<number, Item>();
  readonly #heap = new Heap<Item>((a, b) => a.at < b.at || (a.at === b.at && a.sequence < b.sequence));
  #armedAt: Instant | undefined;
  #disarm: (() => void) | undefined;

  /** `call` is called once for each sequence, not before its moment. */
  constructor(clock: Clock, call: (sequence: number) => void) {
    this.#clock = clock;
    this.#call = call;
  }

  get length(): number {
    return this.#heap.size;
  }

  /** Sets or moves the moment of a sequence. */
  set(sequence: number, at: Instant): void {
    const known = this.#items.get(sequence);
    if (known === undefined) {
      const item = { sequence, at, position: -1 };
      this.#items.set(sequence, item);
      this.#heap.push(item);
    } else {
      known.at = at;
      this.#heap.update(known);
    }
    this.#arm();
  }

  delete(sequence: number): void {
    const item = this.#items.get(sequence);
    if (item === undefined) return;
    this.#items.delete(sequence);
    this.#heap.remove(item);
  }

  /** Calls nothing any more. */
  stop(): void {
    this.#disarm?.();
    this.#armedAt = undefined;
    this.#items.clear();
    for (let item = this.#heap.peek(); item !== undefined; item = this.#heap.peek()) this.#heap.remove(item);
  }

  #arm(): void {
    const next = this.#heap.peek();
    if (next === undefined || (this.#armedAt !== undefined && this.#armedAt <= next.at)) return;
    this.#disarm?.();
    this.#armedAt = next.at;
    this.#disarm = this.#clock.at(next.at, () => this.#ring());
  }

  #ring(): void {
    this.#armedAt = undefined;
    const now = this.#clock.now();
    for (let called = 0; called < SLICE; called++) {
      const next = this.#heap.peek();
      if (next === undefined || next.at > now) break;
      this.#heap.remove(next);
      this.#items.delete(next.sequence);
      this.#call(next.sequence);
    }
    this.#arm();
  }
}
