import type { RegisterValue } from './registers.ts';
import type { ClockReading } from './shard-clock.ts';

/** Something a state machine wants of the registers; to be answered once, by {@link Questions.answer}. */
export type Question =
  | { readonly id: number; readonly kind: 'read'; readonly register: string }
  | { readonly id: number; readonly kind: 'change'; readonly register: string; readonly bytes: Uint8Array; readonly revision: number };

/**
 * What came of it. `unknown`: no answer in time, or an error: a change may have happened, may still happen later, or never.
 * The registers behind may be one set (Q=1) or a majority of three (Q=3): then `changed` and `conflict` mean a majority.
 */
export type Answer =
  | { readonly kind: 'value'; readonly value: RegisterValue | undefined }
  | { readonly kind: 'changed'; readonly revision: number }
  | { readonly kind: 'conflict' }
  | { readonly kind: 'unknown' };

/** What goes on when the answer comes. */
export type Then<A extends Answer> = (answer: A, reading: ClockReading) => void;

/** A read answers with a value or not at all. */
export type ReadAnswer = Exclude<Answer, { kind: 'changed' | 'conflict' }>;

/** A change answers with its revision, a conflict, or not at all. */
export type ChangeAnswer = Exclude<Answer, { kind: 'value' }>;

/**
 * The questions that the state machines of one process have put to the registers. It does no I/O: whoever drives the
 * machines takes them, asks, and brings the answers, in any order, late or never.
 */
export class Questions {
  readonly #open = new Map<number, Then<Answer>>();
  #asked: Question[] = [];
  #last = 0;

  read(register: string, then: Then<ReadAnswer>): void {
    const id = ++this.#last;
    this.#open.set(id, (answer, reading) => then(answer.kind === 'value' ? answer : { kind: 'unknown' }, reading));
    this.#asked.push({ id, kind: 'read', register });
  }

  /** Writes if `revision` is still the newest (0: never written). */
  change(register: string, bytes: Uint8Array, revision: number, then: Then<ChangeAnswer>): void {
    const id = ++this.#last;
    this.#open.set(id, (answer, reading) => then(answer.kind === 'value' ? { kind: 'unknown' } : answer, reading));
    this.#asked.push({ id, kind: 'change', register, bytes, revision });
  }

  /** The questions since the last take, in order. */
  take(): readonly Question[] {
    const asked = this.#asked;
    this.#asked = [];
    return asked;
  }

  /** The answer to one of them; a second answer to the same does nothing. */
  answer(id: number, answer: Answer, reading: ClockReading): void {
    const then = this.#open.get(id);
    this.#open.delete(id);
    then?.(answer, reading);
  }

  /** Asked and not answered. */
  get open(): number {
    return this.#open.size;
  }
}
