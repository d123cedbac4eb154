import { Worker } from 'node:worker_threads';
import type { Micros } from '../core/time.ts';

/** Wakes the event loop near a moment, more exactly than `setTimeout` does, without keeping the processor busy. */
export interface Waker {
  /**
   * Asks for a call of the function it was opened with, at about `at` (CLOCK_MONOTONIC in microseconds); replaces what was
   * asked before; a call for what was replaced may still come. false: it cannot, not yet or not any more, and nothing will be called.
   */
  wakeAfter(time: Micros): boolean;
  /** So much earlier than the moment should be asked for, so that most calls come shortly after it. */
  readonly lead: Micros;
  stop(): void;
}

/** What the thread and the event loop share: word 0 counts what was asked, so that a change ends the thread's sleep. */
export interface WakeShare {
  readonly words: Int32Array<SharedArrayBuffer>;
  /** [0]: the moment in nanoseconds of CLOCK_MONOTONIC; 0: none. */
  readonly moment: BigInt64Array<SharedArrayBuffer>;
}

/** A thread's sleep ends some 30 to 200 us late: the lead follows the quarter that is quickest, within these. */
const LEAD_MIN: Micros = 10;
const LEAD_MAX: Micros = 200;

/** Steps of the lead after a call that came sooner than it, and later: they balance where a quarter comes sooner. */
const SOONER = 3;
const LATER = 1;

const NONE = 0n;

/**
 * The thread: sleeps until the moment that was asked for, posts, and sleeps again. Its text is what runs there, without
 * what surrounds it: a file would cost 10 MB and 50 ms of processor time more, for Node's stripping of types.
 */
function sleepAndPost({ words, moment }: WakeShare, monotonic: () => bigint, post: () => void): never {
  let done = 0n;
  for (;;) {
    const asked = Atomics.load(words, 0);
    const until = Atomics.load(moment, 0);
    if (until === 0n || until === done) {
      Atomics.wait(words, 0, asked);
      continue;
    }
    const leftMs = Number(until - monotonic()) / 1e6;
    // A change ends the sleep: what is asked now is read anew.
    if (leftMs > 0 && Atomics.wait(words, 0, asked, leftMs) !== 'timed-out') continue;
    done = until;
    post();
  }
}

const CODE = `const { parentPort, workerData } = require('node:worker_threads');
(${sleepAndPost})(workerData, process.hrtime.bigint, () => parentPort.postMessage(0));`;

/**
 * A thread that sleeps by `Atomics.wait`, whose timeout is exact to some 50 us, and then posts a message. It is started at
 * once, sleeps while nothing is asked, and does not keep the process alive. `wake` is called for each message; `lost` once, if the thread ends or cannot be
 * started: then `wakeAfter` answers false.
 */
export function openWakeThread(options: WakeThreadOptions): Waker {
  return new WakeThread(options);
}

/** What the thread is opened with. */
export interface WakeThreadOptions {
  /** `process.hrtime.bigint`: the thread reads the same clock. */
  readonly monotonic: () => bigint;
  readonly wake: () => void;
  readonly lost: (cause: Error) => void;
  /** The thread's code; another is for tests. */
  readonly code?: string;
}

class WakeThread implements Waker {
  readonly #monotonic: () => bigint;
  readonly #wake: () => void;
  readonly #lost: (cause: Error) => void;
  readonly #share: WakeShare;
  #worker: Worker | undefined;
  #ready = false;
  #stopped = false;
  #moment = NONE;
  #lead = 60;

  constructor({ monotonic, wake, lost, code = CODE }: WakeThreadOptions) {
    this.#monotonic = monotonic;
    this.#wake = wake;
    this.#lost = lost;
    this.#share = { words: new Int32Array(new SharedArrayBuffer(4)), moment: new BigInt64Array(new SharedArrayBuffer(8)) };
    try {
      this.#worker = this.#begin(code);
    } catch (cause) {
      queueMicrotask(() => this.#end(cause));
    }
  }

  get lead(): Micros {
    return this.#lead;
  }

  wakeAfter(time: Micros): boolean {
    if (!this.#ready) return false;
    this.#moment = this.#monotonic() + BigInt(time) * 1_000n;
    Atomics.store(this.#share.moment, 0, this.#moment);
    Atomics.add(this.#share.words, 0, 1);
    Atomics.notify(this.#share.words, 0);
    return true;
  }

  stop(): void {
    this.#stopped = true;
    this.#ready = false;
    void this.#worker?.terminate();
    this.#worker = undefined;
  }

  #begin(code: string): Worker {
    const resourceLimits = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16, stackSizeMb: 1 };
    const worker = new Worker(code, { eval: true, workerData: this.#share, execArgv: [], name: 'clock', resourceLimits });
    worker.once('online', () => {
      this.#ready = !this.#stopped;
    });
    worker.on('message', () => this.#woken());
    worker.once('error', (cause: unknown) => this.#end(cause));
    worker.once('exit', (code) => this.#end(new Error(`it ended with code ${code}`)));
    worker.unref();
    return worker;
  }

  #woken(): void {
    if (this.#stopped) return;
    const late = Number(this.#monotonic() - this.#moment);
    // A message of what was asked before says nothing of this one.
    if (this.#moment !== NONE && late >= 0) {
      this.#lead = late < this.#lead * 1_000 ? Math.max(LEAD_MIN, this.#lead - SOONER) : Math.min(LEAD_MAX, this.#lead + LATER);
      this.#moment = NONE;
    }
    this.#wake();
  }

  #end(cause: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#ready = false;
    this.#worker = undefined;
    this.#lost(cause instanceof Error ? cause : new Error(String(cause)));
  }
}
