import type { Clock } from '../admission/clock.ts';
import { after, type Instant, type Micros, SECOND } from '../core/time.ts';

/** A sender's speed is measured over this long. */
const SPAN: Micros = 5 * SECOND;

/** What a pace looks at. */
export interface Paced {
  /** Bytes so far. */
  readonly received: number;
  /** Nobody reads at the moment: the sender is not to blame. */
  readonly paused: boolean;
}

/** Watches that a sender keeps a speed, and that a body is whole in time; `tooSlow` is called at most once. */
export class Pace {
  readonly #clock: Clock;
  readonly #sender: Paced;
  readonly #bytesPerSpan: number;
  readonly #tooSlow: (why: 'speed' | 'time') => void;
  #stop: () => void;
  #received = 0;
  #blameless = false;
  #restingSince: Instant | undefined;
  #wholeBy: Instant | undefined;

  constructor(parts: { clock: Clock; sender: Paced; bytesPerSecondMin: number; wholeBy: Instant | undefined; tooSlow: (why: 'speed' | 'time') => void }) {
    this.#clock = parts.clock;
    this.#sender = parts.sender;
    this.#bytesPerSpan = (parts.bytesPerSecondMin * SPAN) / SECOND;
    this.#tooSlow = parts.tooSlow;
    this.#wholeBy = parts.wholeBy;
    this.#stop = this.#arm();
  }

  /** It was paused in this span. */
  excuse(): void {
    this.#blameless = true;
  }

  /** Paused by who reads of it: until `goOn` its time stands still. */
  rest(): void {
    this.#blameless = true;
    if (this.#wholeBy !== undefined) this.#restingSince ??= this.#clock.now();
  }

  goOn(): void {
    const due = this.#due;
    this.#restingSince = undefined;
    this.#wholeBy = due;
  }

  /** Whole within so long of its own time, if not before. */
  hurry(within: Micros): void {
    const by = after(this.#clock.now(), within);
    const due = this.#due;
    if (due !== undefined && due <= by) return;
    this.#wholeBy = by;
    if (this.#restingSince !== undefined) this.#restingSince = this.#clock.now();
    this.#stop();
    this.#stop = this.#arm();
  }

  /** As things stand; undefined: for as long as it keeps its speed. */
  get #due(): Instant | undefined {
    const since = this.#restingSince;
    return this.#wholeBy === undefined || since === undefined ? this.#wholeBy : after(this.#wholeBy, this.#clock.now() - since);
  }

  stop(): void {
    this.#stop();
  }

  #arm(): () => void {
    this.#received = this.#sender.received;
    this.#blameless = this.#sender.paused;
    const next = after(this.#clock.now(), SPAN);
    const due = this.#due;
    const cut = due !== undefined && due < next;
    return this.#clock.at(cut ? due : next, () => {
      if ((this.#due ?? Number.POSITIVE_INFINITY) <= this.#clock.now()) return this.#tooSlow('time');
      if (!cut && !this.#blameless && this.#sender.received - this.#received < this.#bytesPerSpan) return this.#tooSlow('speed');
      this.#stop = this.#arm();
    });
  }
}
