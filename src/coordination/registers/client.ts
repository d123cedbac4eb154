import { MILLISECOND, type Micros } from '../../core/time.ts';
import type { Timers } from '../replica.ts';
import { RegisterConflict, type Registers } from './registers.ts';
import type { RegisterRequest, RegisterResponse } from './requests.ts';

/** T of docs/design/coordination.md 2.6, wider for machines that are busy: a renewal that is not answered by then is asked again, with three more tries before its slots run out. */
const ANSWER_WITHIN: Micros = 250 * MILLISECOND;

/** What a registrar is made of. */
export interface RegistrarParts {
  readonly registers: Registers;
  readonly timers: Timers;
  /** A question is given up after this; default and most: 250 ms. */
  readonly answerWithin?: Micros | undefined;
  /** Runs something once what has arrived from outside was read: a process that stood still must not take what waits to be read for missing. Default: at once. */
  readonly defer?: ((run: () => void) => void) | undefined;
  /** Called once for each question, and again for a change that was `unknown` and is made; never while it is being asked. */
  readonly answered: (id: number, answer: RegisterResponse) => void;
  /** The registers reject, after they worked. */
  readonly failing: (cause: unknown) => void;
}

/** Puts questions to the registers and gives each one answer: in time, or `unknown`. Of what comes later only a change that was made is said, once more. */
export class RegisterClient {
  readonly #parts: RegistrarParts;
  #working = true;

  constructor(parts: RegistrarParts) {
    this.#parts = parts;
  }

  ask(question: RegisterRequest): void {
    const { timers, answered, answerWithin = ANSWER_WITHIN, defer = (run) => run() } = this.#parts;
    let open = true;
    const giveUp = (): void => {
      if (!open) return;
      open = false;
      answered(question.id, { kind: 'unknown' });
    };
    const cancel = timers.after(Math.min(answerWithin, ANSWER_WITHIN), () => defer(giveUp));
    void this.#put(question).then((given) => {
      cancel();
      if (open || given.kind === 'changed') answered(question.id, given);
      open = false;
    });
  }

  /** Never rejects. */
  async #put(question: RegisterRequest): Promise<RegisterResponse> {
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

  async #answer(registers: Registers, question: RegisterRequest): Promise<RegisterResponse> {
    const { register } = question;
    if (question.kind === 'read') return { kind: 'value', value: await registers.read(register) };
    return { kind: 'changed', revision: await registers.change(register, question.bytes, question.revision) };
  }
}
