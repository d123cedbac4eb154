import type { Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Refusal } from '../core/refusal.ts';
import { after, MILLISECOND, type Micros, SECOND } from '../core/time.ts';
import type { Errand } from './errand.ts';
import { Lines } from './lines.ts';

/** A silent owner's answer is waited for so long after the caller's patience. */
const SILENCE: Micros = 300 * MILLISECOND;
/** When to ask again where nobody decides just now. */
const UNDECIDED_FOR: Micros = SECOND;

/** Who is held by this replica, and the end of each: an answer, or the end of its patience where no gate of this process keeps it. */
export class Roll {
  readonly lines = new Lines();
  /** Decided by the stopgap. */
  readonly astray = new Set<Errand>();
  readonly #clock: Clock;
  readonly #giveUp: (errand: Errand) => void;
  #open = 0;
  onEmpty: () => void = () => {};

  /** `giveUp`: a peer that did not answer in time is told that nobody waits any more. */
  constructor(parts: { clock: Clock; giveUp: (errand: Errand) => void }) {
    this.#clock = parts.clock;
    this.#giveUp = parts.giveUp;
  }

  /** Callers not yet answered. */
  get open(): number {
    return this.#open;
  }

  enrol(): void {
    this.#open++;
  }

  /** No gate of this process has it. */
  stand(errand: Errand, state: 'held' | 'porch' | 'there'): void {
    errand.state = state;
    errand.local = undefined;
    this.lines.add(errand);
    errand.cancelTimer ??= this.#clock.at(errand.heldUntil, () => this.#late(errand));
  }

  /** A gate of this process has it, which keeps its time. */
  unline(errand: Errand): void {
    this.lines.remove(errand);
    errand.cancelTimer?.();
    errand.cancelTimer = undefined;
  }

  /** Its one answer. */
  finish(errand: Errand, outcome: Outcome): void {
    this.close(errand);
    errand.tell(outcome);
  }

  refuse(errand: Errand, refusal: Refusal): void {
    if (errand.state === 'there') this.#giveUp(errand);
    this.finish(errand, { kind: 'refused', refusal });
  }

  /** Ends all that no gate of this process has. */
  refuseAll(refusal: Refusal, which: (errand: Errand) => boolean = () => true): void {
    for (const errand of this.lines.all()) if (which(errand)) this.refuse(errand, refusal);
  }

  /** Held no longer. */
  close(errand: Errand): void {
    this.unline(errand);
    if (errand.wid > 0) this.lines.unname(errand.wid);
    if (this.astray.size > 0) this.astray.delete(errand);
    this.#open--;
    if (this.#open === 0) this.onEmpty();
  }

  undecided(): Refusal {
    return { reason: 'undecided', retryAt: after(this.#clock.now(), UNDECIDED_FOR) };
  }

  #late(errand: Errand): void {
    errand.cancelTimer = undefined;
    const end = after(errand.answerUntil, SILENCE);
    if (errand.state === 'there' && this.#clock.now() < end) errand.cancelTimer = this.#clock.at(end, () => this.#late(errand));
    else this.refuse(errand, this.undecided());
  }
}
