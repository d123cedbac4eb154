import type { DescMessage, DescMethodServerStreaming, DescMethodUnary, MessageShape } from '@bufbuild/protobuf';
import type { Refusal } from '../core/refusal.ts';
import type { CallContext } from './validation.ts';

/** A call that may be held; ends in exactly one of its two ways. */
export interface PendingCall {
  /** The caller is gone, or the answer could not be written. */
  cancel(): void;
  /** The answer was written. */
  delivered(): void;
}

/** Takes the answer of a call, once: the message, or why there is none. */
export type Reply<O> = (message: O | undefined, refusal: Refusal | undefined) => void;

/** One call, decoded message in, message or refusal out, of whatever protocol. `reply` may be called before it returns. */
export type Unary<I, O> = (facts: CallContext, request: I, reply: Reply<O>) => PendingCall;

/** A call with its descriptor, the types of its messages forgotten: a codec of `method` is all one needs. */
export interface UnaryCall {
  readonly method: DescMethodUnary;
  readonly call: Unary<unknown, unknown>;
}

/** Where the answers of a server stream go, of whatever protocol. */
export interface StreamSink<O> {
  /** False: the caller is gone. */
  send(message: O): boolean;
  /** False: the caller has not read what was sent before; news would be out of date once it does. Left out: always true. */
  ready?(): boolean;
  /** The end: after the last message, or with why there are no more. Once. */
  end(refusal: Refusal | undefined): void;
}

/** A call that is answered by a stream, the types of its messages forgotten. */
export interface StreamCall {
  readonly method: DescMethodServerStreaming;
  /** Returns what to do when the caller leaves. */
  readonly open: (facts: CallContext, request: unknown, sink: StreamSink<unknown>) => () => void;
}

/** Joins a descriptor and the call of its very types. */
export function unary<I extends DescMessage, O extends DescMessage>(method: DescMethodUnary<I, O>, call: Unary<MessageShape<I>, MessageShape<O>>): UnaryCall {
  return { method, call: call as Unary<unknown, unknown> };
}

/** A call that has nothing to give back. */
export const NOTHING_PENDING: PendingCall = Object.freeze({ cancel() {}, delivered() {} });

/** What {@link runHeldCall} answers when there is nothing left to leave. */
export const ANSWERED = (): void => {};

/** Writes an answer; false: the caller was gone. Exactly one of the first two is there. */
export type Write<O> = (message: O | undefined, refusal: Refusal | undefined) => boolean;

/**
 * Runs one call and reports to it whether its response was written: a permit that did not reach its caller is returned. Returns what to
 * do when the caller leaves; after the answer that does nothing ({@link ANSWERED} when it was answered at once).
 */
export function runHeldCall<I, O>(call: Unary<I, O>, facts: CallContext, request: I, write: Write<O>): () => void {
  let ongoing: PendingCall | undefined;
  let written: boolean | undefined;
  const started = call(facts, request, (message, refusal) => {
    if (written !== undefined) return;
    written = write(message, refusal);
    if (ongoing !== undefined) settle(ongoing, written);
  });
  ongoing = started;
  if (written !== undefined) {
    settle(started, written);
    return ANSWERED;
  }
  return () => {
    if (written !== undefined) return;
    written = false;
    started.cancel();
  };
}

function settle(ongoing: PendingCall, written: boolean): void {
  if (written) ongoing.delivered();
  else ongoing.cancel();
}
