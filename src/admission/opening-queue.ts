import { type Instant, MILLISECOND, type Micros, plus } from '../core/time.ts';
import type { Clock } from './clock.ts';

/** Openings under way at once that are answered in time; also the most that begin in one turn of the event loop. */
const OPENING_MAX = 16;

/** An opening without an end after this long counts as slow: it gives its place to another shard's. */
const SLOW_AFTER: Micros = 250 * MILLISECOND;

/** Openings under way at once, slow ones included. */
const UNDER_WAY_MAX = 4 * OPENING_MAX;

interface Job {
  readonly begin: () => Promise<void>;
  readonly drop: () => void;
}

interface Running {
  readonly shard: number;
  readonly since: Instant;
  slow: boolean;
}

/** The trees of one shard that are still to be opened, by root, in the order in which they came. */
interface Queue {
  readonly awaited: Map<string, Job>;
  readonly others: Map<string, Job>;
  /** Openings under way that are slow. The shard begins no other one until they have ended. */
  slow: number;
}

/** What an opening queue is given. */
export interface OpeningQueueDeps {
  readonly clock: Clock;
  /** Runs something in the next turn of the event loop. */
  readonly defer: (run: () => void) => void;
}

/**
 * Opens the trees of gained shards a few at a time, over all shards of the process, each few in a turn of the event loop of
 * their own. A takeover of thousands of trees so lets heartbeats and renewals of the session through, which cost all shards if
 * they are late. Trees that callers wait for go first; shards take turns.
 *
 * A shard whose store does not answer holds nothing up: its openings count as slow after 250 ms, and others take their places.
 */
export class OpeningQueue {
  readonly #deps: OpeningQueueDeps;
  readonly #queues = new Map<number, Queue>();
  /** The oldest first. */
  readonly #running = new Set<Running>();
  #slow = 0;
  #scheduled = false;
  #cancelLook: (() => void) | undefined;

  constructor(deps: OpeningQueueDeps) {
    this.#deps = deps;
  }

  /** Openings that have begun and not ended. */
  get underWay(): number {
    return this.#running.size;
  }

  /** Calls `open` once it is its turn, and settles as it does. Resolves to undefined without a call if the shard is dropped before. */
  run<T>(shard: number, root: string, open: () => Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      const begin = () => open().then(resolve, reject);
      this.#queue(shard).others.set(root, { begin, drop: () => resolve(undefined) });
      this.#schedule();
    });
  }

  /** Moves the opening of a tree to the front: callers wait for it. Does nothing if it has begun. */
  hurry(shard: number, root: string): void {
    const queue = this.#queues.get(shard);
    const job = queue?.others.get(root);
    if (queue === undefined || job === undefined) return;
    queue.others.delete(root);
    queue.awaited.set(root, job);
  }

  /** Forgets the openings of a shard that have not begun. */
  drop(shard: number): void {
    const queue = this.#queues.get(shard);
    if (queue === undefined) return;
    const jobs = [...queue.awaited.values(), ...queue.others.values()];
    queue.awaited.clear();
    queue.others.clear();
    this.#tidy(shard, queue);
    for (const { drop } of jobs) drop();
  }

  #queue(shard: number): Queue {
    let queue = this.#queues.get(shard);
    if (queue === undefined) {
      queue = { awaited: new Map(), others: new Map(), slow: 0 };
      this.#queues.set(shard, queue);
    }
    return queue;
  }

  #tidy(shard: number, queue: Queue): void {
    if (queue.awaited.size === 0 && queue.others.size === 0 && queue.slow === 0) this.#queues.delete(shard);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#deps.defer(() => {
      this.#scheduled = false;
      this.#beginSome();
    });
  }

  #beginSome(): void {
    for (let begun = 0; begun < OPENING_MAX; begun++) {
      if (this.#running.size - this.#slow >= OPENING_MAX || this.#running.size >= UNDER_WAY_MAX) break;
      const next = this.#next('awaited') ?? this.#next('others');
      if (next === undefined) break;
      this.#begin(next.shard, next.job);
    }
    if (this.#queues.size > 0) this.#lookForSlow();
  }

  /** The next one of the next shard that may begin another. */
  #next(which: 'awaited' | 'others'): { readonly shard: number; readonly job: Job } | undefined {
    for (const [shard, queue] of this.#queues) {
      const [first] = queue[which];
      if (first === undefined || queue.slow > 0) continue;
      const [root, job] = first;
      queue[which].delete(root);
      this.#queues.delete(shard);
      this.#queues.set(shard, queue);
      this.#tidy(shard, queue);
      return { shard, job };
    }
    return undefined;
  }

  #begin(shard: number, { begin }: Job): void {
    const running: Running = { shard, since: this.#deps.clock.now(), slow: false };
    this.#running.add(running);
    void begin().then(() => this.#ended(running));
  }

  #ended(running: Running): void {
    this.#running.delete(running);
    if (running.slow) {
      this.#slow--;
      const queue = this.#queue(running.shard);
      queue.slow--;
      this.#tidy(running.shard, queue);
    }
    if (this.#queues.size > 0) this.#schedule();
    else this.#stopLooking();
  }

  /** Looks again when the oldest opening under way becomes slow. */
  #lookForSlow(): void {
    if (this.#cancelLook !== undefined) return;
    for (const { since, slow } of this.#running) {
      if (slow) continue;
      this.#cancelLook = this.#deps.clock.at(plus(since, SLOW_AFTER), () => this.#look());
      return;
    }
  }

  #stopLooking(): void {
    this.#cancelLook?.();
    this.#cancelLook = undefined;
  }

  #look(): void {
    this.#cancelLook = undefined;
    const now = this.#deps.clock.now();
    for (const running of this.#running) {
      if (running.slow || now < plus(running.since, SLOW_AFTER)) continue;
      running.slow = true;
      this.#slow++;
      this.#queue(running.shard).slow++;
    }
    this.#schedule();
  }
}
