import type { GateEvent } from '../core/events.ts';
import type { GroupCounters } from './admission.ts';

/** What happened in one group since the start of the process. */
export class GroupCounterSet {
  #admitted = 0;
  #lapsed = 0;
  #released = 0;
  #shadowHeld = 0;
  readonly #refused: Record<string, number> = {};

  /** Counts an event of this group. */
  count(event: GateEvent): void {
    if (event.kind === 'admitted') {
      this.#admitted++;
      if (event.permit.shadow !== undefined) this.#shadowHeld++;
    } else if (event.kind === 'refused') {
      const { reason } = event.refusal;
      this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
    } else if (event.kind === 'ended') {
      if (event.how === 'lapsed') this.#lapsed++;
      else this.#released++;
    }
  }

  /** The figures now. */
  view(): GroupCounters {
    return { admitted: this.#admitted, refused: { ...this.#refused }, lapsed: this.#lapsed, released: this.#released, shadowHeld: this.#shadowHeld };
  }
}
