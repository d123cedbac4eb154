import { create } from '@bufbuild/protobuf';
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import type { RequestView } from '../../deferred/deferred.ts';
import type { Attempt, RequestState, StoredResponse } from '../../deferred/request.ts';
import * as pb from '../../gen/sluice/v1/deferred_pb.ts';
import type { RawHeaders } from '../../proxy/upstream/forwarder.ts';
import { toProto } from '../duration.ts';

const STATES: Readonly<Record<RequestState, pb.RequestState>> = {
  pending: pb.RequestState.PENDING,
  sending: pb.RequestState.SENDING,
  done: pb.RequestState.DONE,
  dead: pb.RequestState.DEAD,
  cancelled: pb.RequestState.CANCELLED,
};

const CALLBACKS: Readonly<Record<RequestView['callback'], pb.CallbackState>> = {
  none: pb.CallbackState.UNSPECIFIED,
  pending: pb.CallbackState.PENDING,
  done: pb.CallbackState.DONE,
  dead: pb.CallbackState.DEAD,
};

const WAITS: Readonly<Record<RequestView['waitsFor'], pb.RequestWait>> = {
  '': pb.RequestWait.UNSPECIFIED,
  due: pb.RequestWait.DUE,
  key: pb.RequestWait.KEY,
  backend: pb.RequestWait.BACKEND,
  route: pb.RequestWait.ROUTE,
  turn: pb.RequestWait.TURN,
};

/** A state as `DeferredRequests` has it; undefined: any, and NaN-like values of a later protocol too. */
export function stateOf(state: pb.RequestState): RequestState | undefined {
  return (Object.keys(STATES) as RequestState[]).find((name) => STATES[name] === state);
}

/** Milliseconds since 1970 as the members of a google.protobuf.Timestamp; undefined for 0, which stands for no time. */
export function timestampOf(ms: number | undefined): Timestamp | undefined {
  if (ms === undefined || ms === 0) return undefined;
  const seconds = Math.floor(ms / 1000);
  return { $typeName: 'google.protobuf.Timestamp', seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) };
}

/** Milliseconds since 1970; undefined where there is none, NaN where seconds and nanos are out of bounds. */
export function millisOf(time: Timestamp | undefined): number | undefined {
  if (time === undefined) return undefined;
  const ms = Number(time.seconds) * 1000 + time.nanos / 1e6;
  return time.nanos >= 0 && time.nanos <= 999_999_999 && Math.abs(ms) <= 8.64e15 ? ms : Number.NaN;
}

/** A request as it stands. `nowMs`: milliseconds since 1970. */
export function requestMessage(view: RequestView, nowMs: number): pb.DeferredRequest {
  const { id, state, group, key, attempts, error, route, method, target, bodyBytes, tries, callback, response } = view;
  const message = create(pb.DeferredRequestSchema, {
    ...{ id, state: STATES[state], group, key, attempts, failure: error, route, method, path: target },
    bodyBytes: BigInt(bodyBytes),
    tries: tries.map(attemptMessage),
    callbackState: CALLBACKS[callback],
    waitsFor: WAITS[view.waitsFor],
  });
  const times = { acceptedAt: view.acceptedAt, notBefore: view.notBefore, deadlineAt: view.deadlineAt, goneAt: view.goneAt };
  for (const [name, ms] of Object.entries(times) as [keyof typeof times, number][]) {
    const time = timestampOf(ms);
    if (time !== undefined) message[name] = time;
  }
  if (view.nextAttemptAt !== 0) message.nextAttemptAfter = toProto(Math.max(0, Math.ceil((view.nextAttemptAt - nowMs) * 1000)));
  if (response !== undefined) message.response = responseMessage(response);
  return message;
}

function attemptMessage({ number, at, status, error, firstBytes, nextAt }: Attempt): pb.DeferredAttempt {
  const message = create(pb.DeferredAttemptSchema, { number, status, failure: error, firstBytes });
  const [began, next] = [timestampOf(at), timestampOf(nextAt)];
  if (began !== undefined) message.at = began;
  if (next !== undefined) message.nextAt = next;
  return message;
}

function responseMessage({ status, headers, body, truncated }: StoredResponse): pb.DeferredResponse {
  return create(pb.DeferredResponseSchema, { status, headers: pairsOf(headers).map(([name, value]) => ({ name, value })), body, truncated });
}

/** Fields by pairs. */
export function pairsOf(headers: RawHeaders): readonly (readonly [name: string, value: string])[] {
  const pairs: (readonly [string, string])[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) pairs.push([headers[at] as string, headers[at + 1] as string]);
  return pairs;
}
