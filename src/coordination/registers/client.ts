import { MILLISECOND, type Micros } from '../../core/time.ts';
import type { Timers } from '../replica.ts';
import { RegisterConflict, type Registers } from './registers.ts';
import type { RegisterRequest, RegisterResponse } from './requests.ts';

/** T of docs/design/coordination.md 2.6, wider for machines that are busy: a renewal without a response by then is written again, with three more tries before its slots run out. */
const ANSWER_WITHIN: Micros = 250 * MILLISECOND;

/** Options of {@link RegisterClient}. */
export interface RegisterClientOptions {
  readonly registers: Registers;
  readonly timers: Timers;
  /** A request is given up after this; default and maximum: 250 ms. */
  readonly answerWithin?: Micros | undefined;
  /** Runs a function after pending input was read: after a stall, responses that wait to be read must not count as missing. Default: at once. */
  readonly defer?: ((run: () => void) => void) | undefined;
  /** Called once for each request, and again for a change that was `unknown` and is made; never from within `send`. */
  readonly onResponse: (id: number, answer: RegisterResponse) => void;
  /** Called when the registers reject a request, after they worked. */
  readonly onFailure: (cause: unknown) => void;
}

/** Sends requests to the registers and reports one response to each: in time, or `unknown`. Of late responses only a change that was made is reported, once more. */
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
