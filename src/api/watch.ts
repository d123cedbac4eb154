import { create } from '@bufbuild/protobuf';
import type { AcquireHandle } from '../admission/admission.ts';
import type { QueuePosition } from '../core/request.ts';
import { MILLISECOND, MINUTE, type Micros, SECOND } from '../core/time.ts';
import * as pb from '../gen/sluice/v1/admission_pb.ts';
import { acquireFieldsFrom, type ServiceDeps, startAcquire } from './admission-service.ts';
import { runHeldCall, type StreamCall, type StreamSink, type Unary } from './call.ts';
import { fromProto } from './duration.ts';
import { place } from './proto-messages.ts';
import { type CallContext, checkDuration, isRefusal } from './validation.ts';

/** Calls `tick` each `micros` until its answer is called. */
export type SetInterval = (micros: Micros, tick: () => void) => () => void;

/** What watching needs. */
export interface WatchDeps extends ServiceDeps {
  readonly every: SetInterval;
}

/** Where the news of a watched ask goes. */
export type WatchSink = StreamSink<pb.WatchResponse>;

const INTERVAL_LEAST: Micros = 100 * MILLISECOND;
const INTERVAL_MAX: Micros = MINUTE;
/** A place that did not change is sent again after this long, so that idle connections are not cut. */
const HEARTBEAT: Micros = 15 * SECOND;

/** {@link SetInterval} on the event loop; keeps no process alive. */
export const everyInterval: SetInterval = (micros, tick) => {
  const timer = setInterval(tick, micros / 1000);
  timer.unref();
  return () => clearInterval(timer);
};

/** Watch, for front ends. */
export function watchCall(parts: ServiceDeps): StreamCall {
  const watching = { ...parts, every: everyInterval };
  return { method: pb.AdmissionService.method.watch, open: (facts, request, sink) => watch(watching, facts, request as pb.WatchRequest, sink) };
}

/** Acquire with news: places while it waits, at last the permit or the refusal. Answers what to do when the caller leaves. */
export function watch(parts: WatchDeps, facts: CallContext, request: pb.WatchRequest, sink: WatchSink): () => void {
  const { admission } = parts;
  const interval = fromProto(request.interval) ?? SECOND;
  const ask = checkDuration('interval', interval, INTERVAL_LEAST, INTERVAL_MAX) ?? acquireFieldsFrom(request.ask, facts);
  if (isRefusal(ask)) {
    sink.end(ask);
    return () => {};
  }
  let held: AcquireHandle | undefined;
  let over = false;
  let stop = (): void => {};
  const call: Unary<typeof ask, pb.AcquireResponse> = (_facts, asked, reply) => {
    held = startAcquire(admission, asked, reply);
    return held;
  };
  const leave = runHeldCall(call, facts, ask, (permit, refusal) => {
    over = true;
    stop();
    const written = permit !== undefined && sink.send(create(pb.WatchResponseSchema, { news: { case: 'admitted', value: permit } }));
    sink.end(refusal);
    return written;
  });
  if (over) return leave;
  stop = tellPlace(parts, interval, () => held?.position(), sink);
  return () => {
    stop();
    leave();
  };
}

/** Sends the place now and whenever it has changed, at most each `interval`; answers how to stop. */
function tellPlace(parts: WatchDeps, interval: Micros, find: () => QueuePosition | undefined, sink: WatchSink): () => void {
  const { admission, every } = parts;
  let told: QueuePosition | undefined;
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

function same(a: QueuePosition, b: QueuePosition): boolean {
  return a.place === b.place && a.limit === b.limit && (a.expectedAt === b.expectedAt || Math.abs(a.expectedAt - b.expectedAt) < SECOND);
}
