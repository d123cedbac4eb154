import { MILLISECOND, type Micros } from '../core/time.ts';
import type { Answer, Question } from './questions.ts';
import { RegisterConflict, type Registers } from './registers.ts';
import type { Timers } from './replica.ts';

/** T of coordination.md 2.6, wider for machines that are busy: a renewal that is not answered by then is asked again, with three more tries before its slots run out. */
const ANSWER_WITHIN: Micros = 250 * MILLISECOND;

/** What a registrar is made of. */
export interface RegistrarParts {
  readonly registers: Registers;
  readonly timers: Timers;
  /** Called once for each question, never while it is being asked. */
  readonly answered: (id: number, answer: Answer) => void;
  /** The registers reject, after they worked. */
  readonly failing: (cause: unknown) => void;
}

/** Puts questions to the registers and gives each one answer: in time, or `unknown`. What comes later is dropped. */
export class Registrar {
  readonly #parts: RegistrarParts;
  #working = true;

  constructor(parts: RegistrarParts) {
    this.#parts = parts;
  }

  ask(question: Question): void {
    const { timers, answered } = this.#parts;
    let open = true;
    const answer = (given: Answer): void => {
      if (!open) return;
      open = false;
      cancel();
      answered(question.id, given);
    };
    const cancel = timers.after(ANSWER_WITHIN, () => answer({ kind: 'unknown' }));
    void this.#put(question).then(answer);
  }

  /** Never rejects. */
  async #put(question: Question): Promise<Answer> {
    const { registers, failing } = this.#parts;
    try {
      const answer = await this.#answer(registers, question);
      this.#working = true;
      return answer;
    } catch (cause) {
      if (cause instanceof RegisterConflict) return { kind: 'conflict' };
      if (this.#working) failing(cause);
      this.#working = false;
      return { kind: 'unknown' };
    }
  }

  async #answer(registers: Registers, question: Question): Promise<Answer> {
    const { register } = question;
    if (question.kind === 'read') return { kind: 'value', value: await registers.read(register) };
    return { kind: 'changed', revision: await registers.change(register, question.bytes, question.revision) };
  }
}
