import type { Costs } from '../core/group.ts';
import type { Micros } from '../core/time.ts';
import { Settler } from './costs.ts';
import type { BackendHead, RawHeaders } from './forwarder.ts';
import { answerHeaders, answerTrailers, headerOf } from './headers.ts';
import type { CallerSink } from './incoming.ts';
import { pushbackHint } from './pushback-hints.ts';
import type { CostRule } from './route.ts';

/** Of an answer nobody will see so much is read, to keep its connection; beyond, it is cut. */
const SWALLOWED_BYTES_MAX = 64 << 10;

/** What the way of one answer is made of. */
export interface AnswerParts {
  readonly head: BackendHead;
  readonly costs: readonly CostRule[];
  readonly epochMs: number;
  /** Headers it gets beside its own. */
  readonly added: RawHeaders;
  /** undefined: nobody listens any more. */
  readonly sink: CallerSink | undefined;
  /** The backend wants quiet for so long: is the request to be sent again, and this answer to be seen by nobody? */
  readonly again: (pause: Micros) => boolean;
  readonly abort: (cause: Error) => void;
}

/** One answer of a backend on its way to the caller, or to nobody. */
export class AnswerWay {
  readonly #parts: AnswerParts;
  readonly #settler: Settler | undefined;
  #sink: CallerSink | undefined;
  #swallowed = 0;
  #resume: (() => void) | undefined;
  /** The backend answered 429 or 503. */
  readonly pushedBack: boolean;
  /** How long it wants quiet, where it said. */
  readonly hint: Micros | undefined;
  /** The request is to be sent again. */
  replays = false;
  /** The caller has seen its head. */
  told = false;

  constructor(parts: AnswerParts) {
    this.#parts = parts;
    this.#sink = parts.sink;
    const { status, headers } = parts.head;
    this.pushedBack = status === 429 || status === 503;
    this.hint = this.pushedBack ? pushbackHint(headers, parts.epochMs) : undefined;
    this.#settler = this.pushedBack ? undefined : Settler.of(parts.costs, headerOf(headers, 'content-type'), headerOf(headers, 'content-encoding'));
  }

  /** Tells the head, unless it is to be swallowed or cannot be told. */
  begin(): void {
    const { head, added, again, abort } = this.#parts;
    if (this.hint !== undefined && this.#sink !== undefined) this.replays = again(this.hint);
    if (this.replays) this.#sink = undefined;
    if (this.#sink === undefined) return;
    const headers = answerHeaders(head.headers);
    if (headers === undefined) {
      this.#sink = undefined;
      return abort(new Error('A header of the answer holds a control character or a name that is none.'));
    }
    headers.push(...added);
    this.told = true;
    this.#sink.onHead({ ...head, headers });
  }

  /** False: full; `resume` is called when there is room. */
  data(chunk: Uint8Array, resume: () => void): boolean {
    this.#settler?.take(chunk);
    if (this.#sink !== undefined) {
      this.#resume = resume;
      return this.#sink.onData(chunk, resume);
    }
    this.#swallowed += chunk.byteLength;
    if (this.replays && this.#swallowed > SWALLOWED_BYTES_MAX) this.#parts.abort(new Error('Nobody wants this answer.'));
    return true;
  }

  end(trailers: RawHeaders): void {
    this.#sink?.onEnd(answerTrailers(trailers));
  }

  /** The caller is gone; what still comes is read and forgotten. */
  leave(): void {
    this.#sink = undefined;
    this.#resume?.();
  }

  /** The real costs, where the answer says. */
  costs(missing: (unit: string) => void): Costs | undefined {
    return this.#settler?.costs(missing);
  }
}
