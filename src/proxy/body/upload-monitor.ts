import type { Clock } from '../../admission/clock.ts';
import { type Instant, type Micros, plus, SECOND } from '../../core/time.ts';

/** A sender's speed is measured over this long. */
const SPAN: Micros = 5 * SECOND;
/** What a pace looks at. */
export interface UploadSource {
  /** When it began. */
  readonly since: Instant;
  /** Bytes so far. */
  readonly received: number;
  /** The body is not read at the moment: the pause is not the sender's. */
  readonly paused: boolean;
  /** Called once at most; then monitoring has ended. */
  tooSlow(why: 'speed' | 'time'): void;
}

/** Watches that a sender keeps a speed, and that a body is whole in time. */
export class UploadMonitor {
  readonly #clock: Clock;
  readonly #sender: UploadSource;
  readonly #bytesPerSpan: number;
  #stop: () => void;
  #received = 0;
  #blameless = false;
  #restingSince: Instant | undefined;
  #wholeBy: Instant | undefined;

  /** Its first span began with the sender, within the last one. */
  constructor(deps: { clock: Clock; sender: UploadSource; bytesPerSecondMin: number; wholeBy: Instant | undefined }) {
    const { clock, sender, bytesPerSecondMin, wholeBy } = deps;
    this.#clock = clock;
    this.#sender = sender;
    this.#bytesPerSpan = (bytesPerSecondMin * SPAN) / SECOND;
    this.#wholeBy = wholeBy;
    this.#stop = this.#arm(sender.since);
  }

  /** It was paused in this span. */
  resetWindow(): void {
    this.#blameless = true;
  }

  /** Paused by who reads of it: until `goOn` its time stands still. */
  pause(): void {
    this.#blameless = true;
    if (this.#wholeBy !== undefined) this.#restingSince ??= this.#clock.now();
  }

  resume(): void {
    const due = this.#due;
    this.#restingSince = undefined;
    this.#wholeBy = due;
  }

  /** Whole within so long of its own time, if not before. */
  setDeadline(within: Micros): void {
    const now = this.#clock.now();
    const by = plus(now, within);
    const due = this.#due;
    if (due !== undefined && due <= by) return;
    this.#wholeBy = by;
    if (this.#restingSince !== undefined) this.#restingSince = now;
    this.#stop();
    this.#begin();
    this.#stop = this.#arm(now);
  }

  /** As things stand; undefined: for as long as it keeps its speed. */
  get #due(): Instant | undefined {
    const since = this.#restingSince;
    return this.#wholeBy === undefined || since === undefined ? this.#wholeBy : plus(this.#wholeBy, this.#clock.now() - since);
  }

  stop(): void {
    this.#stop();
  }

  /** A new span. */
  #begin(): void {
    this.#received = this.#sender.received;
    this.#blameless = this.#sender.paused;
  }

  /** Rings at the end of the span that began `from`, or when the body is due. */
  #arm(from: Instant): () => void {
    const next = plus(from, SPAN);
    const due = this.#due;
    const cut = due !== undefined && due < next;
    return this.#clock.at(cut ? due : next, () => {
      const now = this.#clock.now();
      if ((this.#due ?? Number.POSITIVE_INFINITY) <= now) return this.#sender.tooSlow('time');
      if (!cut && !this.#blameless && this.#sender.received - this.#received < this.#bytesPerSpan) return this.#sender.tooSlow('speed');
      this.#begin();
      this.#stop = this.#arm(now);
    });
  }
}
