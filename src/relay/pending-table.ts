import type { Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import { PendingIndex } from './lines.ts';
import type { PendingRequest } from './pending-request.ts';

/** A silent owner's answer is waited for so long after the caller's patience. */
const SILENCE: Micros = 300 * MILLISECOND;
/** When to ask again where nobody decides just now. */
const UNDECIDED_FOR: Micros = SECOND;

/** Who is held by this replica, and the end of each: an answer, or the end of its patience where no gate of this process keeps it. */
export class PendingTable {
  readonly lines = new PendingIndex();
  /** Decided by the stopgap. */
  readonly astray = new Set<PendingRequest>();
  readonly #clock: Clock;
  readonly #giveUp: (errand: PendingRequest) => void;
  #open = 0;
  onEmpty: () => void = () => {};

  /** `giveUp`: a peer that did not answer in time is told that nobody waits any more. */
  constructor(parts: { clock: Clock; giveUp: (errand: PendingRequest) => void }) {
    this.#clock = parts.clock;
    this.#giveUp = parts.giveUp;
  }

  /** Callers not yet answered. */
  get open(): number {
    return this.#open;
  }

  add(): void {
    this.#open++;
  }

  /** No gate of this process has it. */
  park(errand: PendingRequest, state: 'held' | 'porch' | 'there'): void {
    errand.state = state;
    errand.local = undefined;
    this.lines.add(errand);
    errand.cancelTimer ??= this.#clock.at(errand.heldUntil, () => this.#late(errand));
  }

  /** A gate of this process has it, which keeps its time. */
  unpark(errand: PendingRequest): void {
    this.lines.remove(errand);
    errand.cancelTimer?.();
    errand.cancelTimer = undefined;
  }

  /** Its one answer. */
  finish(errand: PendingRequest, outcome: Outcome): void {
    this.close(errand);
    errand.reply(outcome);
  }

  refuse(errand: PendingRequest, refusal: Refusal): void {
    if (errand.state === 'there') this.#giveUp(errand);
    this.finish(errand, { kind: 'refused', refusal });
  }

  /** Ends all that no gate of this process has. */
  refuseAll(refusal: Refusal, which: (errand: PendingRequest) => boolean = () => true): void {
    for (const errand of this.lines.all()) if (which(errand)) this.refuse(errand, refusal);
  }

  /** Held no longer. */
  close(errand: PendingRequest): void {
    this.unpark(errand);
    if (errand.requestSeq > 0) this.lines.unname(errand.requestSeq);
    if (this.astray.size > 0) this.astray.delete(errand);
    this.#open--;
    if (this.#open === 0) this.onEmpty();
  }

  undecided(): Refusal {
    return { reason: 'undecided', retryAt: plus(this.#clock.now(), UNDECIDED_FOR) };
  }

  #late(errand: PendingRequest): void {
    errand.cancelTimer = undefined;
    const end = plus(errand.answerUntil, SILENCE);
    if (errand.state === 'there' && this.#clock.now() < end) errand.cancelTimer = this.#clock.at(end, () => this.#late(errand));
    else this.refuse(errand, this.undecided());
  }
}
