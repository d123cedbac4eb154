import { create } from '@bufbuild/protobuf';
import type { Held } from '../admission/admission.ts';
import { MILLISECOND, MINUTE, type Micros, SECOND } from '../core/time.ts';
import type { Place } from '../core/waiter.ts';
import * as pb from '../gen/sluice/v1/admission_pb.ts';
import { type CallFacts, checkDuration, isRefusal } from './ask.ts';
import { hold, type StreamCall, type StreamSink, type Unary } from './calls.ts';
import { fromProto } from './duration.ts';
import { place } from './messages.ts';
import { acquired, askOf, type ServiceParts } from './service.ts';

/** Calls `tick` each `micros` until its answer is called. */
export type Every = (micros: Micros, tick: () => void) => () => void;

/** What watching needs. */
export interface WatchParts extends ServiceParts {
  readonly every: Every;
}

/** Where the news of a watched ask goes. */
export type WatchSink = StreamSink<pb.WatchResponse>;

const INTERVAL_LEAST: Micros = 100 * MILLISECOND;
const INTERVAL_MAX: Micros = MINUTE;
/** A place that did not change is sent again after this long, so that idle connections are not cut. */
const HEARTBEAT: Micros = 15 * SECOND;

/** {@link Every} on the event loop; keeps no process alive. */
export const everyInterval: Every = (micros, tick) => {
  const timer = setInterval(tick, micros / 1000);
  timer.unref();
  return () => clearInterval(timer);
};

/** Watch, for front ends. */
export function watchCall(parts: ServiceParts): StreamCall {
  const watching = { ...parts, every: everyInterval };
  return { method: pb.AdmissionService.method.watch, open: (facts, request, sink) => watch(watching, facts, request as pb.WatchRequest, sink) };
}

/** Acquire with news: places while it waits, at last the permit or the refusal. Answers what to do when the caller leaves. */
export function watch(parts: WatchParts, facts: CallFacts, request: pb.WatchRequest, sink: WatchSink): () => void {
  const { admission } = parts;
  const interval = fromProto(request.interval) ?? SECOND;
  const ask = checkDuration('interval', interval, INTERVAL_LEAST, INTERVAL_MAX) ?? askOf(request.ask, facts);
  if (isRefusal(ask)) {
    sink.end(ask);
    return () => {};
  }
  let held: Held | undefined;
  let over = false;
  let stop = (): void => {};
  const call: Unary<typeof ask, pb.AcquireResponse> = (_facts, asked, reply) => {
    held = acquired(admission, asked, reply);
    return held;
  };
  const leave = hold(call, facts, ask, (permit, refusal) => {
    over = true;
    stop();
    const written = permit !== undefined && sink.send(create(pb.WatchResponseSchema, { news: { case: 'admitted', value: permit } }));
    sink.end(refusal);
    return written;
  });
  if (over) return leave;
  stop = tellPlace(parts, interval, () => held?.place(), sink);
  return () => {
    stop();
    leave();
  };
}

/** Sends the place now and whenever it has changed, at most each `interval`; answers how to stop. */
function tellPlace(parts: WatchParts, interval: Micros, find: () => Place | undefined, sink: WatchSink): () => void {
  const { admission, every } = parts;
  let told: Place | undefined;
  let toldAt = admission.now();
  const tell = (): void => {
    if (sink.ready?.() === false) return;
    const at = find();
    if (at === undefined) return;
    const now = admission.now();
    if (told !== undefined && same(told, at) && now - toldAt < HEARTBEAT) return;
    told = at;
    toldAt = now;
    sink.send(create(pb.WatchResponseSchema, { news: { case: 'place', value: place(at, now) } }));
  };
  tell();
  return every(interval, tell);
}

function same(a: Place, b: Place): boolean {
  return a.place === b.place && a.limit === b.limit && (a.expectedAt === b.expectedAt || Math.abs(a.expectedAt - b.expectedAt) < SECOND);
}
