import { TimingWheel } from '../collections/timing-wheel.ts';
import { earlier, type Instant, NEVER } from '../time.ts';

/** What time alone will change among the waiters of a gate: wait timeout that ends, keys that are ready again, nodes that are. */
export class GateTimers {
  /** By slot of the waiter. */
  readonly #waitTimeout = new TimingWheel();
  /** By id of the key. */
  readonly #keys = new TimingWheel();
  /** By index of the node. */
  readonly #nodes = new TimingWheel();
  /** Nothing is due before; may be too early, never too late. */
  due: Instant = NEVER;

  /** Something is to be done at `at`. */
  dueBy(at: Instant): void {
    if (at < this.due) this.due = at;
  }

  /** The waiter's wait timeout is looked at at `at`; NEVER: it is without end. */
  setWaitTimeout(slot: number, at: Instant): void {
    this.#set(this.#waitTimeout, slot, at);
  }

  clearWaitTimeout(slot: number): void {
    this.#waitTimeout.cancel(slot);
  }

  /** NEVER: until something else wakes it. */
  setKey(id: number, at: Instant): void {
    this.#set(this.#keys, id, at);
  }

  clearKey(id: number): void {
    this.#keys.cancel(id);
  }

  /** NEVER: until something else wakes it. */
  setNode(index: number, at: Instant): void {
    this.#set(this.#nodes, index, at);
  }

  clearNode(index: number): void {
    this.#nodes.cancel(index);
  }

  /** When a key or a node is next to be looked at, or a little before. */
  nextReadyAt(): Instant {
    return earlier(this.#keys.nextAt(), this.#nodes.nextAt());
  }

  nextExpiry(): Instant {
    return this.#waitTimeout.nextAt();
  }

  /** A waiter whose wait timeout ended by `at`; -1: none. */
  popExpiry(at: Instant): number {
    return this.#waitTimeout.pop(at);
  }

  popKey(at: Instant): number {
    return this.#keys.pop(at);
  }

  popNode(at: Instant): number {
    return this.#nodes.pop(at);
  }

  #set(wheel: TimingWheel, id: number, at: Instant): void {
    if (at === NEVER) return;
    wheel.schedule(id, at);
    this.dueBy(at);
  }
}
