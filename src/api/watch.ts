import { create } from '@bufbuild/protobuf';
import type { AcquireHandle } from '../admission/admission.ts';
import type { QueuePosition } from '../core/request.ts';
import { type Instant, MILLISECOND, MINUTE, type Micros, SECOND } from '../core/time.ts';
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

/** Where the events of a watched acquire go. */
export type WatchSink = StreamSink<pb.WatchResponse>;

const INTERVAL_LEAST: Micros = 100 * MILLISECOND;
const INTERVAL_MAX: Micros = MINUTE;
/** Silence after which a heartbeat is sent: load balancers and proxies cut idle connections. */
const HEARTBEAT: Micros = 15 * SECOND;

/** {@link SetInterval} on the event loop; keeps no process alive. */
export const everyInterval: SetInterval = (micros, tick) => {
  const timer = setInterval(tick, micros / 1000);
  timer.unref();
  return () => clearInterval(timer);
};

/** Watch, for front ends. */
export function watchCall(deps: ServiceDeps): StreamCall {
  const watching = { ...deps, every: everyInterval };
  return { method: pb.AdmissionService.method.watch, open: (facts, request, sink) => watch(watching, facts, request as pb.WatchRequest, sink) };
}

/** Acquire with news: places while it waits, at last the permit or the refusal. Answers what to do when the caller leaves. */
export function watch(deps: WatchDeps, facts: CallContext, request: pb.WatchRequest, sink: WatchSink): () => void {
  const { admission } = deps;
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
  const send = (at: QueuePosition, now: Instant): void => {
    sink.send(create(pb.WatchResponseSchema, { news: { case: 'place', value: place(at, now) } }));
  };
  stop = new PositionNotifier(deps.every, () => admission.now(), interval).watch({
    position: () => (sink.ready?.() === false ? undefined : held?.position()),
    moved: send,
    idle: (at, now) => at && send(at, now),
  });
  return () => {
    stop();
    leave();
  };
}

/** A caller that waits and is sent its position. */
export interface PositionSubscriber {
  /** Returns undefined if it no longer waits, or cannot be sent anything now. */
  position(): QueuePosition | undefined;
  /** Called now and at each change. */
  moved(position: QueuePosition, now: Instant): void;
  /** Called after 15 s in which nothing was sent. */
  idle(position: QueuePosition | undefined, now: Instant): void;
}

interface Subscription {
  readonly subscriber: PositionSubscriber;
  sentAt: Instant;
  last: QueuePosition | undefined;
}

/** Reports queue positions to subscribers: at once, then once per interval at most, and only changes. One timer serves all subscribers. */
export class PositionNotifier {
  readonly #every: SetInterval;
  readonly #now: () => Instant;
  readonly #interval: Micros;
  readonly #subscriptions = new Set<Subscription>();
  #stop: (() => void) | undefined;

  constructor(every: SetInterval, now: () => Instant, interval: Micros = SECOND) {
    this.#every = every;
    this.#now = now;
    this.#interval = interval;
  }

  /** Reports the position now, and whenever it changes. Returns a function that ends it. */
  watch(subscriber: PositionSubscriber): () => void {
    const now = this.#now();
    const subscription: Subscription = { subscriber, sentAt: now, last: undefined };
    this.#subscriptions.add(subscription);
    look(subscription, now);
    this.#stop ??= this.#every(this.#interval, () => this.#tick());
    return () => {
      this.#subscriptions.delete(subscription);
      if (this.#subscriptions.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }

  #tick(): void {
    const now = this.#now();
    for (const subscription of this.#subscriptions) look(subscription, now);
  }
}

function look(subscription: Subscription, now: Instant): void {
  const { subscriber, last, sentAt } = subscription;
  const position = subscriber.position();
  const moved = position !== undefined && (last === undefined || !isSame(last, position));
  if (!moved && now - sentAt < HEARTBEAT) return;
  subscription.sentAt = now;
  if (!moved) return subscriber.idle(position, now);
  subscription.last = position;
  subscriber.moved(position, now);
}

/** The same place, behind the same limit, and expected at the same time to the second. */
function isSame(a: QueuePosition, b: QueuePosition): boolean {
  return a.place === b.place && a.limit === b.limit && (a.expectedAt === b.expectedAt || Math.abs(a.expectedAt - b.expectedAt) < SECOND);
}
