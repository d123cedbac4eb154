import type { ClockReading } from '../clocks/shard-clock.ts';
import type { RegisterValue } from './registers.ts';

/** A request of a state machine to the registers; to be answered once, by {@link RegisterRequests.answer}. */
export type RegisterRequest =
  | { readonly id: number; readonly kind: 'read'; readonly register: string }
  | { readonly id: number; readonly kind: 'change'; readonly register: string; readonly bytes: Uint8Array; readonly revision: number };

/**
 * What came of it. `unknown`: no answer in time, or an error: a change may have happened, may still happen later, or never.
 * The registers behind may be one set (Q=1) or a majority of three (Q=3): then `changed` and `conflict` mean a majority.
 */
export type RegisterResponse =
  | { readonly kind: 'value'; readonly value: RegisterValue | undefined }
  | { readonly kind: 'changed'; readonly revision: number }
  | { readonly kind: 'conflict' }
  | { readonly kind: 'unknown' };

/** Called with the response. */
export type ResponseHandler<A extends RegisterResponse> = (answer: A, reading: ClockReading) => void;

/** Response to a read: a value, or `unknown`. */
export type ReadResponse = Exclude<RegisterResponse, { kind: 'changed' | 'conflict' }>;

/** Response to a change: its revision, a conflict, or `unknown`. */
export type ChangeResponse = Exclude<RegisterResponse, { kind: 'value' }>;

/** A change that was made, although its response was given up. */
export type LateAnswer = Extract<RegisterResponse, { kind: 'changed' }>;

/** Changes given up whose late answers are waited for; beyond, the oldest is forgotten. */
const LATE_MAX = 16;

/**
 * Requests of the state machines of one process to the registers. It does no I/O: the driver of the machines takes
 * the requests, sends them, and passes the responses, in any order, late or never.
 */
export class RegisterRequests {
  readonly #open = new Map<number, ResponseHandler<RegisterResponse>>();
  readonly #late = new Map<number, ResponseHandler<LateAnswer>>();
  #requests: RegisterRequest[] = [];
  #lastId = 0;

  read(register: string, then: ResponseHandler<ReadResponse>): void {
    const id = ++this.#lastId;
    this.#open.set(id, (answer, reading) => then(answer.kind === 'value' ? answer : { kind: 'unknown' }, reading));
    this.#requests.push({ id, kind: 'read', register });
  }

  /** Writes if `revision` is still the newest (0: never written). `late` is called once at most: `then` got `unknown`, and the change turns out to be made. */
  change(register: string, bytes: Uint8Array, revision: number, then: ResponseHandler<ChangeResponse>, late?: ResponseHandler<LateAnswer>): void {
    const id = ++this.#lastId;
    if (late !== undefined) this.#await(id, late);
    this.#open.set(id, (answer, reading) => then(answer.kind === 'value' ? { kind: 'unknown' } : answer, reading));
    this.#requests.push({ id, kind: 'change', register, bytes, revision });
  }

  /** Returns and clears the requests since the last call, in order. */
  take(): readonly RegisterRequest[] {
    const requests = this.#requests;
    this.#requests = [];
    return requests;
  }

  /** Passes the response to one request. A second response to it is ignored, unless it reports that a change was made which was `unknown` before. */
  answer(id: number, answer: RegisterResponse, reading: ClockReading): void {
    const then = this.#open.get(id);
    const late = this.#late.get(id);
    this.#open.delete(id);
    if (then === undefined || answer.kind !== 'unknown') this.#late.delete(id);
    if (then !== undefined) then(answer, reading);
    else if (answer.kind === 'changed') late?.(answer, reading);
  }

  #await(id: number, late: ResponseHandler<LateAnswer>): void {
    this.#late.set(id, late);
    const [oldest] = this.#late.keys();
    if (this.#late.size > LATE_MAX && oldest !== undefined) this.#late.delete(oldest);
  }
}
