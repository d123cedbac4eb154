import { MILLISECOND, type Micros } from '../../core/time.ts';
import type { Timers } from '../replica.ts';
import { RegisterConflict, type Registers } from './registers.ts';
import type { RegisterRequest, RegisterResponse } from './requests.ts';

/** T of docs/design/coordination.md 2.6, wider for machines that are busy: a renewal that is not answered by then is asked again, with three more tries before its slots run out. */
const ANSWER_WITHIN: Micros = 250 * MILLISECOND;

/** What a registrar is made of. */
export interface RegisterClientOptions {
  readonly registers: Registers;
  readonly timers: Timers;
  /** A question is given up after this; default and most: 250 ms. */
  readonly answerWithin?: Micros | undefined;
  /** Runs something once what has arrived from outside was read: a process that stood still must not take what waits to be read for missing. Default: at once. */
  readonly defer?: ((run: () => void) => void) | undefined;
  /** Called once for each question, and again for a change that was `unknown` and is made; never while it is being asked. */
  readonly onResponse: (id: number, answer: RegisterResponse) => void;
  /** The registers reject, after they worked. */
  readonly onFailure: (cause: unknown) => void;
}

/** Puts questions to the registers and gives each one answer: in time, or `unknown`. Of what comes later only a change that was made is said, once more. */
export class RegisterClient {
  readonly #options: RegisterClientOptions;
  #working = true;

  constructor(options: RegisterClientOptions) {
    this.#options = options;
  }

  send(request: RegisterRequest): void {
    const { timers, onResponse, answerWithin = ANSWER_WITHIN, defer = (run) => run() } = this.#options;
    let open = true;
    const giveUp = (): void => {
      if (!open) return;
      open = false;
      onResponse(request.id, { kind: 'unknown' });
    };
    const cancel = timers.after(Math.min(answerWithin, ANSWER_WITHIN), () => defer(giveUp));
    void this.#perform(request).then((given) => {
      cancel();
      if (open || given.kind === 'changed') onResponse(request.id, given);
      open = false;
    });
  }

  /** Never rejects. */
  async #perform(request: RegisterRequest): Promise<RegisterResponse> {
    const { registers, onFailure } = this.#options;
    try {
      const answer = await this.#answer(registers, request);
      this.#working = true;
      return answer;
    } catch (cause) {
      if (cause instanceof RegisterConflict) return { kind: 'conflict' };
      if (this.#working) onFailure(cause);
      this.#working = false;
      return { kind: 'unknown' };
    }
  }

  async #answer(registers: Registers, request: RegisterRequest): Promise<RegisterResponse> {
    const { register } = request;
    if (request.kind === 'read') return { kind: 'value', value: await registers.read(register) };
    return { kind: 'changed', revision: await registers.change(register, request.bytes, request.revision) };
  }
}
